"""No test of ours is a timed one: Hypothesis' deadline of an example would be met by chance, beside other work."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
