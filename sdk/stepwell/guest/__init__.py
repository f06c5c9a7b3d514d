"""What runs inside a sandbox: a tenant's bundle, its instances' `run` on schedulers of their own, and the bodies of
steps.

`python -s -P -m stepwell.guest` is the whole program, and `boot.py` starts the same in gVisor; `stepwell.frames` is how
the host speaks with it. Each module that is imported here costs time in every boot, so there are few, all of them
small.
"""
