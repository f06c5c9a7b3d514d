"""Benchmarks: each figure is printed beside the floor of the same run. `python -m bench` runs them all."""
