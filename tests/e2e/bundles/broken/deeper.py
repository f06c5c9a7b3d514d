"""Fails on its fourth line."""

VALUE = 1
VALUE += len(nobody_defined_this)  # noqa: F821
