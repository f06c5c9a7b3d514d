"""Moving an installation: out of a data directory into a folder, and from there into a cluster."""
