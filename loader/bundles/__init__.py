"""Bundles: the files and the manifest that a version consists of, and where they are kept."""
