"""`python -s -P -m stepwell.guest`, with the host's socket as fd 0."""

import os
import sys

if os.environ.get("PYTHONHASHSEED", "random") == "random" or sys.flags.ignore_environment:
    # Sets of text must iterate alike in every process that replays; `-E` and `-I` would ignore the seed.
    os.execve(
        sys.executable, [sys.executable, "-s", "-P", "-m", "stepwell.guest"], {**os.environ, "PYTHONHASHSEED": "0"}
    )

from stepwell.guest.connection import take_socket
from stepwell.guest.runtime import main

main(take_socket())
