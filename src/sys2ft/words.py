"""Texts as words, to compare them."""

import re


def words_of(text: str) -> list[str]:
    """The words of a text in small letters, without punctuation."""
    return re.findall(r"\w+", text.casefold())


def word_runs(text: str, length: int) -> list[tuple[str, ...]]:
    """All runs of words of a text."""
    words = words_of(text)
    return [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]
