"""Cloudflare's `workers.workflows`."""

from stepwell.errors import NonRetryableError

__all__ = ["NonRetryableError"]
