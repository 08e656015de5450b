"""Verdicts in sentences, each with its interval, its control and what the design could have seen.

A negative result is told in the same words as a positive one. What the sentences say is in the table `effects`; nothing
is computed here but counts.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sys2ft.grid import NONE
from sys2ft.report.findings import CONTROL_NAMES, Findings, Row, per_estimate, retention_unit

FEW = 6
"""Sentences that stand open; more are folded below their counts."""


Sentence = tuple[str, str]
"""Of whom, and what is said."""


@dataclass(frozen=True)
class Section:
    """The sentences of one question.

    Attributes:
        title: the question.
        about: what is measured.
        summary: how often each verdict is reached, for each mode and control.
        sentences: one for each estimate; what is not told, where there is none.
    """

    title: str
    about: str
    summary: list[Sentence]
    sentences: list[Sentence]

    @property
    def folded(self) -> bool:
        """Whether there are too many sentences to stand open."""
        return len(self.sentences) > FEW


ASKED = {
    "in_context_gain": (
        "Is there a gap to close?",
        "Accuracy of the base with the news in context, minus without it.",
        "no base was asked both with the news in context and without it",
    ),
    "closed_book_gain": (
        "Does training bring the news into the weights?",
        "Closed-book accuracy of the tuned model minus that of the base.",
        "no tuned model was asked closed book",
    ),
    "ft_icl_gap": (
        "What is left of the gap?",
        "Accuracy of the base with the news in context, minus closed-book accuracy of the tuned model.",
        "no base was asked with the news in context",
    ),
    "gap_closed": (
        "Which share of the gap is closed?",
        "Closed-book gain over the in-context gain of the base; undefined where the latter's interval covers 0.",
        "no base was asked with the news in context",
    ),
    "overexposure": (
        "Does training cost the use of the news in context?",
        "In-context accuracy of the base minus that of the tuned model.",
        "no tuned model was asked with the news in context",
    ),
    "shadowing": (
        "Does a prefix shadow what is learned?",
        "Closed-book accuracy of a protocol minus that of the same protocol with something before the sequence.",
        "the grid has no protocol together with the same one shadowed",
    ),
    "protocol_contrast": (
        "Is another protocol better than the reference?",
        "Closed-book accuracy of a protocol minus that of the reference protocol, paired on the same questions.",
        "the grid has no protocol beside the reference protocol of the same teacher, or of none",
    ),
    "size_contrast": (
        "Does size matter?",
        "Closed-book accuracy of a model minus that of the model before it in the grid, all else the same.",
        "the grid has one model",
    ),
    "retention_change": (
        "Is anything forgotten?",
        "Score of the tuned model minus that of the base on general tasks; the interval is over adapters and seeds.",
        "no task of retention was scored",
    ),
}
"""For each measure the question, what is measured, and what is said where the study has nothing of it."""


def tell(findings: Findings) -> list[Section]:
    """All sections, over all of the grid."""
    return [*(_section(findings, measure) for measure in ASKED), _scaling_section(findings)]


def _section(findings: Findings, measure: str) -> Section:
    title, about, nothing = ASKED[measure]
    rows = [row for row in findings.effects if row["measure"] == measure and row["split"] == findings.whole]
    if measure not in ("shadowing", "retention_change"):
        rows = [row for row in rows if row["protocol"] not in findings.shadowed]
    groups = per_estimate(rows)
    if not groups:
        return Section(title, about, [], [("Not told", f"{nothing}.")])
    modes = dict.fromkeys(row["mode"] for row in rows)
    summary = [sentence for mode in modes for sentence in _counts(findings, mode, groups)]
    return Section(title, about, summary, [tell_estimate(findings, group) for group in groups])


def _counts(findings: Findings, mode: str, groups: Sequence[Sequence[Row]]) -> Iterable[Sentence]:
    """How often each verdict is reached in a mode, control by control."""
    chosen = [row for group in groups for row in group if row["mode"] == mode]
    for control in dict.fromkeys(row["control"] for row in chosen):
        rows = [row for row in chosen if row["control"] == control]
        verdicts = Counter(row["verdict"] for row in rows)
        told = "; ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
        beside = f", beside {CONTROL_NAMES[control]}" if control else ""
        said = f"{_many(len(rows), 'estimate')}, {told}.{_after_correction(findings, rows)}"
        yield f"{mode}{beside}", said


def _after_correction(findings: Findings, rows: Sequence[Row]) -> str:
    """How many differences outlive Holm's correction; nothing where none was found."""
    found = [row for row in rows if _differs(findings, row["p"])]
    if not found or any(row["p_holm"] is None for row in found):
        return ""
    kept = sum(_differs(findings, row["p_holm"]) for row in found)
    return f" Holm's correction leaves {kept} of {_many(len(found), 'difference')}."


def _differs(findings: Findings, p: float | None) -> bool:
    return p is not None and p < 1 - findings.level


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _scaling_section(findings: Findings) -> Section:
    """What the table `scaling` says of closed-book accuracy, form by form."""
    title, about = "Does accuracy follow compute?", "Forms of a law, fitted to closed-book accuracy along training."
    rows = [
        row
        for row in findings.scaling
        if (row["measure"], row["control"], row["split"]) == ("closed_book", "none", findings.whole)
        and row["protocol"] not in findings.shadowed
    ]
    if not rows:
        return Section(title, about, [], [("Not told", "nothing was fitted.")])
    verdicts = Counter((row["x"], row["verdict"].partition(":")[0]) for row in rows)
    counts: dict[str, list[str]] = {}
    for (x, verdict), count in verdicts.items():
        counts.setdefault(x, []).append(f"{count} {verdict}")
    summary = [
        (f"against {x}", f"{_many(sum(row['x'] == x for row in rows), 'fit')}, {'; '.join(told)}.")
        for x, told in counts.items()
    ]
    sentences = [
        (f"{findings.learner(row)}, {row['mode']}, {row['form']} in {row['x']}", f"{row['verdict']}.") for row in rows
    ]
    return Section(title, about, summary, sentences)


def tell_estimate(findings: Findings, group: Sequence[Row]) -> Sentence:
    """One estimate in words, with each of its controls.

    Args:
        group: rows of `effects` that differ in their controls only.
    """
    first = group[0]
    unit, factor = _unit(first)
    whom = f"{first['model']}, {first['mode']}"
    if first["protocol"] != NONE:
        whom = f"{findings.learner(first)}, {whom}"
    if first["versus"]:
        whom += f", against {first['versus']}"
    counts = ", ".join(_many(first[name], name[:-1]) for name in ("items", "questions", "seeds"))
    if first["measure"] == "retention_change":
        counts = f"{_many(first['items'], 'adapter')}, {_many(first['questions'], 'document')}"
    if first["estimate"] is None:
        return whom, f"{first['verdict']} ({counts})."
    value = _number(first["estimate"], first["low"], first["high"], factor)
    said = f"{value} {unit} ({counts})"
    if first["low"] is None:
        return whom, f"{said}, {first['verdict']}."
    return whom, ". ".join([said, *(_beside(findings, row, unit, factor) for row in group)]) + "."


def _beside(findings: Findings, row: Row, unit: str, factor: float) -> str:
    """What the control says of an estimate."""
    said = str(row["verdict"])
    if row["control"] is not None and row["net"] is not None:
        name = CONTROL_NAMES[row["control"]].capitalize()
        under = _number(row["control_estimate"], row["control_low"], row["control_high"], factor)
        said = f"{name}: {under}; net {_number(row['net'], row['net_low'], row['net_high'], factor)}, {said}"
    else:
        said = said.capitalize()
    if _differs(findings, row["p"]) and row["p_holm"] is not None and not _differs(findings, row["p_holm"]):
        said += f", which does not outlive Holm's correction (p {row['p_holm']:.2g})"
    if row["detectable"] is not None:
        said += f"; the smallest detectable difference is {_plain(row['detectable'], factor)} {unit}"
    return said


def _unit(row: Row) -> tuple[str, float]:
    if row["measure"] == "gap_closed":
        return "% of the gap", 100.0
    return retention_unit(row["mode"]) if row["measure"] == "retention_change" else ("points", 100.0)


def _number(value: float, low: float | None, high: float | None, factor: float) -> str:
    """`+12.3 [4.5, 20.1]`; the number alone where there is no interval."""
    interval = "" if low is None or high is None else f" [{_plain(low, factor)}, {_plain(high, factor)}]"
    return f"{_plain(value, factor, '+')}{interval}"


def _plain(value: float, factor: float, sign: str = "") -> str:
    return f"{factor * value:{sign}.{1 if factor > 1 else 3}f}".replace("-", "−")
