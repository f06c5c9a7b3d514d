"""JSON given on the command line: in place, from a file (`@file`) or from standard input (`-`)."""

from __future__ import annotations

import sys

import click

from stepwell.cli.json_text import check

SIZE_MAX = 4 * 1024 * 1024
"""Beyond what any server takes in one message; the server's own limit is smaller and answers for itself."""


def json_argument(_: click.Context, __: click.Parameter, text: str | None) -> bytes:
    """An option's callback: the JSON as bytes, unchanged; omitted, it is empty, which means null.

    Raises click.BadParameter saying where it is no JSON.
    """
    if text is None:
        return b""
    payload = _payload(text)
    if len(payload) > SIZE_MAX:
        raise click.BadParameter(f"it is larger than {SIZE_MAX // 1024 // 1024} MiB")
    try:
        check(payload)
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"it is not UTF-8 at byte {error.start}") from None
    except ValueError as error:
        raise click.BadParameter(f"it is not JSON: {error}. A string needs its own quotes: '\"text\"'") from None
    return payload


def _payload(text: str) -> bytes:
    try:
        if text == "-":
            return sys.stdin.buffer.read(SIZE_MAX + 1)
        if text.startswith("@"):
            with open(text[1:], "rb") as file:
                return file.read(SIZE_MAX + 1)
    except OSError as error:
        raise click.BadParameter(f"{text[1:] or 'standard input'} can't be read: {error.strerror}") from None
    return text.encode(errors="surrogateescape")
