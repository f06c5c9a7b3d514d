"""What a word is, and how often it comes."""

import re
from collections import Counter

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


def words(text: str) -> list[str]:
    """The words in their order, in small letters; an apostrophe inside belongs to its word."""
    return [word.casefold() for word in _WORD.findall(text)]


def top(text: str, count: int) -> list[tuple[str, int]]:
    """The most frequent words, at most `count`; equals in alphabetical order."""
    if count < 1:
        raise ValueError(f"count is {count}: ask for at least one word")
    ranked = sorted(Counter(words(text)).items(), key=lambda item: (-item[1], item[0]))
    return ranked[:count]
