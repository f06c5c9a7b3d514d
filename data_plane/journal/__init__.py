"""Durable state: journals, and the side tables that lead to them."""
