"""What a data set of questions gives away to somebody who does not know the news.

Each check is a way of answering without knowledge, or a rule that every question keeps. A way of answering must sit
at chance: its 95 % interval, from a bootstrap clustered by item, contains the share that guessing gives.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sys2ft.analysis.bootstrap import Resampler
from sys2ft.words import word_runs, words_of

Row = Mapping[str, Any]
SHARED_WORDS = 8
"""A run of this many words in common is an overlap."""
DRAWS = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Finding:
    """One check over all questions.

    Attributes:
        name: what was tried.
        share: of questions answered rightly that way, or of those that break a rule.
        low: lower end of its interval; None for a rule.
        high: upper end.
        chance: what the interval must contain; for a rule, 0.
        questions: how many were looked at.
        broken_by: ids of the questions that break a rule, or that a way of answering that is not at chance gets right.
    """

    name: str
    share: float
    low: float | None
    high: float | None
    chance: float
    questions: int
    broken_by: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether the data set may be used as it is."""
        if self.low is None or self.high is None:
            return not self.broken_by
        return self.low <= self.chance <= self.high

    def as_row(self) -> dict[str, Any]:
        """A row of the table `audit`."""
        names = ("name", "questions", "share", "low", "high", "chance", "passed")
        return {name: getattr(self, name) for name in names} | {"broken_by": list(self.broken_by)}

    def explain(self) -> str:
        """The violation in words, with the questions that cause it."""
        if self.low is None or self.high is None:
            return f"{self.name}: {', '.join(self.broken_by)}"
        return (
            f"{self.name}: right in {self.share:.1%} [{self.low:.1%}, {self.high:.1%}] of {self.questions} questions, "
            f"and chance is {self.chance:.1%}"
            + (f"; gold that way: {', '.join(self.broken_by)}" if self.broken_by else "")
        )


def count_in(option: str, text: str) -> int:
    """How often an option stands in a text as whole words."""
    return len(re.findall(rf"(?<!\w){re.escape(option)}(?!\w)", text, re.IGNORECASE))


# ------------------------------------------------------------------------------------------- answering without knowing
Preference = Callable[[Row, str], Sequence[float]]
"""How much each option of a question attracts somebody; the second argument is the item's text."""


def _place(place: int) -> Preference:
    return lambda question, _: [float(index == place) for index in range(len(question["options"]))]


def _longest(question: Row, _: str) -> list[float]:
    return [float(len(option)) for option in question["options"]]


def _shortest(question: Row, _: str) -> list[float]:
    return [-float(len(option)) for option in question["options"]]


def _in_text(question: Row, text: str) -> list[float]:
    return [float(count_in(option, text) > 0) for option in question["options"]]


def _most_often_in_text(question: Row, text: str) -> list[float]:
    return [float(count_in(option, text)) for option in question["options"]]


def _commonest_words(question: Row, text: str) -> list[float]:
    counts = Counter(words_of(text))
    return [float(np.mean([counts[word] for word in words_of(option)] or [0])) for option in question["options"]]


def _first_in_text(question: Row, text: str) -> list[float]:
    places = [text.casefold().find(option.casefold()) for option in question["options"]]
    return [-float(place) if place >= 0 else float("-inf") for place in places]


def _last_in_text(question: Row, text: str) -> list[float]:
    return [float(text.casefold().rfind(option.casefold())) for option in question["options"]]


def _words_of_the_question(question: Row, _: str) -> list[float]:
    asked = set(words_of(question["question"]))
    return [float(np.mean([int(word in asked) for word in words_of(option)] or [0])) for option in question["options"]]


HEURISTICS: dict[str, Preference] = {
    "first place": _place(0),
    "second place": _place(1),
    "third place": _place(2),
    "fourth place": _place(3),
    "longest option": _longest,
    "shortest option": _shortest,
    "option in the text": _in_text,
    "option most often in the text": _most_often_in_text,
    "commonest words of the text": _commonest_words,
    "first in the text": _first_in_text,
    "last in the text": _last_in_text,
    "words of the question": _words_of_the_question,
}


def try_heuristic(name: str, questions: Sequence[Row], texts: Mapping[str, str]) -> Finding:
    """Answer every question by a preference alone; options that attract alike share the credit.

    Args:
        name: of `HEURISTICS`.
        questions: rows of the table `questions`.
        texts: item id to text.
    """
    credits = []
    for question in questions:
        preferences = HEURISTICS[name](question, texts[question["item"]])
        best = [index for index, value in enumerate(preferences) if value == max(preferences)]
        credits.append((question["item"], float(question["gold"] in best) / len(best)))
    found = estimate_share(name, credits, chance_of(questions))
    if found.passed:
        return found
    gold = tuple(q["question_id"] for q, (_, credit) in zip(questions, credits, strict=True) if credit == 1)
    return replace(found, broken_by=gold)


def chance_of(questions: Iterable[Row]) -> float:
    """The share that guessing gives."""
    return float(np.mean([1 / len(question["options"]) for question in questions]))


def estimate_share(name: str, credits: Sequence[tuple[str, float]], chance: float) -> Finding:
    """A share with its interval.

    Args:
        credits: item and credit of each question.
    """
    items = list(dict.fromkeys(item for item, _ in credits))
    number = {item: index for index, item in enumerate(items)}
    which = [number[item] for item, _ in credits]
    counts = np.bincount(which).astype(float)
    sums = np.bincount(which, weights=[credit for _, credit in credits])
    if len(items) < 2:  # one cluster says nothing
        return Finding(name, float(sums.sum() / counts.sum()), 0.0, 1.0, chance, len(credits))
    resampler = Resampler(len(items), DRAWS, seed=0)
    found = resampler.intervals(sums[None, None], counts, LEVEL, power=0.8, bounds=(0, 1))[0]
    return Finding(name, found.estimate, found.low, found.high, chance, len(credits))


# --------------------------------------------------------------------------------------------------------------- rules
def break_parity(questions: Sequence[Row], texts: Mapping[str, str]) -> Finding:
    """Questions of which some options occur in the item and others do not."""
    found = [{count_in(option, texts[q["item"]]) > 0 for option in q["options"]} for q in questions]
    return _rule("some options in the text, others not", questions, [len(kinds) > 1 for kinds in found])


def name_their_gold(questions: Sequence[Row]) -> Finding:
    """Questions that contain their answer and not all of their options."""
    broken = []
    for question in questions:
        named = [count_in(option, question["question"]) > 0 for option in question["options"]]
        broken.append(named[question["gold"]] and not all(named))
    return _rule("the question names its answer", questions, broken)


def share_a_run(questions: Sequence[Row], texts: Iterable[str], what: str) -> Finding:
    """Questions that have a run of `SHARED_WORDS` words in common with one of some texts."""
    runs = {run for text in texts for run in word_runs(text, SHARED_WORDS)}
    broken = [any(run in runs for run in word_runs(question["question"], SHARED_WORDS)) for question in questions]
    return _rule(f"{SHARED_WORDS} words in common with {what}", questions, broken)


def _rule(name: str, questions: Sequence[Row], broken: Sequence[bool]) -> Finding:
    names = tuple(question["question_id"] for question, is_broken in zip(questions, broken, strict=True) if is_broken)
    return Finding(name, len(names) / len(questions), None, None, 0.0, len(questions), names)


# --------------------------------------------------------------------------------------------------------------- whole
def audit(
    items: Sequence[Row], questions: Sequence[Row], study: Sequence[str] = (), answers: Sequence[Row] = ()
) -> list[Finding]:
    """All checks.

    Args:
        items: rows of the table `items`.
        questions: rows of the table `questions`.
        study: texts of study data, which must not give evaluation questions away.
        answers: rows of the table `answers` of base models: closed book, and in context with the question blanked,
            they must sit at chance as well.
    """
    texts = {item["item"]: item["text"] for item in items}
    findings = [try_heuristic(name, questions, texts) for name in HEURISTICS]
    findings += [
        break_parity(questions, texts),
        name_their_gold(questions),
        share_a_run(questions, texts.values(), "an item"),
        share_a_run(questions, study, "study data"),
    ]
    by_id = {question["question_id"]: question for question in questions}
    for (model, mode, condition, control), rows in _without_knowledge(answers).items():
        name = f"{model}, {mode}: {condition}" + (f", {control}" if control != "none" else "")
        chance = 0.5 if mode == "statement" else chance_of([by_id[row["question_id"]] for row in rows])
        findings.append(estimate_share(name, [(row["item"], row["correct"]) for row in rows], chance))
    return findings


def _without_knowledge(answers: Sequence[Row]) -> dict[tuple[str, str, str, str], list[Row]]:
    wanted = (("closed_book", "none"), ("in_context", "blank_question"))
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in answers:
        if row["protocol"] == "none" and (row["condition"], row["control"]) in wanted:
            groups.setdefault((row["model"], row["mode"], row["condition"], row["control"]), []).append(row)
    return groups
