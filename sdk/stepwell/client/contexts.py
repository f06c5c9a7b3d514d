"""The user's context file: which servers they know, and the token of each.

`$XDG_CONFIG_HOME/stepwell/contexts.toml`, keyed by endpoint. It holds secrets, so it is the user's alone (mode 0600),
it is replaced whole or not at all, and no link is followed on the way to it. Standard library only.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from stepwell.client.endpoints import NotReachableError, parse_endpoint
from stepwell.errors import ApiError, InvalidArgumentError, NotFoundError, WrongStateError
from stepwell.tokens import hidden

FILE_SIZE_MAX = 1024 * 1024
_FILE = "contexts.toml"
_NEW_FILE = ".contexts.toml.new"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}")
_ESCAPES = {'"': '\\"', "\\": "\\\\"}


class ContextFileError(WrongStateError):
    """The context file can't be trusted or read; the message says which file and what to do."""

    reason = "CONTEXT_FILE"


@dataclass(frozen=True, slots=True)
class Context:
    """A server, and the token to speak to it with; without one, only what needs no token works."""

    endpoint: str
    token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Contexts:
    """The file's content. An entry has `token`, and `endpoint` where its key is a name that the user chose."""

    current: str | None = None
    entries: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)

    def of(self, key: str) -> Context:
        """The entry of that key, which is there."""
        entry = self.entries[key]
        return Context(str(parse_endpoint(entry.get("endpoint", key))), entry.get("token"))

    def key_of(self, name_or_endpoint: str) -> str | None:
        """That key, or else the first one of that endpoint; None when there is neither."""
        if name_or_endpoint in self.entries:
            return name_or_endpoint
        wanted = str(parse_endpoint(name_or_endpoint))
        return next((key for key in self.entries if self.of(key).endpoint == wanted), None)

    def find(self, name_or_endpoint: str) -> Context | None:
        """The entry of that key, or else of that endpoint."""
        key = self.key_of(name_or_endpoint)
        return None if key is None else self.of(key)


def context_name(text: str) -> str:
    """The text as a name that a user may give a context. Raises ValueError saying what would be valid."""
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"{hidden(text)[:200]!r} is not a context's name: 1 to 64 of a-z, A-Z, 0-9, '_', '-' and '.', beginning"
            " with a letter or a digit"
        )
    return text


def context_file(environ: Mapping[str, str] | None = None) -> Path:
    """Where the contexts are. A relative XDG_CONFIG_HOME is ignored, as its specification says."""
    environ = os.environ if environ is None else environ
    home = environ.get("XDG_CONFIG_HOME", "")
    folder = Path(home) if os.path.isabs(home) else Path(environ.get("HOME") or os.path.expanduser("~")) / ".config"
    return folder / "stepwell" / _FILE


def load(environ: Mapping[str, str] | None = None) -> Contexts:
    """What the file says; nothing when there is none. Raises ContextFileError when it is a link, others can read it,
    or it isn't valid."""
    path = context_file(environ)
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return Contexts()
    except OSError as error:
        raise _unusable(path.parent, error) from None
    try:
        return _read(folder, path)
    finally:
        os.close(folder)


def save_context(
    endpoint: str, token: str, make_current: bool = True, *, environ: Mapping[str, str] | None = None
) -> Path:
    """Keep this endpoint's token, in place of an older one, and return the file's path. Idempotent; safe beside others
    that save at the same time. Raises ContextFileError rather than touch a file that it can't trust."""
    key = str(parse_endpoint(endpoint))

    def saved(before: Contexts) -> Contexts:
        entries = {**before.entries, key: {**before.entries.get(key, {}), "token": token}}
        return Contexts(key if make_current else before.current, entries)

    _change(saved, environ)
    return context_file(environ)


def add_context(name: str, endpoint: str, token: str, *, environ: Mapping[str, str] | None = None) -> bool:
    """Keep an endpoint and its token under a name, in place of what the name stood for. Whether it is the current
    context now: the first one is. Raises what `save_context` does, and ValueError for what is no name."""
    entry = {"endpoint": str(parse_endpoint(endpoint)), "token": token}
    key = context_name(name)

    def added(before: Contexts) -> Contexts:
        return Contexts(before.current or key, {**before.entries, key: entry})

    return _change(added, environ).current == key


def use_context(name_or_endpoint: str, *, environ: Mapping[str, str] | None = None) -> Context:
    """Make a context the current one. Raises NotFoundError when there is no such context."""

    def used(before: Contexts) -> Contexts:
        try:
            key = before.key_of(name_or_endpoint)
        except InvalidArgumentError:
            key = None
        if key is None:
            known = ", ".join(before.entries) or "none yet"
            raise NotFoundError(f"there is no context {hidden(name_or_endpoint)[:200]!r}; there are: {known}")
        return Contexts(key, before.entries)

    after = _change(used, environ)
    assert after.current is not None
    return after.of(after.current)


def _change(change: Callable[[Contexts], Contexts], environ: Mapping[str, str] | None) -> Contexts:
    """What the file says from here on."""
    path = context_file(environ)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(path.parent) as folder:
            after = change(_read(folder, path))
            _replace(folder, _written(after))
    except OSError as error:
        raise _unusable(path, error) from None
    return after


def resolve(environ: Mapping[str, str] | None = None) -> Context:
    """The server to speak to: STEPWELL_ENDPOINT (a context's name or an endpoint), or else the current context. A
    token comes from STEPWELL_TOKEN, or from the context of that very endpoint. NotReachableError when none is known."""
    environ = os.environ if environ is None else environ
    wanted, token = environ.get("STEPWELL_ENDPOINT", "").strip(), environ.get("STEPWELL_TOKEN", "").strip() or None
    if wanted and token and _is_endpoint(wanted):
        return Context(str(parse_endpoint(wanted)), token)
    contexts = load(environ)
    name = wanted or contexts.current
    if not name:
        raise NotReachableError(
            "no server is known: start one with `stepwell dev`, or set STEPWELL_ENDPOINT and STEPWELL_TOKEN",
        )
    found = contexts.find(name) or Context(str(parse_endpoint(name)), None)
    return Context(found.endpoint, token or found.token)


def _is_endpoint(text: str) -> bool:
    try:
        parse_endpoint(text)
    except ApiError:
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(folder)


def _read(folder: int, path: Path) -> Contexts:
    try:
        file = os.open(_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return Contexts()
    except OSError as error:
        raise _unusable(path, error) from None
    with os.fdopen(file, "rb") as opened:
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode):
            raise ContextFileError(f"{path} is not a plain file; move it away", path=str(path))
        if facts.st_uid != os.geteuid():
            raise ContextFileError(f"{path} belongs to somebody else; move it away", path=str(path))
        if facts.st_mode & 0o077:
            raise ContextFileError(f"{path} holds tokens and others can read it: chmod 600 {path}", path=str(path))
        content = opened.read(FILE_SIZE_MAX + 1)
    if len(content) > FILE_SIZE_MAX:
        raise ContextFileError(f"{path} is larger than {FILE_SIZE_MAX} bytes", path=str(path))
    try:
        return _parsed(tomllib.loads(content.decode()))
    except ValueError as error:
        raise ContextFileError(f"{path} can't be read ({error}); mend it or move it away", path=str(path)) from None


def _parsed(document: Mapping[str, object]) -> Contexts:
    current, tables = document.get("current"), document.get("contexts", {})
    if not isinstance(current, str | None) or not isinstance(tables, dict):
        raise ValueError('expected current = "…" and tables [contexts."…"]')
    for key, entry in tables.items():
        if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
            raise ValueError(f"expected only strings in [contexts.{_quoted(key)}]")
    return Contexts(current, tables)


def _written(contexts: Contexts) -> bytes:
    lines = [] if contexts.current is None else [f"current = {_quoted(contexts.current)}"]
    for key, entry in contexts.entries.items():
        lines += ["", f"[contexts.{_quoted(key)}]", *(f"{_key(k)} = {_quoted(v)}" for k, v in entry.items())]
    return ("\n".join(lines) + "\n").encode()


def _key(text: str) -> str:
    return text if re.fullmatch("[a-z_]+", text) else _quoted(text)


def _quoted(text: str) -> str:
    """A basic string of TOML."""
    safe = (_ESCAPES.get(c, c if c.isprintable() else f"\\U{ord(c):08X}") for c in text)
    return f'"{"".join(safe)}"'


def _replace(folder: int, content: bytes) -> None:
    """The new file in the old one's place, whole and durable, or the old one as it was. The lock is held."""
    with suppress(FileNotFoundError):
        os.unlink(_NEW_FILE, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(_NEW_FILE, flags, 0o600, dir_fd=folder), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(_NEW_FILE, _FILE, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def _unusable(path: Path, error: OSError) -> ContextFileError:
    why = "it is a link, and links are not followed here" if path.is_symlink() else error.strerror
    return ContextFileError(f"{path} can't be used: {why}", path=str(path))
