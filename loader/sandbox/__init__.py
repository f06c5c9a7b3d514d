"""Sandboxes: the port that boots one, and its adapters."""
