"""Which option a written answer names: a deterministic reading that would rather say nothing than guess.

An option is *named* where its words, numbers and signs stand in the answer, one after the other, whatever the capitals
and the punctuation. An answer that names exactly one option is read. One that names none or several, or one beside a
negation or within a longer number, is not: it is counted, and never taken for a wrong answer in silence.

The right option alone has a short answer and accepted variants. Were they looked for anywhere in a text, whatever a
model repeats would count for the right option and never for a wrong one; so such a wording counts only where it is the
whole answer, up to words like "it is". The same holds for a wording that stands in the question itself, and for an
everyday word ("may").
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ANSWER_LINE = re.compile(
    r"^[\W_]*(?:the\s+|final\s+|my\s+)*answer(?:\s+is)?[*_]*\s*:(.*)", re.IGNORECASE | re.MULTILINE
)
TYPOGRAPHY = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": " ; ", "−": "-", "×": "*", "÷": "/"})
SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
NUMBERS = {
    name: str(number)
    for number, name in enumerate((
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
        "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
    ))
}  # fmt: skip
SPELLING = (
    (re.compile(r"(?<=\w)\*\*(?=[\w(])"), "^"),
    (re.compile(r"(?<![\w)\]*_`])[*_`]+(?=\S)|(?<=[^\s*_`])[*_`]+(?![\w(])"), ""),  # emphasis
    (re.compile(r"-\s*([$€£])\s*(?=\d)"), r"\1-"),
    (re.compile(r"^\s*[-*]\s+", re.MULTILINE), ""),  # the mark of an entry of a list
    (re.compile(r"\b(?:minus|negative)\s+(?=\d)|(?<![\w)\s])\s*-\s*(?=\d)|(?<=[a-z])\s+-\s+(?=\d)"), " -"),
    (re.compile(r"(?<![\w.])\.(?=\d)"), "0."),
    (re.compile(r"(?<=\d),(?=\d{3}(?!\d))"), ""),
    (re.compile(r"\(([^()]*[-+*/^][^()]*)\)"), r"⟨\1⟩"),  # brackets count where they bracket a computation
)
# A number with its sign; a word with its inner apostrophes; any sign that carries meaning.
TOKEN = re.compile(
    r"(?:(?<![\w)⟩])-|(?<=\s)-)?\d+(?:\.\d+)*(?:st|nd|rd|th)?(?!\w)|[^\W_]+(?:'[^\W_]+)*"
    r"|(?<=[\d⟩])\s?-(?=\s?[\w⟨])|(?<=\b[a-z])\s?-(?=\s?(?:[a-z]\b|[\d⟨]))|(?<=\d):(?=\d)|(?<=\b\w)!"
    r"|[^\w\s.,;:!?'\"()\[\]{}`…-]"
)
ARTICLES = {"a", "an", "the"}
OPERATORS = set("-+*/^=<>%:!⟨⟩") | {
    "percent", "hundred", "thousand", "million", "billion", "dozen", "times", "plus", "minus", "squared", "cubed",
    "and", "or", "to",
}  # fmt: skip
NEGATIONS = {
    "not", "no", "never", "neither", "nor", "none", "nothing", "without", "except", "unlike", "but", "cannot",
    "instead", "rather", "than",
}  # fmt: skip
FILLERS = ARTICLES | {
    "it", "it's", "its", "is", "was", "are", "were", "be", "would", "will", "that", "this", "they", "these", "he",
    "she", "there", "answer", "final", "right", "correct", "of", "on", "in", "at", "by", "to", "for", "with", "from",
    "as",
    "called", "named", "known", "result", "so", "then", "must", "should", "has", "have", "i", "think", "believe",
}  # fmt: skip
EVERYDAY = (
    FILLERS
    | NEGATIONS
    | {"may", "march", "can", "who", "what", "we", "us", "you", "all", "some", "any", "yes", "and", "or"}
)
Row = Mapping[str, Any]
Words = tuple[str, ...]


@dataclass(frozen=True)
class _Wording:
    """One way to name an option; `weak`: only as the whole answer."""

    option: int
    words: Words
    weak: bool


@dataclass(frozen=True)
class _Token:
    text: str
    start: int
    end: int


def spell(text: str) -> str:
    """A text with numbers, signs, capitals and typography written in one way."""
    text = re.sub("[⁰¹²³⁴-⁹]+", lambda found: f"^{found[0].translate(SUPERSCRIPTS)}", text)
    text = unicodedata.normalize("NFKC", text).translate(TYPOGRAPHY).casefold()
    text = re.sub(r"(?<!\w)[a-z]+(?![\w'])", lambda found: NUMBERS.get(found[0], found[0]), text)
    for pattern, replacement in SPELLING:
        text = pattern.sub(replacement, text)
    return text


def tokens_of(text: str) -> list[_Token]:
    """The words, numbers and signs of a text that was spelled (`spell`)."""
    return [_Token(found[0].strip(), found.start(), found.end()) for found in TOKEN.finditer(text)]


def spelled_words(text: str) -> Words:
    """The words, numbers and signs of any text, as they are compared."""
    return tuple(token.text for token in tokens_of(spell(text)))


def wordings(question: Row) -> list[_Wording]:
    """Every way to name an option."""
    asked = spelled_words(question["question"])
    told = [(option, text, False) for option, text in enumerate(question["options"])]
    variants = [question["short_answer"], *(question["accepted_answers"] or [])]
    told += [(question["gold"], text, True) for text in variants if text]
    found: dict[tuple[int, Words], _Wording] = {}
    for option, text, variant in told:
        words = spelled_words(text)
        if len(words) > 1 and words[0] in ARTICLES and len(words[1]) > 1:  # before a letter it may be one of a row
            words = words[1:]
        weak = variant or bool(_places(words, asked)) or (len(words) == 1 and words[0] in EVERYDAY)
        found.setdefault((option, words), _Wording(option, words, weak))
    return [wording for wording in found.values() if wording.words]


def check_readable(question: Row) -> str | None:
    """What is wrong, in words, where two options would be read alike or one not at all; else None."""
    named: dict[Words, int] = {}
    found = wordings(question)
    for option, text in enumerate(question["options"]):
        if not any(wording.option == option for wording in found):
            return f"the option '{text}' has no word to be read by"
    for wording in found:
        if named.setdefault(wording.words, wording.option) != wording.option:
            return f"'{' '.join(wording.words)}' stands for two options"
    return None


def read_answer(completion: str, question: Row, reasoned: bool, cut: bool = False) -> tuple[int | None, str | None]:
    """The option that an answer names.

    Args:
        completion: what the model wrote.
        question: a row of the table `questions`.
        reasoned: whether it was to reason first; then what follows the last "Answer:" is read, on its line or, where
            that is empty, on the next.
        cut: whether the limit ended it, perhaps within a word.

    Returns:
        The number of the option and None, or None and the reason: `no_answer_line`, `none`, `several` or `unclear`.
    """
    text = completion
    if reasoned:
        lines = list(ANSWER_LINE.finditer(completion))
        if not lines:
            return None, "no_answer_line"
        text, after = lines[-1].group(1), completion[lines[-1].end() :]
        if not spelled_words(text):
            text, _, after = after.strip().partition("\n")
        cut = cut and not after
    text = spell(text)
    tokens = _without(tokens_of(text), spelled_words(question["question"]))
    found = _named(tokens, wordings(question))
    if not any(counts for *_, counts in found):
        return None, "none"
    options = {option for _, _, option, _ in found}
    if len(options) > 1:
        return None, "several"
    if any(_unclear(text, tokens, start, end, cut) for start, end, *_ in found):
        return None, "unclear"
    return options.pop(), None


def _places(words: Sequence[str], text: Sequence[str]) -> list[int]:
    """Where words stand one after the other."""
    size = len(words)
    return [
        start for start in range(len(text) - size + 1) if size and tuple(text[start : start + size]) == tuple(words)
    ]


def _without(tokens: list[_Token], echoed: Words) -> list[_Token]:
    """An answer that repeats the question, without it."""
    places = _places(echoed, [token.text for token in tokens])
    return tokens[: places[0]] + tokens[places[0] + len(echoed) :] if places else tokens


def _named(tokens: Sequence[_Token], found: Sequence[_Wording]) -> list[tuple[int, int, int, bool]]:
    """First and last token and option of all that is named, and whether it counts: a weak wording that is not the whole
    answer does not, but speaks against another option. What lies within a longer wording is part of that one."""
    words = [token.text for token in tokens]
    spans = []
    for wording in found:
        for start in _places(wording.words, words):
            end = start + len(wording.words)
            counts = not wording.weak or FILLERS.issuperset(words[:start] + words[end:])
            spans.append((start, end, wording.option, counts))
    return [span for span in spans if not any(_covers(other, span) for other in spans)]


def _covers(longer: tuple[int, int, int, bool], span: tuple[int, int, int, bool]) -> bool:
    """Whether a wording lies within a longer one that says something else, or the same and counts."""
    within = longer[0] <= span[0] and span[1] <= longer[1] and longer[:2] != span[:2]
    return within and (longer[2] != span[2] or longer[3])


def _unclear(text: str, tokens: Sequence[_Token], start: int, end: int, cut: bool) -> bool:
    """Whether something beside a named option may change what it says: a negation anywhere, or a number, a row or a
    computation that goes on, or the end of a text that was cut."""
    if NEGATIONS.intersection(_stem(token.text) for token in [*tokens[:start], *tokens[end:]]):
        return True
    if cut and end == len(tokens):
        return True
    for before, after in ((start - 1, start), (end - 1, end)):
        if before < 0 or after >= len(tokens):
            continue
        inner, outer = (after, before) if after == start else (before, after)
        if tokens[outer].text in OPERATORS and _is_operand(tokens[inner].text):
            return True
        between = text[tokens[before].end : tokens[after].start].strip()
        row = _is_operand(tokens[before].text) and _is_operand(tokens[after].text)
        if between == "," and row and tokens[before].text.isalpha() == tokens[after].text.isalpha():
            return True
    return False


def _stem(word: str) -> str:
    """A word whose negation is its ending."""
    return "not" if word.endswith("n't") else word


def _is_operand(word: str) -> bool:
    """Whether a word can be a part of a row or a computation: a number or a letter."""
    return len(word) == 1 or word.lstrip("-")[:1].isdigit()
