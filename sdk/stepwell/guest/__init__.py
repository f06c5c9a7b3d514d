"""What runs inside a sandbox: a tenant's bundle, its instances' `run` on schedulers of their own, and the bodies of
steps.

`python -s -P -m stepwell.guest` is the whole program; `stepwell.frames` is how the host speaks with it. Each module
that is
imported here costs file system calls in every sandbox, so there are few, and all are small.
"""
