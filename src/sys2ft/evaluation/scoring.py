"""The scorer: options are branches of shared prefixes, read by one resident model with all adapters of a cell.

`letter` shows the options, asks for a letter and compares the letters' log-probabilities, averaged over the cyclic
orders of the options. `cloze` does not show them and compares the mean log-probability a token of each option's text
(Lampinen et al. 2025 score by likelihood; the length normalisation is that of Brown et al. 2020, section 2.4).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from sys2ft.chat import encode_text, render_prompt
from sys2ft.evaluation.questions import LETTERS, NONE, Asking, ask_all, option_orders, prompt_messages
from sys2ft.evaluation.respondents import Respondent
from sys2ft.forward import token_log_probabilities
from sys2ft.packing import BASE, Pass, TokenSequence, make_passes
from sys2ft.progress import progress_bar
from sys2ft.settings.stages import ScoreStage
from sys2ft.training.lora_bank import LoraBank


@dataclass(frozen=True)
class _Branch:
    """One option in one order of one asking; `sequence` is its number among all token sequences."""

    order: int
    option: int
    place: int
    sequence: int


def score_split(
    respondent: Respondent,
    tokenizer: Any,
    items: Sequence[Mapping[str, Any]],
    questions: Sequence[Mapping[str, Any]],
    stage: ScoreStage,
) -> list[dict[str, Any]]:
    """Put every question of a split to who answers it, in every way the settings name.

    Args:
        respondent: what is asked of others is left out.
        items: rows of the table `items`.
        questions: rows of the table `questions`.

    Returns:
        Rows of the table `answers`, without the cell's keys.

    Raises:
        ValueError: a prompt with its option is longer than the model's context, or an option has no token.
    """
    bank = respondent.bank
    here = (NONE,) if respondent.readers is None else respondent.names
    askings = [one for one in ask_all(items, questions, stage.scoring, respondent.readers) if one.reader in here]
    sequences: list[TokenSequence] = []
    branches: list[list[_Branch]] = []
    for asking in askings:
        adapter = BASE if bank is None else bank.names.index(asking.reader)
        branches.append(_branches(asking, stage, tokenizer, adapter, sequences))
    _check_lengths(respondent.model, askings, branches, sequences)
    sums = _sum_log_probabilities(respondent.model, bank, sequences, stage)
    return [
        _answer(asking, found, sequences, sums)
        | {
            "adapter": respondent.digests.get(asking.reader),
            "samples_seen": respondent.samples.get(asking.reader, 0),
            "milestone": respondent.milestone,
        }
        for asking, found in zip(askings, branches, strict=True)
    ]


def score_retention(
    respondent: Respondent, tokenizer: Any, general: Sequence[Mapping[str, Any]], stage: ScoreStage
) -> list[dict[str, Any]]:
    """Put general questions, closed book, to the base or to everyone who is here.

    Args:
        general: questions as `news.items.asked` gives them.

    Returns:
        Rows of the table `retention`, without the cell's keys.
    """
    base = respondent.readers is None
    readers = [NONE] if base else respondent.names
    plain = {"conditions": ("closed_book",), "controls": (), "modes": stage.scoring.retention_modes}
    stage = stage.model_copy(update={"scoring": stage.scoring.model_copy(update=plain)})
    questions = [{**question, "item": reader, "kind": "general"} for reader in readers for question in general]
    asked = replace(respondent, readers=None if base else {reader: reader for reader in readers})
    rows = score_split(asked, tokenizer, [{"item": reader} for reader in readers], questions, stage)
    left_out = ("kind", "condition", "control", "samples_seen", "milestone")
    return [{name: row[name] for name in row if name not in left_out} for row in rows]


def _branches(
    asking: Asking, stage: ScoreStage, tokenizer: Any, adapter: int, sequences: list[TokenSequence]
) -> list[_Branch]:
    """Append the token sequences of one asking and say which is which."""
    options = asking.question["options"]
    letter = asking.mode == "letter"
    orders: list[list[int] | None] = [*option_orders(len(options))] if letter else [None]
    found = []
    for number, order in enumerate(orders):
        prompt = render_prompt(tokenizer, prompt_messages(asking, stage.scoring, stage.context, order))
        for place in range(len(options)):
            option = place if order is None else order[place]
            ending = encode_text(tokenizer, LETTERS[place] if letter else options[option])
            if not ending:
                raise ValueError(f"question '{asking.question['question_id']}': an option has no token")
            scored = tuple(range(len(prompt), len(prompt) + len(ending)))
            found.append(_Branch(number, option, place, len(sequences)))
            sequences.append(TokenSequence((*prompt, *ending), scored, adapter))
    return found


def _check_lengths(
    model: Any, askings: Sequence[Asking], branches: Sequence[list[_Branch]], sequences: Sequence[TokenSequence]
) -> None:
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for asking, found in zip(askings, branches, strict=True):
        longest = max(len(sequences[branch.sequence].tokens) for branch in found)
        if limit and longest > limit:
            raise ValueError(
                f"question '{asking.question['question_id']}' ({asking.condition}) has {longest} tokens, more than "
                f"the {limit} of the model's context: shorten the item or take a model with a longer context"
            )


def _sum_log_probabilities(
    model: Any, bank: LoraBank | None, sequences: Sequence[TokenSequence], stage: ScoreStage
) -> list[float]:
    """The summed log-probability of each sequence's scored tokens."""
    device = next(model.parameters()).device
    forward: Callable[[Pass], torch.Tensor] = (
        bank.log_probabilities if bank is not None else lambda step: token_log_probabilities(model, step, device)
    )
    sums = torch.zeros(len(sequences), dtype=torch.float64)
    adapters = 0 if bank is None else len(bank.names)
    with torch.inference_mode(), progress_bar(len(sequences), "options", "score") as bar:
        for step in make_passes(sequences, stage.scoring.tokens_per_pass, adapters):
            sums.index_add_(0, step.sequences, forward(step).double().cpu())
            bar.update(len(step.sequences.unique()))
    return sums.tolist()


def _answer(
    asking: Asking, branches: Sequence[_Branch], sequences: Sequence[TokenSequence], sums: Sequence[float]
) -> dict[str, Any]:
    """One row of `answers` from the scores of an asking's branches."""
    question, gold = asking.question, asking.question["gold"]
    options = len(question["options"])
    orders = max(branch.order for branch in branches) + 1
    logprobs, tokens = [0.0] * options, [0] * options
    winners: list[tuple[float, int, int]] = [(float("-inf"), 0, -1)] * orders
    for branch in branches:
        length = len(sequences[branch.sequence].scored)
        score = sums[branch.sequence] / length
        logprobs[branch.option] += sums[branch.sequence] / orders
        tokens[branch.option] = length
        # Where two options are equal, as happens in bfloat16, the first place wins: in `letter` that is each in turn.
        winners[branch.order] = max(winners[branch.order], (score, -branch.place, branch.option))
    scores = [logprob / length for logprob, length in zip(logprobs, tokens, strict=True)]
    order_correct = [winner == gold for _, _, winner in winners]
    return {
        "item": asking.item,
        "question_id": question["question_id"],
        "kind": question["kind"],
        "condition": asking.condition,
        "control": asking.control,
        "mode": asking.mode,
        "gold": gold,
        "choice": max(range(options), key=scores.__getitem__),
        "correct": sum(order_correct) / orders,
        "scores": scores,
        "logprobs": logprobs,
        "option_tokens": tokens,
        "order_correct": order_correct,
    }
