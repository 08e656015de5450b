"""Invented words, by rule: no lists of real names, so none can be anybody's.

In the middle of a word stands a cluster that no English word has.
"""

from collections.abc import Iterator
from random import Random

_ONSETS = ("bl", "br", "d", "dr", "f", "fl", "g", "gl", "j", "k", "kr", "m", "n", "p", "pl", "sk", "t", "tr", "v", "z")
_VOWELS = ("a", "e", "i", "o", "u")
_MIDDLES = ("bn", "dv", "fk", "gz", "kv", "lg", "mv", "nj", "pz", "rz", "tv", "vl", "zm")
_CODAS = ("b", "f", "g", "k", "m", "p", "x", "z")


def invent_words(random: Random) -> Iterator[str]:
    """Words in small letters, all different, without end."""
    seen = set()
    while True:
        word = "".join(random.choice(parts) for parts in (_ONSETS, _VOWELS, _MIDDLES, _VOWELS, _CODAS))
        if word not in seen:
            seen.add(word)
            yield word


def invent_people(random: Random) -> Iterator[str]:
    """First and last names, all different in both, without end."""
    words = invent_words(random)
    for first, last in zip(words, words, strict=False):
        yield f"{first.capitalize()} {last.capitalize()}"
