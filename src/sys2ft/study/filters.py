"""`filter_study`: which study rows are trained, and how many were left out for which reason.

A row is judged by itself, by the rows before it and by the evaluation questions, never by the rows after it, so that a
smaller budget is the beginning of a larger one.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sys2ft.cost import total
from sys2ft.settings.choices import FilterSettings
from sys2ft.settings.stages import FilterStudyStage
from sys2ft.study.reading import read_study
from sys2ft.words import word_runs, words_of

Row = Mapping[str, Any]
Run = tuple[str, ...]
STATUSES = (
    "kept", "unparsed", "empty", "too_long", "refusal", "unsupported", "unchecked", "leaked", "near_duplicate",
)  # fmt: skip


class TooLittleKept(ValueError):
    """The teacher's completions could not be used often enough."""


def filter_study(
    items: Sequence[Row], questions: Sequence[Row], completions: Sequence[Row], stage: FilterStudyStage
) -> list[dict[str, Any]]:
    """Rows of the table `study`, without the keys that all of them share.

    Args:
        items: rows of the table `items`.
        questions: rows of the table `questions`: what the evaluation asks.
        completions: rows of the table `completions`.

    Raises:
        TooLittleKept: fewer than `min_kept` of an item's rows are left; names the item and the counts.
    """
    names = [item["item"] for item in items]
    rows = read_study(names, completions, stage.prompts, stage.rows, stage.per_call)
    news = {item["item"]: item["text"] for item in items}
    leaks = LeakFinder(questions, news, stage.filters.leak_words, stage.leak_options)
    for row in rows:
        row["overlap"], row["overlap_question"] = leaks.largest_overlap(_whole_text(row))
        if row["status"] == "kept" and len(words_of(row["text"])) > stage.filters.max_words:
            row["status"] = "too_long"
        if row["status"] == "kept" and row["overlap"] >= stage.filters.leak_overlap:
            row["status"] = "leaked"
    for name in names:
        _mark_near_duplicates([row for row in rows if row["item"] == name and row["status"] == "kept"], stage.filters)
        _check_kept(name, [row for row in rows if row["item"] == name], completions, stage.min_kept)
    return rows


def _whole_text(row: Row) -> str:
    return f"{row['question']}\n{row['text']}" if row["question"] else row["text"]


# --------------------------------------------------------------------------------------------------------------- leaks
class LeakFinder:
    """How much of an evaluation question stands in a text.

    A question, and each of its options that is long enough to be told from a name, is a set of runs of words; the
    runs that the news itself has are no evidence and do not count. The overlap is the share of the others that stand in
    the text.

    Args:
        questions: rows of the table `questions`, or general questions.
        news: item id to text; general questions have none.
        words: in a run; a shorter question is one run, a shorter option is not looked at.
        options: whether options are looked at.
    """

    def __init__(self, questions: Sequence[Row], news: Mapping[str, str], words: int, options: bool = True):
        self.where: dict[Run, list[int]] = {}
        self.sizes: list[int] = []
        self.question_ids: list[str] = []
        for question in questions:
            long = [option for option in question["options"] if options and len(words_of(option)) >= words]
            for text in (question["question"], *long):
                length = min(words, len(words_of(text)))
                runs = set(word_runs(text, length)) - set(word_runs(news.get(question.get("item", ""), ""), length))
                if runs:
                    for run in runs:
                        self.where.setdefault(run, []).append(len(self.sizes))
                    self.sizes.append(len(runs))
                    self.question_ids.append(question["question_id"])
        self.lengths = {len(run) for run in self.where}

    def largest_overlap(self, text: str) -> tuple[float, str | None]:
        """The largest overlap of the text with a question, from 0 to 1, and that question's id."""
        runs = {run for length in self.lengths for run in word_runs(text, length)}
        hits = [part for run in runs for part in self.where.get(run, ())]
        if not hits:
            return 0.0, None
        shares = np.bincount(hits, minlength=len(self.sizes)) / self.sizes
        return float(shares.max()), self.question_ids[int(shares.argmax())]


# ------------------------------------------------------------------------------------------------------ near duplicates
def _mark_near_duplicates(rows: Sequence[dict[str, Any]], filters: FilterSettings) -> None:
    for row, double in zip(rows, near_duplicates(map(_whole_text, rows), filters.near_duplicate), strict=True):
        if double:
            row["status"] = "near_duplicate"


def near_duplicates(texts: Iterable[str], threshold: float) -> list[bool]:
    """Whether each text is nearly one that stands before it and is not left out itself.

    Two texts are as alike as the Jaccard similarity of their runs of three words; exact, not sketched, as an item has
    some thousand rows at most.
    """
    from scipy.sparse import csr_matrix

    sets = [set(word_runs(text, min(3, len(words_of(text))))) for text in texts]
    number: dict[Run, int] = {}
    for runs in sets:
        for run in runs:
            number.setdefault(run, len(number))
    ends = np.cumsum([0, *map(len, sets)])
    columns = [number[run] for runs in sets for run in runs]
    matrix = csr_matrix((np.ones(len(columns), dtype=np.int32), columns, ends), shape=(len(sets), len(number)))
    shared = (matrix @ matrix.T).toarray()
    sizes = np.diff(ends)
    alike = shared >= threshold * np.maximum(sizes[:, None] + sizes[None] - shared, 1)
    kept: list[int] = []
    for index in range(len(sets)):
        if not alike[index, kept].any():
            kept.append(index)
    return [index not in set(kept) for index in range(len(sets))]


# -------------------------------------------------------------------------------------------------------------- counts
def _check_kept(item: str, rows: Sequence[Row], completions: Sequence[Row], min_kept: float) -> None:
    lost = [row for row in rows if row["status"] != "kept"]
    kept = len(rows) - len(lost)
    if kept and kept >= min_kept * len(rows):
        return
    counts = {status: sum(row["status"] == status for row in lost) for status in STATUSES}
    named = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    example = next((row["completion"] for row in completions if row["request"] == lost[0]["request"]), "")
    raise TooLittleKept(
        f"item '{item}': {kept} of {len(rows)} study rows are left ({named}), and one row and {min_kept:.0%} of all "
        f"are the least. A completion that was of no use: {example[:300]!r}. Mend the kind's prompts, take a stronger "
        "teacher, or lower the kind's min_kept"
    )


def count_study(
    rows: Sequence[Row], completions: Sequence[Row], filters: FilterSettings, prompts_version: int
) -> list[dict[str, Any]]:
    """Rows of the table `study_counts`, one an item, without the keys that all of them share."""
    by_item: dict[str, list[Row]] = {}
    for row in rows:
        by_item.setdefault(row["item"], []).append(row)
    made: dict[str, list[Row]] = {item: [] for item in by_item}
    for completion in completions:
        made[completion["item"]].append(completion)
    return [
        {
            "item": item,
            "rows": len(some),
            **{status: sum(row["status"] == status for row in some) for status in STATUSES},
            "largest_overlap": max(row["overlap"] for row in some),
            "leak_threshold": filters.leak_overlap,
            "prompts_version": prompts_version,
            "requests": len(made[item]),
            "teacher_prompt_tokens": total([row["prompt_tokens"] for row in made[item]]),
            "teacher_tokens": total([row["completion_tokens"] for row in made[item]]),
            "teacher_flops": total([row["flops"] for row in made[item]]),
        }
        for item, some in by_item.items()
    ]
