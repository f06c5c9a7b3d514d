"""A dict whose keys read as attributes too: programs write `event["payload"]` and `event.payload` alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any


class AttributeDict(dict[str, Any]):
    """A plain dict in every respect; reading an attribute that is no dict method reads the key.

    Type checkers know the attributes that a subclass declares, and find fault with any other.
    """

    __slots__ = ()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            try:
                return self[name]
            except KeyError:
                known = ", ".join(map(repr, self))
                raise AttributeError(f"{type(self).__name__} has no {name!r}; it has {known}") from None
