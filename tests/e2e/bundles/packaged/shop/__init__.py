"""A package with modules, packages and data of its own."""
