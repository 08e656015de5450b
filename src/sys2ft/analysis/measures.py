"""The measures of the project, their controls, and the families they are tested in.

A measure is a sum of accuracies with signs (`gap_closed` is a ratio of two). Under a control each of its terms is
replaced by the same term under that control; the *net* measure is the difference, paired on the same questions. What is
listed here is the whole list.
"""

from dataclasses import dataclass

from sys2ft.grid import NONE

TOO_FEW = "too few items for an interval"
FAMILIARITY = "not distinguishable from familiarity"
NO_GAIN = "undefined: no in-context gain of the base to close, beyond its control"
NO_CONTROL = "no control was scored"
FAMILIES = {
    "closed_book": "accuracy",
    "in_context": "accuracy",
    "in_context_gain": "learning",
    "closed_book_gain": "learning",
    "ft_icl_gap": "gap",
    "gap_closed": "gap",
    "overexposure": "overexposure",
    "shadowing": "shadowing",
    "protocol_contrast": "protocols",
    "size_contrast": "sizes",
    "retention_change": "retention",
}
"""Which measures answer one question, and are corrected together (Holm): one control, mode and split at a time."""
Who = tuple[str, str, str]  # base, tuned or other; condition; control
Terms = dict[Who, float]


@dataclass(frozen=True)
class Measure:
    """A named sum of accuracies and the controls it has.

    Attributes:
        terms: (who, condition) to sign; who is `base`, `tuned` or `other` (whom the tuned model is compared with).
        controls: `blank_question` replaces every term, `other_adapter` those of tuned models, `other_news` those in
            context.
    """

    name: str
    terms: dict[tuple[str, str], float]
    controls: tuple[str, ...]


BLANK, ADAPTER, NEWS = "blank_question", "other_adapter", "other_news"
BASE_MEASURES = (
    Measure("closed_book", {("base", "closed_book"): 1}, (BLANK,)),
    Measure("in_context", {("base", "in_context"): 1}, (BLANK, NEWS)),
    Measure("in_context_gain", {("base", "in_context"): 1, ("base", "closed_book"): -1}, (BLANK, NEWS)),
)
TUNED_MEASURES = (
    Measure("closed_book", {("tuned", "closed_book"): 1}, (BLANK, ADAPTER)),
    Measure("in_context", {("tuned", "in_context"): 1}, (BLANK, NEWS)),
    Measure("closed_book_gain", {("tuned", "closed_book"): 1, ("base", "closed_book"): -1}, (BLANK, ADAPTER)),
    Measure("ft_icl_gap", {("base", "in_context"): 1, ("tuned", "closed_book"): -1}, (BLANK,)),
    Measure("overexposure", {("base", "in_context"): 1, ("tuned", "in_context"): -1}, (BLANK,)),
)
RETENTION = Measure("retention_change", {("tuned", "general"): 1}, ())
GAIN, IN_CONTEXT_GAIN = TUNED_MEASURES[2], BASE_MEASURES[2]


def contrast(name: str) -> Measure:
    """A measure that compares two learners, closed book, on the same questions."""
    return Measure(name, {("tuned", "closed_book"): 1, ("other", "closed_book"): -1}, (BLANK,))


def terms_of(measure: Measure, control: str = NONE) -> Terms:
    """The terms of a measure as they are, or under a control."""
    terms: Terms = {}
    for (who, condition), sign in measure.terms.items():
        term = (who, condition, NONE)
        if control == BLANK:
            term = (who, condition, BLANK)
        elif control == ADAPTER and who == "tuned":
            term = (who, condition, ADAPTER)
        elif control == NEWS and condition == "in_context":
            term = (who, NEWS, NONE)
        terms[term] = terms.get(term, 0.0) + sign
    return terms


def add_terms(*several: tuple[float, Terms]) -> Terms:
    """A sum of terms with factors."""
    found: Terms = {}
    for factor, terms in several:
        for term, sign in terms.items():
            found[term] = found.get(term, 0.0) + factor * sign
    return found
