"""Makes a tenant's code runnable: keeps bundles, boots sandboxes, and holds the host's end of their conversation."""
