"""The outputs of a small study, written by hand as its stages would: two items, two protocols, two seeds."""

import importlib.util
import json
from pathlib import Path

import pyarrow as pa

from sys2ft import tables
from sys2ft.grid import NONE, Cell
from sys2ft.learned import write_digests
from sys2ft.models import file_sha256
from sys2ft.origins import ORIGIN, tell_origin
from sys2ft.paths import artefact_path, cell_path, study_path
from sys2ft.settings.choices import GridSettings, StatisticsSettings
from sys2ft.settings.stages import BuildTablesStage, EstimateEffectsStage
from sys2ft.tables import build_table, write_table

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"
GRID = {
    "model": ("m", "n"), "method": ("lora",), "protocol": ("naive", "self_qa"), "teacher": ("t",), "split": ("s",),
    "seed": (0, 1),
}  # fmt: skip
TABLES = BuildTablesStage(
    grid=GridSettings(**GRID), kinds={"naive": (), "self_qa": ("self_qa",)}, methods={"lora": "lora"}, match="samples",
    amount=2, answers={"s": ("answers",)},
)  # fmt: skip
EFFECTS = EstimateEffectsStage(
    statistics=StatisticsSettings(draws=100, min_items=2), models=GRID["model"], shadow_pairs=()
)
ITEMS = ("a", "b")
CELLS = {(cell.protocol, cell.seed): cell for cell in TABLES.cells() if cell.model == "m"}
# A digit a question, right or wrong, of two items with two questions each; of the model n the other way round.
RIGHT = {
    (None, "closed_book", NONE): "1000", (None, "closed_book", "blank_question"): "0100",
    (None, "in_context", NONE): "1110", (None, "in_context", "blank_question"): "1000",
    ("naive", "closed_book", NONE): "1100", ("naive", "closed_book", "blank_question"): "1000",
    ("self_qa", "closed_book", NONE): "1101", ("self_qa", "closed_book", "blank_question"): "0001",
    ("self_qa", "closed_book", "other_adapter"): "0000",
}  # fmt: skip


def run_script(name: str, **options: object) -> None:
    """Call a script's `main`."""
    spec = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main([str(part) for option, value in options.items() for part in (f"--{option.replace('_', '-')}", value)])


def write(schema: pa.Schema, rows: list[dict], path: str, script: str, revision: str | None = None, **inputs) -> Path:
    """A table with the origin that its stage would give it; columns that a row lacks are null."""
    full = [{name: row.get(name) for name in schema.names} for row in rows]
    origin = tell_origin(str(SCRIPTS / f"{script}.py"), revision, **inputs)
    write_table(build_table(schema, full), path, {"made": "by hand"}, origin)
    return Path(path)


def make_study(results: str) -> None:
    """Write all that the study leaves, tables and all."""
    first = next(iter(CELLS.values()))
    news = Path("news.yaml")
    news.write_text("split: s\n")
    items = [{"split": "s", "item": item, "title": item, "text": f"News of {item}."} for item in ITEMS]
    asked = [{"split": "s", "item": q[0], "question_id": q, "kind": "recall", "gold": 0} for q in _questions()]
    told = {
        "items": write(tables.ITEMS, items, cell_path(results, "items", first), "validate_news", news=news),
        "questions": write(tables.QUESTIONS, asked, cell_path(results, "questions", first), "validate_news", news=news),
    }
    models = {name: _model(Path(artefact_path(results, "model", model=name))) for name in GRID["model"]}
    for cell in TABLES.cells():
        sequences = _sequences(results, cell, models[cell.model], told)
        _trained(results, cell, models[cell.model], sequences, told)
    for name, model in models.items():
        base = {"model": name, "split": "s", **dict.fromkeys(("method", "protocol", "teacher"), NONE)}
        path = artefact_path(results, "base_answers", model=name, split="s")
        write(tables.ANSWERS, _answers(base, None), path, "score_base", model=model, **told)
        retained = [{**base, "split": NONE, **row} for row in _retained(NONE, 0.5)]
        path = artefact_path(results, "base_retention", model=name)
        write(tables.RETENTION, retained, path, "score_base_retention", model=model)
    gather(results)


def gather(results: str) -> None:
    """Make the tables of the study by their scripts."""
    names = ("answers", "retention", "study_counts", "cells")
    outputs = {f"output_{name}": artefact_path(results, f"{name}_table") for name in names}
    run_script("build_tables", settings=TABLES.model_dump_json(), results=results, **outputs)
    found = {name: outputs[f"output_{name}"] for name in ("answers", "retention")}
    effects = artefact_path(results, "effects_table")
    run_script("estimate_effects", settings=EFFECTS.model_dump_json(), **found, output=effects)


def _questions() -> list[str]:
    return [f"{item}-q{number}" for item in ITEMS for number in (1, 2)]


def _model(manifest: Path) -> Path:
    weights = manifest.parent / "weights/model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_text("base")
    told = {"revision": "r1", "dtype": "float32", "parameters": 10, "files": {weights.name: file_sha256(weights)}}
    told[ORIGIN] = tell_origin(str(SCRIPTS / "prepare_model.py"), "r1").model_dump(exclude_defaults=True)
    manifest.write_text(json.dumps(told))
    return manifest


def _sequences(results: str, cell: Cell, model: Path, told: dict[str, Path]) -> Path:
    """Training rows, and the study rows that they are made of where there is a teacher."""
    read = {}
    if cell.teacher != NONE:
        keys = {"teacher": "t", "kind": "self_qa", "split": "s", "seed": cell.seed}
        rows = [{**keys, "item": item, "row": 0, "text": f"On {item}.", "status": "kept"} for item in ITEMS]
        counts = [
            {**keys, "item": item, "rows": 1, "kept": 1, "leaked": 0, "largest_overlap": 0.0, "leak_threshold": 0.5,
             "prompts_version": 3}
            for item in ITEMS
        ]  # fmt: skip
        path = study_path(results, "completions", cell, "self_qa", shard=0)
        made = write(tables.COMPLETIONS, rows, path, "generate_study", "t at 7", items=told["items"])
        for name, schema, some in (("study", tables.STUDY, rows), ("study_counts", tables.STUDY_COUNTS, counts)):
            path = study_path(results, name, cell, "self_qa")
            read[name] = write(schema, some, path, "filter_study", completions=made, **told)
    keys = {name: value for name, value in cell.keys().items() if name != "method"}
    rows = [{**keys, "item": item, "position": n, "token_ids": [n, 7]} for item in ITEMS for n in range(2)]
    read = {"study" if name == "study" else "counts": path for name, path in read.items()}
    path = cell_path(results, "sequences", cell)
    return write(tables.SEQUENCES, rows, path, "compose_training", model=model, items=told["items"], **read)


def _trained(results: str, cell: Cell, model: Path, sequences: Path, told: dict[str, Path]) -> None:
    """Adapters, the log, answers and retention of a cell."""
    adapters = Path(cell_path(results, "adapters", cell))
    for item in ITEMS:
        (adapters / item).mkdir(parents=True)
        (adapters / item / "adapter_model.safetensors").write_text(f"{cell.path} {item}")
        (adapters / item / "adapter_config.json").write_text("{}")
    write_digests(adapters, model)
    digests = json.loads((adapters / "digests.json").read_text())["digests"]
    step = {"samples": 2, "tokens": 10, "loss_tokens": 4, "context_tokens": 0, "computed_tokens": 5, "seconds": 0.5}
    steps = [{**cell.keys(), **step, "item": item, "step": 1, "loss": 1.0, "useful_share": 1.6} for item in ITEMS]
    path = cell_path(results, "train_log", cell)
    log = write(tables.TRAIN_LOG, steps, path, "fine_tune", model=model, sequences=sequences)
    learned = {"model": model, "adapters": adapters, "train_log": log}
    answers = [{**row, "adapter": digests[row["item"]]} for row in _answers(cell.keys(), cell.protocol)]
    write(tables.ANSWERS, answers, cell_path(results, "answers", cell), "score_answers", **learned, **told)
    retained = [
        {**cell.keys(), **row, "adapter": digests[item]}
        for item in ITEMS
        for row in _retained(item, 0.25 + 0.5 * cell.seed)
    ]
    write(tables.RETENTION, retained, cell_path(results, "retention", cell), "score_retention", **learned)


def _answers(keys: dict, protocol: str | None) -> list[dict]:
    """Answers to every question; a milestone's beside them, which are all wrong."""
    asked = {key: text for key, text in RIGHT.items() if key[0] == protocol}
    return [
        {**keys, "item": name[0], "question_id": name, "condition": condition, "control": control, "mode": "cloze",
         "samples_seen": 1 if milestone else 2, "milestone": milestone, "correct": 0.0 if milestone else float(right)}
        for milestone in ([False] if protocol is None else [True, False])
        for (_, condition, control), text in asked.items()
        for name, right in zip(_questions(), text if keys["model"] == "m" else text[::-1], strict=True)
    ]  # fmt: skip


def _retained(item: str, value: float) -> list[dict]:
    told = {"item": item, "task": "sums", "metric": "acc", "filter": NONE, "value": value, "higher_is_better": True}
    return [{**told, "document": number} for number in range(3)]
