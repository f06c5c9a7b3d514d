"""Configuration files: TOML of named tables, each the fields of one frozen dataclass.

A key that nobody knows is an error: it is a typo, or meant for another version. So is a value of another type, and a
negative number.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

CONFIG_BYTES_MAX: Final = 64 * 1024

Section = TypeVar("Section")


class ConfigError(Exception):
    """What is wrong, in which file, and what would be right."""


def document(path: Path, *, missing_is_empty: bool) -> dict[str, Any]:
    """The file's tables and values. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES_MAX + 1)
    except FileNotFoundError:
        if missing_is_empty:
            return {}
        raise ConfigError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if len(data) > CONFIG_BYTES_MAX:
        raise ConfigError(f"{path} is larger than {CONFIG_BYTES_MAX} bytes")
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None


def section(where: str, name: str, kind: type[Section], table: Mapping[str, Any]) -> Section:
    """The dataclass that this table describes; `where` is named in errors. Raises ConfigError."""
    known = get_type_hints(kind)
    values = {}
    for key, value in table.items():
        if key not in known:
            raise ConfigError(f"{where}: [{name}] has no {key!r}; there are {', '.join(sorted(known))}")
        values[key] = value_of(where, f"{name}.{key}", value, known[key], getattr(kind(), key))
    try:
        return kind(**values)
    except ValueError as error:
        raise ConfigError(f"{where}: [{name}] {error}") from None


def value_of(where: str, name: str, value: Any, kind: Any, default: Any) -> Any:
    """The value as its field's type. Raises ConfigError."""
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        if value not in choices:
            raise ConfigError(f"{where}: {name} is {' or '.join(choices)}, not {value!r}")
        return value
    if isinstance(default, tuple):
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise ConfigError(f"{where}: {name} takes a list of texts, not {value!r}")
        return tuple(value)
    return checked(where, name, value, type(default))


def checked(where: str, name: str, value: Any, kind: type) -> Any:
    """The value, as that type. Raises ConfigError."""
    if kind is float and type(value) is int:
        value = float(value)
    if issubclass(kind, Path) and type(value) is str:
        value = Path(value)
    if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
        told = "Path" if issubclass(kind, Path) else kind.__name__
        raise ConfigError(f"{where}: {name} takes {told}, not {value!r}")
    if isinstance(value, int | float) and value < 0:
        raise ConfigError(f"{where}: {name} can't be negative")
    return value
