"""Leaves something behind by every way, and says what others left."""

import builtins
import ctypes
import os
import secrets
import sys

from stepwell import WorkflowEntrypoint

LIBC = ctypes.CDLL(None, use_errno=True)
KEY = 0x57E9
SANDBOX = secrets.token_hex(8)
LEFT = []


class Keep(WorkflowEntrypoint):
    async def run(self, event, step):
        return await step.call(
            "keep", lambda: {"sandbox": SANDBOX, "found": found(), "left": leave(event["instanceId"])}
        )


def found():
    """What was left by an instance before, by where it lay."""
    things = {
        "module": LEFT,
        "builtins": getattr(builtins, "left", []),
        "environment": [value for name, value in os.environ.items() if name == "LEFT"],
        "sysv memory": [KEY] if LIBC.shmget(KEY, 4096, 0) != -1 else [],
        "sysv semaphore": [KEY] if LIBC.semget(KEY, 1, 0) != -1 else [],
        "sysv queue": [KEY] if LIBC.msgget(KEY, 0) != -1 else [],
        "processes": [name for name in os.listdir("/proc") if name.isdecimal() and int(name) != os.getpid()],
        "descriptors": [name for name in os.listdir("/proc/self/fd") if 500 <= int(name) < 510],
    }
    for folder in ("/tmp", "/dev/shm", "/var/tmp", "/run", "/dev/mqueue"):
        things[folder] = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return {name: list(left) for name, left in things.items() if left}


def leave(mark):
    """Return where it could be left."""
    LEFT.append(mark)
    builtins.left = LEFT
    os.environ["LEFT"] = mark
    sys.modules[f"left_{mark}"] = sys
    places = ["module", "builtins", "environment"]
    for folder in ("/tmp", "/dev/shm", "/var/tmp", "/run", "/dev/mqueue", "/bundle", "/"):
        try:
            with open(f"{folder}/left-{mark}", "w") as file:
                file.write(mark)
            places.append(folder)
        except OSError:
            continue
    for name, make in (
        ("sysv memory", lambda: LIBC.shmget(KEY, 4096, 0o1666)),
        ("sysv semaphore", lambda: LIBC.semget(KEY, 1, 0o1666)),
        ("sysv queue", lambda: LIBC.msgget(KEY, 0o1666)),
        ("descriptors", lambda: os.dup2(os.open("/tmp", os.O_RDONLY), 500)),
        ("processes", sleeper),
    ):
        if make() != -1:
            places.append(name)
    return places


def sleeper():
    """A child that outlives its instance."""
    child = os.fork()
    if child == 0:
        while True:
            LIBC.pause()
    return child
