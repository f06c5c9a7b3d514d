"""Attempts to get at what is outside of the sandbox, each with what came of it: "got: ..." or the error."""

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys

LIBC = ctypes.CDLL(None, use_errno=True)


def tried(attempt, *args):
    try:
        return f"got: {attempt(*args)!r}"[:2000]
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:2000]


def read(path):
    with open(path, "rb") as file:
        return file.read(65536)


def write(path):
    with open(path, "ab") as file:
        file.write(b"mine")
    return "written"


def system(name, *args):
    """A call into the kernel around Python's own checks."""
    ctypes.set_errno(0)
    result = getattr(LIBC, name)(*args)
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def connect(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as sock:
        sock.settimeout(2)
        sock.connect(address)
        sock.sendall(b"anybody there?")
        return sock.recv(100)


def connect_around_python(port):
    """The same, where no audit hook sees it."""
    descriptor = system("socket", socket.AF_INET, socket.SOCK_STREAM, 0)
    address = struct.pack("=H", socket.AF_INET) + struct.pack(">H", port) + bytes([127, 0, 0, 1]) + bytes(8)
    return system("connect", descriptor, address, len(address))


def others():
    """Every process but this one and its relatives here: command line and environment."""
    found, ours = [], read("/proc/self/cmdline")
    for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal()):
        command = read(f"/proc/{pid}/cmdline")
        if command != ours:
            found.append([pid, command.decode(errors="replace").split("\0")])
    return found


def devices():
    """Those that can be opened and are more than a source of bytes; gVisor's own two lead nowhere."""
    harmless = {
        "null",
        "zero",
        "full",
        "random",
        "urandom",
        "tty",
        "ptmx",
        "pts",
        "fd",
        "stdin",
        "stdout",
        "stderr",
    } | {"fuse", "tun"}
    found = []
    for base, folders, names in os.walk("/dev"):
        folders[:] = [name for name in folders if name not in harmless]
        found += [f"{base}/{name}" for name in names if name not in harmless and opens(f"{base}/{name}")]
    return found


def opens(path):
    try:
        os.close(os.open(path, os.O_RDWR))
    except OSError:
        return False
    return True


def tunnel():
    """A network interface of one's own."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    return fcntl.ioctl(descriptor, 0x400454CA, struct.pack("16sH22x", b"mine", 0x1002))


def disk():
    """A node of one's own for the host's disk, read."""
    path = f"/tmp/disk-{os.getpid()}"
    os.mknod(path, 0o060666, os.makedev(254, 0))
    try:
        return read(path)[:16]
    finally:
        os.unlink(path)


def as_root_of_namespaces(attempt, *args):
    """In a child that is root in user and mount namespaces of its own, where the kernel gives them."""
    begin, end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(begin)
        system("unshare", 0x10000000 | 0x00020000)
        os.write(end, tried(attempt, *args).encode())
        os._exit(0)
    os.close(end)
    os.waitpid(child, 0)
    with os.fdopen(begin, "rb") as file:
        told = file.read().decode()
    if told.startswith("got: "):
        return told
    raise PermissionError(told or "no namespaces")


def remounted():
    """The bundle made writable."""
    system("mount", None, b"/bundle", None, 0x20 | 0x1000, None)
    return write("/bundle/mine.py")


def bound():
    """The file system's root shown elsewhere, and written to."""
    os.makedirs("/tmp/root", exist_ok=True)
    system("mount", b"/", b"/tmp/root", None, 0x1000 | 0x4000, None)
    system("mount", None, b"/tmp/root", None, 0x20 | 0x1000, None)
    return write("/tmp/root/usr/mine")


def ptraced(pid):
    attach = 16
    return system("ptrace", attach, pid, 0, 0)


def as_root():
    os.setuid(0)
    return os.getuid()


def all_of(given):
    """By name. `given` says where the host has what: paths, the server's port, an abstract socket."""
    port = given["port"]
    found = {f"read {path}": tried(read, path) for path in [
        "/etc/shadow", "/etc/hostname", "/etc/resolv.conf", "/root/.bashrc", "/home", "/var/log/syslog", "/proc/kcore",
        "/proc/1/mem", "/proc/sysrq-trigger", "/dev/mem", "/dev/vda", "/sys/kernel/debug", *given["paths"],
    ]}  # fmt: skip
    found |= {f"write {path}": tried(write, path) for path in [
        "/mine", "/bundle/mine.py", "/bundle/probe.py", "/usr/mine", "/usr/lib/python3.11/json/__init__.pyc",
        "/usr/bin/python3", "/etc/passwd", "/etc/mine", "/var/mine", "/sys/mine", "/dev/mine", "/dev/shm/mine",
        "/proc/sys/kernel/hostname", "/proc/sys/vm/overcommit_memory", "/proc/1/oom_score_adj",
    ]}  # fmt: skip
    found |= {
        "list /": tried(os.listdir, "/"),
        "list /proc/1/root": tried(os.listdir, "/proc/1/root"),
        "list the bundle's parent": tried(os.listdir, "/bundle/.."),
        "environment": tried(lambda: sorted(os.environ)),
        "environment of 1": tried(read, "/proc/1/environ"),
        "mounts": tried(read, "/proc/self/mountinfo"),
        "cgroup": tried(read, "/proc/self/cgroup"),
        "other processes": tried(others),
        "devices": tried(devices),
        "who am I": tried(lambda: [os.getuid(), os.geteuid(), os.getgid(), os.uname().nodename]),
        "to root": tried(as_root),
        "to the host's API": tried(connect, socket.AF_INET, ("127.0.0.1", port)),
        "to the host's API around Python": tried(connect_around_python, port),
        "to the internet": tried(connect, socket.AF_INET, ("1.1.1.1", 53)),
        "to the internet by IPv6": tried(connect, socket.AF_INET6, ("2606:4700:4700::1111", 53)),
        "by UDP": tried(connect, socket.AF_INET, ("127.0.0.1", 53), socket.SOCK_DGRAM),
        "to the metadata service": tried(connect, socket.AF_INET, ("169.254.169.254", 80)),
        "by name": tried(socket.getaddrinfo, "example.com", 443),
        "to an abstract socket": tried(connect, socket.AF_UNIX, "\0" + given["abstract"]),
        "by a raw socket": tried(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        "by a packet socket": tried(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
        "make a tunnel": tried(tunnel),
        "mount a file system of one's own": tried(system, "mount", b"none", b"/tmp", b"fuse", 0, b"fd=3"),
        "interfaces": tried(lambda: [name for _, name in socket.if_nameindex()]),
        "kill the parent": tried(os.kill, os.getppid() or 2**22 - 1, 0),
        "kill another": tried(os.kill, given.get("pid", 2**22 - 1), 0),
        "ptrace another": tried(ptraced, given.get("pid", 2**22 - 1)),
        "mount": tried(system, "mount", b"none", b"/tmp", b"tmpfs", 0, None),
        "mount the host": tried(system, "mount", b"/dev/vda", b"/tmp", b"ext4", 0, None),
        "unmount": tried(system, "umount2", b"/bundle", 2),
        "mount the host as root": tried(as_root_of_namespaces, system, "mount", b"/dev/vda", b"/tmp", b"ext4", 0, None),
        "mount sysfs as root": tried(as_root_of_namespaces, lambda: system(
            "mount", b"none", b"/tmp", b"sysfs", 0, None) or os.listdir("/tmp/kernel/debug")),
        "mount the bundle writable as root": tried(as_root_of_namespaces, remounted),
        "mount the root writable as root": tried(as_root_of_namespaces, bound),
        "chroot": tried(os.chroot, "/tmp"),
        "mknod": tried(disk),
        "set the host's name": tried(system, "sethostname", b"mine", 4),
        "set the clock": tried(system, "settimeofday", bytes(16), None),
        "reboot": tried(system, "reboot", 0x1234567),
        "load a module": tried(system, "syscall", 175, None, 0, b""),
        "sudo": tried(lambda: subprocess.run(["su", "-c", "id"], capture_output=True, check=True).stdout),
        "path": tried(lambda: [sys.executable, sys.path]),
    }  # fmt: skip
    return found
