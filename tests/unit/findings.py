"""Made-up tables of a study, in the columns of the real ones: figures and sentences are drawn from them."""

import random
from collections.abc import Sequence

from sys2ft.report.findings import Findings
from sys2ft.settings.choices import GridSettings
from sys2ft.tables import EFFECTS

BASE = ("closed_book", "in_context", "in_context_gain")
TUNED = ("closed_book", "in_context", "closed_book_gain", "ft_icl_gap", "overexposure")
LEVELS = {"closed_book": 0.3, "in_context": 0.6, "in_context_gain": 0.3, "closed_book_gain": 0.1, "ft_icl_gap": 0.3}
NO_CONTROL = dict.fromkeys(("control_estimate", "control_low", "control_high", "net", "net_low", "net_high"))


def effect(**given) -> dict:
    """A row of `effects`: ten items, an interval that does not cover 0, a control at half its size."""
    row = dict.fromkeys(EFFECTS.names) | {
        "model": "tiny", "method": "lora", "protocol": "naive", "teacher": "none", "split": "all", "mode": "cloze",
        "measure": "closed_book_gain", "items": 10, "questions": 50, "seeds": 1, "unread_share": 0.0,
        "estimate": 0.2, "low": 0.1, "high": 0.3, "p": 0.001, "p_holm": 0.01, "control": "blank_question",
        "control_estimate": 0.1, "control_low": 0.02, "control_high": 0.18, "net": 0.1, "net_low": 0.03,
        "net_high": 0.17, "detectable": 0.09, "verdict": "above its control",
    }  # fmt: skip
    return row | given


def effects(
    models: Sequence[str], protocols: Sequence[str], splits: Sequence[str], modes: Sequence[str],
    teachers: Sequence[str] = ("self",), few: bool = False,
) -> list[dict]:  # fmt: skip
    """All measures of a grid, with made-up numbers; `few`: too few items for intervals."""
    rng = random.Random(0)
    rows = []

    def add(**keys):
        keys = {"control": "blank_question"} | keys
        value = LEVELS.get(keys["measure"], 0.05) + rng.gauss(0, 0.05)
        numbers = {"estimate": value, "low": value - 0.08, "high": value + 0.08}
        if few and keys["control"] is not None:
            numbers |= dict.fromkeys(
                ("low", "high", "p", "p_holm", "control_low", "control_high", "net_low", "net_high", "detectable")
            ) | {"verdict": "too few items for an interval"}
        rows.append(effect(**keys, **numbers))

    for split in ["all", *splits]:
        for mode in modes:
            for model in models:
                base = {"model": model, "method": "none", "protocol": "none", "teacher": "none", "seeds": 1}
                for measure in BASE:
                    add(**base, measure=measure, split=split, mode=mode)
                for protocol in protocols:
                    for teacher in ("none",) if protocol.startswith("naive") else teachers:
                        told = {"model": model, "protocol": protocol, "teacher": teacher, "split": split, "mode": mode}
                        for measure in TUNED:
                            add(**told, measure=measure)
                            if measure == "closed_book":
                                add(**told, measure=measure, control="other_adapter")
                        if "shadowed" not in protocol:
                            for other in protocols:
                                if other.startswith(f"{protocol}_shadowed"):
                                    add(**told, measure="shadowing", versus=other)
    for model in models:
        for protocol in protocols:
            for task in ("facts/acc", "text/word_perplexity"):
                add(model=model, protocol=protocol, mode=task, measure="retention_change", control=None, **NO_CONTROL)
    return rows


def dynamics(models: Sequence[str], protocols: Sequence[str], modes: Sequence[str]) -> list[dict]:
    """Accuracies along training."""
    keys = [(m, p, mode, measure, control) for m in models for p in protocols for mode in modes
            for measure in ("closed_book", "in_context") for control in ("none", "blank_question")]  # fmt: skip
    return [
        {
            "model": model, "method": "lora", "protocol": protocol, "teacher": "self", "split": "all", "mode": mode,
            "measure": measure, "control": control, "samples_seen": seen, "tokens_seen": 50 * seen,
            "train_flops": 1e9 * (models.index(model) + 1) * seen if seen else None,
            "items": 10, "questions": 50, "seeds": 1, "estimate": 0.3 + 0.05 * n - 0.1 * (control != "none"),
            "low": 0.25 + 0.05 * n, "high": 0.35 + 0.05 * n,
        }
        for model, protocol, mode, measure, control in keys
        for n, seen in enumerate((0, 1, 2, 4, 8))
    ]  # fmt: skip


def bill() -> list[dict]:
    """Expected and actual seconds."""
    return [
        {"rule": rule, "model": "tiny", "jobs": 4, "expected_seconds": 10.0 * n, "actual_seconds": 14.0 * n,
         "ratio": 1.4, "most_memory_mb": 800.0}
        for n, rule in enumerate(("fine_tune", "score_answers"), 1)
    ]  # fmt: skip


def findings(
    models=("tiny",), protocols=("naive", "self_qa", "self_qa_shadowed"), splits=("mathematics", "events"),
    modes=("letter", "cloze", "generate"), teachers=("self",), few=False, **given,
) -> Findings:  # fmt: skip
    """The findings of a made-up study."""
    grid = GridSettings(model=models, method=("lora",), protocol=protocols, teacher=teachers, split=splits, seed=(0,))
    questions = [
        {"split": split, "item": f"{split}-{n}", "options": ["a", "b", "c", "d"]} for split in splits for n in range(5)
    ]
    told = {
        "effects": effects(models, protocols, splits, modes, teachers, few), "questions": questions,
        "parameters": {name: n + 1 for n, name in enumerate(models)},
        "dynamics": dynamics(models, protocols, modes), "bill": bill(),
    }  # fmt: skip
    return Findings(grid=grid, level=0.95, **(told | given))
