"""How much a cell reads, trains and writes, in tokens, before it has run: from settings and its news' words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from sys2ft.cost import training_flops
from sys2ft.news.items import NewsFile, Question
from sys2ft.settings.base import Mode
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.settings.choices import BudgetSettings, ScoringSettings
from sys2ft.settings.study import Study

TOKENS_A_WORD = 1.35
"""ASSUME: English prose; the project's own news have 1.22 to 1.43 with SmolLM2's tokenizer."""
TOKENS_AN_OPTION_WORD = 2.0
"""ASSUME: options are names and numbers; 1.8 to 2.3 there."""
HEAD, TAIL = 20, 8
"""ASSUME: tokens of a chat template before what a user says, and between that and the answer."""
WRITTEN_SHARE = 0.5
"""ASSUME: how much of its limit a text fills that a model writes."""
GENERAL_TOKENS = 150
"""ASSUME: of a general text with its question (replay)."""
STUDY_QUESTION = 20
"""ASSUME: of a question that a teacher wrote."""
LETTER = 4
"""ASSUME: of an option's letter and its line, where options are shown."""
PADDING = 1.3
"""ASSUME: tokens computed for one read where sequences are padded to the longest of their batch."""


@dataclass(frozen=True)
class SplitSize:
    """What costs depend on in a split: how many items and questions, and the mean tokens of their parts."""

    items: int
    questions: int
    """Of an item."""
    options: int
    """Of a question."""
    news: float
    title: float
    question: float
    option: float
    statement: float


@dataclass(frozen=True)
class SequenceSize:
    """A training sequence in tokens.

    Attributes:
        shared: from its start, in common to all sequences of its item.
        own: after that.
        scored: that carry loss.
        distinct: different sequences of an item.
        imitates: whether the base reads it too, after the news.
    """

    shared: float
    own: float
    scored: float
    distinct: int
    imitates: bool = False

    @property
    def tokens(self) -> float:
        """Its length."""
        return self.shared + self.own


@dataclass(frozen=True)
class Step:
    """What a step of training computes: tokens, how many each of them sees, those with loss, those of the base."""

    tokens: float
    context: float
    scored: float
    imitated: float


def count_tokens(text: str, per_word: float = TOKENS_A_WORD) -> float:
    """About how many tokens a text has."""
    return per_word * len(text.split())


def measure_split(news: NewsFile) -> SplitSize:
    """The sizes of a split; it has items, and they have questions."""
    questions: list[Question] = [question for item in news.items for question in item.questions]
    stated = [question.statement for question in questions if question.statement is not None]
    options = [option for question in questions for option in question.options]
    return SplitSize(
        items=len(news.items),
        questions=max(1, round(len(questions) / len(news.items))),
        options=max(2, round(len(options) / len(questions))),
        news=fmean(count_tokens(item.text) for item in news.items),
        title=fmean(count_tokens(item.title) for item in news.items),
        question=fmean(count_tokens(question.question) for question in questions),
        option=fmean(count_tokens(option, TOKENS_AN_OPTION_WORD) for option in options),
        statement=fmean(map(count_tokens, stated)) if stated else 0.0,
    )


# ------------------------------------------------------------------------------------------------------------ training
def sequence_sizes(study: Study, protocol: str, split: SplitSize) -> list[tuple[float, SequenceSize]]:
    """The sequences of a protocol and the share that each kind of them has: several of a mix, else one."""
    whole = sum(part.weight for part in study.parts(protocol))
    return [(part.weight / whole, _sequence_size(study, part.name, split)) for part in study.parts(protocol)]


def _sequence_size(study: Study, protocol: str, split: SplitSize) -> SequenceSize:
    settings = study.protocols[protocol]
    if settings.replay:
        rows = study.replay[settings.replay].rows
        return SequenceSize(HEAD, TAIL + GENERAL_TOKENS, 0.8 * GENERAL_TOKENS, rows)
    asked = count_tokens(settings.ask) + (STUDY_QUESTION if "{question}" in settings.ask else split.title)
    prefix = 0.0 if settings.prefix == "none" else split.news + count_tokens(study.prompts.context)
    if settings.study is None:  # the news itself: every sequence is the same
        size = SequenceSize(HEAD + prefix + asked + TAIL + split.news, 0.0, split.news, 1)
    else:
        written = WRITTEN_SHARE * study.kinds[settings.study].max_new_tokens
        size = SequenceSize(HEAD + prefix, asked + TAIL + written, written, study.budget.study_rows)
    scored = size.scored + (split.news if settings.prefix_loss else 0.0)
    return replace(size, scored=scored, imitates=settings.objective == "distill")


def samples_of(budget: BudgetSettings, sizes: Sequence[tuple[float, SequenceSize]], parameters: int) -> int:
    """Training sequences of an item, by whatever the study matches protocols."""
    if budget.match == "samples":
        return budget.samples
    price = {
        "tokens": sum(share * size.scored for share, size in sizes),
        "flops": sum(share * training_flops(parameters, 1) * size.tokens for share, size in sizes),
    }
    return max(1, round(budget.amount / price[budget.match]))


def step_size(
    method: MethodSettings, sizes: Sequence[tuple[float, SequenceSize]], items: int, news: float, packed: bool = True
) -> Step:
    """What a step computes, of all adapters of a bank together, or of one model.

    Packed, a learner's sequences share what they have in common, item by item, and equal ones are read once; unpacked,
    each is read by itself and padded to the longest.

    Args:
        items: of the split.
        news: tokens of an item, which the base reads before what is imitated.
    """
    learners = items if method.kind == "lora" and method.per == "item" else 1
    taken = learners * (1 if method.per == "item" else min(method.batch_size, items))  # items in a step
    tokens = seen = scored = imitated = 0.0
    for share, size in sizes:
        count = learners * method.batch_size * share  # sequences
        beginnings, others = taken * min(1.0, count / taken), min(count, taken * size.distinct)
        if not packed:
            beginnings = others = count * PADDING
        tokens += beginnings * size.shared + others * size.own
        seen += beginnings * size.shared**2 / 2 + others * size.own * (size.shared + size.own / 2)
        scored += count * size.scored
        imitated += (beginnings * (size.shared + news) + others * size.own) * size.imitates
    return Step(tokens, seen / tokens, scored, imitated)


def step_count(method: MethodSettings, samples: int, items: int) -> int:
    """Steps of one learner; adapters of a bank take theirs together."""
    return -(-samples * (items if method.per == "split" else 1) // method.batch_size)


def learner_count(method: MethodSettings, items: int) -> int:
    """Adapters or models that a cell leaves."""
    return items if method.per == "item" else 1


def moments(method: MethodSettings, samples: int, items: int, milestones: bool) -> int:
    """How often what was learned is kept: at the end, and after each step that passes a power of two."""
    if not milestones:
        return 1
    end = samples * (items if method.per == "split" else 1)
    return 1 + len({after.bit_length() for after in range(method.batch_size, end, method.batch_size)})


# ------------------------------------------------------------------------------------------------------------- answers
def asked_ways(scoring: ScoringSettings, tuned: bool, others: bool) -> list[tuple[str, bool]]:
    """The ways a question is put, by condition, and whether it is blanked; `other_adapter` is one more closed book.

    Args:
        tuned: whether those who learned answer, not the base.
        others: whether there is another adapter to ask.
    """
    ways: list[tuple[str, bool]] = [(condition, False) for condition in scoring.conditions]
    if "blank_question" in scoring.controls:
        ways += [(condition, True) for condition in scoring.conditions if condition != "other_news"]
    if tuned and others and "other_adapter" in scoring.controls:
        ways.append(("closed_book", False))
    return ways


def scored_tokens(
    scoring: ScoringSettings, size: SplitSize, mode: Mode, blank: bool, news: float, packed: bool = True
) -> tuple[float, float]:
    """What a question costs that is put in one way: tokens computed, and places whose logits are.

    Its options are branches after one prompt, or in `letter` after one for each of their orders, and their last tokens
    are not computed. Packed, news and the template's head are shared among questions and left out here; unpacked,
    every option is read by itself, after all that stands before it.
    """
    asked = count_tokens(scoring.neutral_question) if blank else size.question
    if mode == "letter":
        asked += count_tokens(scoring.letter_instruction)
        order = size.options * (size.option + LETTER) + TAIL
        branches, whole = size.options**2, asked + order + 1
        tokens, places = asked + size.options * order, float(size.options)
    elif mode == "cloze":
        branches, whole = size.options, asked + TAIL + size.option
        endings = size.options * (size.option - 1)
        tokens, places = asked + TAIL + endings, 1 + endings
    else:  # ASSUME: two statements are alike in their first half; blanked, a third of it is left
        told = size.statement * (0.3 if blank else 1.0)
        asked = count_tokens(scoring.statement_instruction)
        branches, whole = 2, asked + TAIL + told
        tokens, places = asked + TAIL + 1.5 * told, 1.5 * told
    if not packed:
        return PADDING * branches * (HEAD + news + whole), branches * (whole - asked)
    return tokens, places
