"""Composition roots: the only modules that know which adapters a process is made of."""
