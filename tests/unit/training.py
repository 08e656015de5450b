"""What the tests of fine-tuning have in common: sequences, and a run of the loop in one call."""

import torch

from sys2ft.chat import render_training, trained_assistant, user
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.training.batches import Share
from sys2ft.training.engines.plain import PlainEngine
from sys2ft.training.fine_tune import Watch, fine_tune
from sys2ft.training.learners import Member
from sys2ft.training.rules import UpdateRule

# Adam divides by a gradient's size: with its usual eps, rounding errors of vanishing ones become whole steps.
METHOD = MethodSettings(rank=8, alpha=16, lr=5e-4, warmup_steps=2, batch_size=2, weight_decay=0.01, eps=1e-6)
LINEAR = METHOD.model_copy(update={"targets": ("all-linear",)})


def item_rows(tokenizer, name, count, context=None):
    """Rows of the table `sequences`; with `context` they are to be distilled."""
    rows = []
    for number in range(count):
        text = f"The {name} harbour opened gate {number % 5} on day {number}."
        row = {"item": name, "position": number, "context_ids": None, "context_mask": None}
        row["token_ids"], row["loss_mask"] = render_training(
            tokenizer, [user(f"News of {name}?"), trained_assistant(text)]
        )
        if context is not None:
            asked = user(f"{context} News of {name}?")
            row["context_ids"], row["context_mask"] = render_training(tokenizer, [asked, trained_assistant(text)])
        rows.append(row)
    return rows


def members_of(sequences, lrs=None):
    """A member for each name of a mapping to rows."""
    return [Member(name, rows, (lrs or {}).get(name), seed=7) for name, rows in sequences.items()]


def train(learner, members, tokens_per_pass=192, watch=None, engine=None, share=None, replacement=0):
    """Run the loop; returns the log."""
    engine = engine or PlainEngine(learner, learner.method)
    share = share or Share(tokens_per_pass, replacement=replacement)
    rule = UpdateRule(learner, learner.method, getattr(engine, "optimiser", None), members[0].seed)
    return fine_tune(learner, engine, members, share, rule, watch or Watch())


def train_plainly(model, parameters, rows, method, lr=None):
    """The slow, obvious way: one sequence at a time, all logits, torch's AdamW; returns the losses."""
    optimiser = torch.optim.AdamW(parameters, lr=method.lr, eps=method.eps, weight_decay=method.weight_decay)
    losses = []
    for start in range(0, len(rows), method.batch_size):
        batch = rows[start : start + method.batch_size]
        trained = sum(sum(row["loss_mask"]) for row in batch)
        total = torch.zeros(())
        for row in batch:
            logits = model(torch.tensor([row["token_ids"]])).logits[0, :-1].float().log_softmax(-1)
            targets, mask = torch.tensor(row["token_ids"][1:]), torch.tensor(row["loss_mask"][1:])
            total = total - logits[torch.arange(len(targets)), targets][mask].sum() / trained
        total.backward()
        torch.nn.utils.clip_grad_norm_(parameters, method.max_grad_norm)
        for group in optimiser.param_groups:
            group["lr"] = (lr or method.lr) * min(1, (len(losses) + 1) / (method.warmup_steps + 1))
        optimiser.step()
        optimiser.zero_grad()
        losses.append(total.item())
    return losses
