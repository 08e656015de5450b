"""The scorer: options are branches of shared prefixes, read by one resident model with all adapters of a cell.

`letter` shows the options, asks for a letter and compares the letters' log-probabilities, averaged over the cyclic
orders of the options. `cloze` does not show them and compares the mean log-probability a token of each option's text
(Lampinen et al. 2025 score by likelihood). The sum itself is stored as well, and the sum after the neutral question
without news, which Brown et al. (2020, section 2.4) normalise by. `statement` compares a true and a false sentence,
again by the mean a token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from sys2ft.chat import encode_text, render_prompt, user
from sys2ft.evaluation.questions import LETTERS, NONE, Asking, ask_all, option_orders, prompt_messages
from sys2ft.evaluation.respondents import Respondent
from sys2ft.forward import exact_targets
from sys2ft.packing import BASE, TokenSequence, make_passes
from sys2ft.progress import progress_bar
from sys2ft.settings.stages import ScoreStage


class _Branches:
    """Token sequences, each once however often it is wanted."""

    def __init__(self) -> None:
        self.sequences: list[TokenSequence] = []
        self.numbers: dict[TokenSequence, int] = {}

    def add(self, prompt: Sequence[int], ending: Sequence[int], adapter: int) -> int:
        """The number of the sequence whose `ending` is scored."""
        scored = tuple(range(len(prompt), len(prompt) + len(ending)))
        sequence = TokenSequence((*prompt, *ending), scored, adapter)
        if sequence not in self.numbers:
            self.numbers[sequence] = len(self.sequences)
            self.sequences.append(sequence)
        return self.numbers[sequence]


@dataclass(frozen=True)
class _Branch:
    """One option in one order of one asking; `sequence` is its number among all token sequences.

    `neutral` is that of the same option after the neutral question, without news; None but in `cloze`.
    """

    order: int
    option: int
    place: int
    sequence: int
    neutral: int | None = None


def score_split(
    respondent: Respondent,
    tokenizer: Any,
    items: Sequence[Mapping[str, Any]],
    questions: Sequence[Mapping[str, Any]],
    stage: ScoreStage,
    tokens_per_pass: int = 2048,
) -> list[dict[str, Any]]:
    """Put every question of a split to who answers it, in every way the settings name.

    Args:
        respondent: what is asked of others is left out.
        items: rows of the table `items`.
        questions: rows of the table `questions`.
        tokens_per_pass: bounds memory; nothing depends on it beyond rounding.

    Returns:
        Rows of the table `answers`, without the cell's keys.

    Raises:
        ValueError: a prompt with its option is longer than the model's context, or an option has no token.
    """
    bank = respondent.bank
    here = (NONE,) if respondent.readers is None else respondent.names
    askings = [one for one in ask_all(items, questions, stage.scoring, respondent.readers) if one.reader in here]
    tree = _Branches()
    branches: list[list[_Branch]] = []
    for asking in askings:
        adapter = BASE if bank is None else bank.names.index(asking.reader)
        branches.append(_branches(asking, stage, tokenizer, adapter, tree))
    _check_lengths(respondent.model, askings, branches, tree.sequences)
    sums = [total for total, _ in read_sequences(respondent, tree.sequences, tokens_per_pass)]
    return [
        _answer(asking, found, tree.sequences, sums)
        | {
            "adapter": respondent.digests.get(asking.reader),
            "samples_seen": respondent.samples.get(asking.reader, 0),
            "milestone": respondent.milestone,
        }
        for asking, found in zip(askings, branches, strict=True)
    ]


def _branches(asking: Asking, stage: ScoreStage, tokenizer: Any, adapter: int, tree: _Branches) -> list[_Branch]:
    """Add the token sequences of one asking and say which is which."""
    options = asking.question["options"]
    letter = asking.mode == "letter"
    orders: list[list[int] | None] = [*option_orders(len(options))] if letter else [None]
    neutral = None
    if asking.mode == "cloze":
        neutral = render_prompt(tokenizer, (user(stage.scoring.neutral_question),))
    found = []
    for number, order in enumerate(orders):
        prompt = render_prompt(tokenizer, prompt_messages(asking, stage.scoring, stage.context, order))
        for place in range(len(options)):
            option = place if order is None else order[place]
            ending = encode_text(tokenizer, LETTERS[place] if letter else options[option])
            if not ending:
                raise ValueError(
                    f"question '{asking.question['question_id']}': the option '{options[option]}' has no token in the "
                    f"tokenizer of {tokenizer.name_or_path}: change the option"
                )
            beside = None if neutral is None else tree.add(neutral, ending, adapter)
            found.append(_Branch(number, option, place, tree.add(prompt, ending, adapter), beside))
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
                f"the {limit} of the context of {model.name_or_path}: shorten the item or take a model with a longer "
                "context"
            )


def read_sequences(
    respondent: Respondent, sequences: Sequence[TokenSequence], tokens_per_pass: int
) -> list[tuple[float, bool]]:
    """What a model says of each sequence's scored tokens.

    Returns:
        For each sequence their summed log-probability, and whether each of them was the likeliest at its place.
    """
    sums = torch.zeros(len(sequences), dtype=torch.float64)
    missed = torch.zeros(len(sequences), dtype=torch.int64)
    adapters = 0 if respondent.bank is None else len(respondent.bank.names)
    with torch.inference_mode(), progress_bar(len(sequences), "sequences", "score") as bar:
        for step in make_passes(sequences, tokens_per_pass, adapters):
            step = step.to(respondent.device)
            places, place = step.places.unique(return_inverse=True)  # options have their first token's place in common
            with exact_targets(respondent.model, place, step.targets):
                logits = respondent.logits(replace(step, places=places))
            values = logits.float().log_softmax(-1)[place, step.targets]
            owners = step.sequences.cpu()
            sums.index_add_(0, owners, values.double().cpu())
            missed.index_add_(0, owners, (logits.argmax(-1)[place] != step.targets).long().cpu())
            bar.update(len(owners.unique()))
    return list(zip(sums.tolist(), (missed == 0).tolist(), strict=True))


def _answer(
    asking: Asking, branches: Sequence[_Branch], sequences: Sequence[TokenSequence], sums: Sequence[float]
) -> dict[str, Any]:
    """One row of `answers` from the scores of an asking's branches."""
    question, gold = asking.question, asking.question["gold"]
    options = len(question["options"])
    orders = max(branch.order for branch in branches) + 1
    logprobs, tokens = [0.0] * options, [0] * options
    unconditional: list[float] = []
    winners: list[tuple[float, int, int]] = [(float("-inf"), 0, -1)] * orders
    for branch in branches:
        length = len(sequences[branch.sequence].scored)
        score = sums[branch.sequence] / length
        logprobs[branch.option] += sums[branch.sequence] / orders
        tokens[branch.option] = length
        if branch.neutral is not None:  # options come in their order
            unconditional.append(sums[branch.neutral])
        # Where two options are equal, as happens in bfloat16, the first place wins: in `letter` that is each in turn.
        winners[branch.order] = max(winners[branch.order], (score, -branch.place, branch.option))
    scores = [logprob / length for logprob, length in zip(logprobs, tokens, strict=True)]
    order_correct = [winner == gold for _, _, winner in winners]
    # Blanked and closed book the two are the same prompt, and nothing is compared.
    same = (asking.condition, asking.control) == ("closed_book", "blank_question")
    gains = [] if same else [own - alone for own, alone in zip(logprobs, unconditional, strict=False)]
    return {
        **asking.columns(),
        "choice": max(range(options), key=scores.__getitem__),
        "choice_sum": max(range(options), key=logprobs.__getitem__),
        "choice_unconditional": max(range(options), key=gains.__getitem__) if gains else None,
        "correct": sum(order_correct) / orders,
        "completion": None,
        "unread": None,
        "finish": None,
        "scores": scores,
        "logprobs": logprobs,
        "unconditional": unconditional or None,
        "option_tokens": tokens,
        "order_correct": order_correct,
    }
