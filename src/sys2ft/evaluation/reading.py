"""Which option a written answer names: a deterministic reading that would rather say nothing than guess.

An option is named where its text stands in the answer, word for word, whatever the capitals and the punctuation; the
right one also by its short answer and its accepted variants. An answer that names exactly one option is read. One that
names none or several is not, and is counted: it is never taken for a wrong answer in silence.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

ANSWER_LINE = re.compile(
    r"^[\W_]*(?:the\s+|final\s+|my\s+)*answer(?:\s+is)?[*_]*\s*:(.*)", re.IGNORECASE | re.MULTILINE
)
# A number with its sign, point and thousands; a word with its inner apostrophes; any sign that carries meaning.
TOKEN = re.compile(
    r"(?<![\w.])-?\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|(?<![\w.])-?\d+(?:\.\d+)*(?:st|nd|rd|th)?"
    r"|[^\W_]+(?:'[^\W_]+)*|[^\w\s.,;:!?'\"()\[\]{}*`…-]"
)
ARTICLES = {"a", "an", "the"}
TYPOGRAPHY = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": " ", "−": "-"})
Row = Mapping[str, Any]
Words = tuple[str, ...]


def words_of(text: str) -> Words:
    """A text as it is compared: its words, numbers and signs in lower case; thousands are joined."""
    text = unicodedata.normalize("NFKC", text).translate(TYPOGRAPHY).casefold()
    return tuple(token.replace(",", "") for token in TOKEN.findall(text))


def _wording(text: str) -> Words:
    """The same without an article at its start; before a letter, as in a row of letters, it is none."""
    words = words_of(text)
    return words[1:] if len(words) > 1 and words[0] in ARTICLES and len(words[1]) > 1 else words


def variants(question: Row) -> list[list[Words]]:
    """For each option the wordings that name it."""
    found = [[_wording(option)] for option in question["options"]]
    others = [question["short_answer"], *(question["accepted_answers"] or [])]
    found[question["gold"]] += [_wording(text) for text in others if text]
    return [[words for words in dict.fromkeys(some) if words] for some in found]


def check_readable(question: Row) -> str | None:
    """What is wrong, in words, where two options would be read alike or one not at all; else None."""
    named: dict[Words, int] = {}
    for option, wordings in enumerate(variants(question)):
        if not wordings:
            return f"the option '{question['options'][option]}' has no word to be read by"
        for words in wordings:
            if named.setdefault(words, option) != option:
                return f"'{' '.join(words)}' stands for two options"
    return None


def read_answer(completion: str, question: Row, reasoned: bool) -> tuple[int | None, str | None]:
    """The option that an answer names.

    Args:
        completion: what the model wrote.
        question: a row of the table `questions`.
        reasoned: whether it was to reason first; then what follows the last "Answer:" is read, on its line or, where
            that is empty, on the next.

    Returns:
        The number of the option and None, or None and the reason: `no_answer_line`, `none` or `several`.
    """
    text = completion
    if reasoned:
        lines = list(ANSWER_LINE.finditer(completion))
        if not lines:
            return None, "no_answer_line"
        text = lines[-1].group(1)
        if not words_of(text):
            text = completion[lines[-1].end() :].strip().partition("\n")[0]
    named = _named(words_of(text), variants(question))
    if len(named) == 1:
        return named.pop(), None
    return None, "several" if named else "none"


def _named(words: Words, options: Sequence[Sequence[Words]]) -> set[int]:
    """The options that stand in a text; what lies within a longer wording is part of that one."""
    spans = [
        (start, start + len(wording), option)
        for option, wordings in enumerate(options)
        for wording in wordings
        for start in range(len(words) - len(wording) + 1)
        if words[start : start + len(wording)] == wording
    ]
    return {
        option
        for start, end, option in spans
        if not any(low <= start and end <= high and (low, high) != (start, end) for low, high, _ in spans)
    }
