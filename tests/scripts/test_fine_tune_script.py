"""The script that fine-tunes: what it leaves behind, and how it ends when it is told to stop."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sys2ft.code_versions import read_versions
from sys2ft.grid import JOINT, Cell
from sys2ft.models import load_tokenizer
from sys2ft.origins import describe_environment, digest_of, read_origin
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.settings.resources import Launch
from sys2ft.settings.stages import FineTuneStage
from sys2ft.tables import SEQUENCES, TRAIN_LOG, build_table, read_rows, write_table
from sys2ft.training.cell import Run, fine_tune_cell
from sys2ft.training.checkpoint import Checkpoints
from tests.unit.conftest import make_model
from tests.unit.training import item_rows

SCRIPT = Path(__file__).parents[2] / "workflow/scripts/fine_tune.py"
CELL = Cell("tiny", "m", "naive", "none", "events", 0)
LORA = FineTuneStage(method=MethodSettings(rank=8, alpha=16, lr=1e-3, batch_size=2))
FULL = FineTuneStage(method=MethodSettings(kind="full", per="split", lr=1e-3, batch_size=2))
LONG = FineTuneStage(method=MethodSettings(rank=8, alpha=16, lr=1e-3, batch_size=1))  # a step a sequence


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_model("llama", tmp_path_factory.mktemp("llama"))


def write_sequences(manifest, path, **counts):
    """A table of sequences, so many an item."""
    tokenizer = load_tokenizer(manifest)
    rows = [
        {
            **row, "part": "naive", "row": None, "messages": [], "n_tokens": len(row["token_ids"]),
            "n_loss_tokens": sum(row["loss_mask"]),
        }
        for name, count in counts.items() for row in item_rows(tokenizer, name, count)
    ]  # fmt: skip
    keys = {name: value for name, value in CELL.keys().items() if name != "method"}
    write_table(build_table(SEQUENCES, rows, keys), path)
    return path


@pytest.fixture(scope="module")
def sequences(manifest, tmp_path_factory):
    return write_sequences(manifest, tmp_path_factory.mktemp("short") / "sequences.parquet", red=4, blue=3)


@pytest.fixture(scope="module")
def many(manifest, tmp_path_factory):
    return write_sequences(manifest, tmp_path_factory.mktemp("long") / "sequences.parquet", red=80, blue=20)


def arguments(manifest, sequences, folder, stage=LORA, **options):
    """The script's command line, its outputs in a folder."""
    told = {
        "settings": stage.model_dump_json(), "cell": CELL.path, "model": manifest, "sequences": sequences,
        "output-adapters": folder / "adapters", "output-log": folder / "train_log.parquet", **options,
    }  # fmt: skip
    return [str(part) for name, value in told.items() for part in (f"--{name.replace('_', '-')}", value)]


def run_main(*told, **options):
    spec = importlib.util.spec_from_file_location("fine_tune_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(arguments(*told, **options))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("stage", "learned"),
    [
        (LORA, {f"{name}/adapter_{rest}" for name in ("red", "blue") for rest in ("config.json", "model.safetensors")}),
        (FULL, {f"{JOINT}/config.json", f"{JOINT}/model.safetensors"}),
    ],
    ids=["lora per item", "full per split"],
)
def test_it_leaves_what_was_learned_and_the_log_and_nothing_else(manifest, sequences, tmp_path, stage, learned):
    run_main(manifest, sequences, tmp_path, stage, checkpoint_minutes=0)
    assert names(tmp_path) == ["adapters", "kept", "train_log.parquet"], "unfinished work is left"
    assert set(files(tmp_path / "adapters")) == learned | {"digests.json"}
    rows = read_rows(TRAIN_LOG, tmp_path / "train_log.parquet")
    keys = CELL.keys()
    assert all({name: row[name] for name in keys} == keys for row in rows)
    expected = (
        {("red", 1), ("red", 2), ("blue", 1), ("blue", 2)} if stage is LORA else {(JOINT, n) for n in range(1, 5)}
    )
    assert {(row["item"], row["step"]) for row in rows} == expected
    assert sum(row["samples"] for row in rows) == 7
    settings = json.loads(pq.read_schema(tmp_path / "train_log.parquet").metadata[b"sys2ft"])
    assert FineTuneStage.model_validate(settings) == stage


def test_the_log_tells_where_what_was_learned_comes_from(manifest, sequences, tmp_path):
    run_main(manifest, sequences, tmp_path)
    origin = read_origin(tmp_path / "train_log.parquet")
    assert (origin.stage, origin.version) == ("fine_tune", read_versions("workflow/code-versions.yaml")["fine_tune"])
    assert origin.environment == describe_environment()
    assert {source.path: source.digest for source in origin.sources()} == {
        str(path): digest_of(path) for path in (manifest, sequences)
    }


def test_milestones_lie_beside_the_end(manifest, sequences, tmp_path):
    run_main(manifest, sequences, tmp_path, LONG.model_copy(update={"milestones": True}))
    found = {str(path.parent) for path in map(Path, files(tmp_path / "adapters"))}
    assert found == {".", "red", "red/samples=1", "red/samples=2", "blue", "blue/samples=1", "blue/samples=2"}


def test_how_it_is_run_changes_nothing_that_is_learned(manifest, sequences, tmp_path):
    run_main(manifest, sequences, tmp_path / "one")
    launch = Launch(tokens_per_pass=60, activation_checkpointing=True).model_dump_json()
    run_main(manifest, sequences, tmp_path / "other", checkpoint_minutes=0, launch_settings=launch, tensorboard=1)
    assert names(tmp_path / "other") == ["adapters", "kept", "tensorboard", "train_log.parquet"]
    assert names(tmp_path / "other/tensorboard") == ["blue", "red"]
    one, other = (read_rows(TRAIN_LOG, tmp_path / name / "train_log.parquet") for name in ("one", "other"))
    assert [row["loss"] for row in one] == pytest.approx([row["loss"] for row in other], abs=1e-5)
    assert [row["computed_tokens"] for row in one] != [row["computed_tokens"] for row in other], "passes are smaller"


@pytest.mark.parametrize("stage", [LORA, FULL], ids=["lora", "full"])
def test_one_process_does_not_import_deepspeed(manifest, sequences, tmp_path, stage):
    blocked = "import runpy, sys; sys.modules['deepspeed'] = None; sys.argv = sys.argv[1:]; "
    blocked += "runpy.run_path(sys.argv[0], run_name='__main__')"
    told = [sys.executable, "-c", blocked, SCRIPT, *arguments(manifest, sequences, tmp_path, stage)]
    subprocess.run(told, check=True, timeout=120)
    assert names(tmp_path) == ["adapters", "kept", "train_log.parquet"]


def test_deepspeeds_own_launcher_starts_it_too(manifest, sequences, tmp_path):
    pytest.importorskip("deepspeed")
    zero = {
        "launch-settings": Launch(deepspeed=str(SCRIPT.parents[2] / "config/deepspeed/zero2.json")).model_dump_json()
    }
    launcher = [Path(sys.executable).with_name("deepspeed"), "--num_gpus", "2", "--no_local_rank", SCRIPT]
    environment = os.environ | {"DS_ACCELERATOR": "cpu", "LOCAL_SIZE": "2", "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # it calls python by name
    told = arguments(manifest, sequences, tmp_path / "two", **zero)
    subprocess.run([*launcher, *told], check=True, timeout=180, env=environment)
    run_main(manifest, sequences, tmp_path / "one")
    one, two = (read_rows(TRAIN_LOG, tmp_path / name / "train_log.parquet") for name in ("one", "two"))
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], abs=1e-5)
    assert names(tmp_path / "two/adapters") == ["blue", "digests.json", "red"]


def test_what_stood_there_before_is_replaced(manifest, sequences, tmp_path):
    (tmp_path / "adapters/green").mkdir(parents=True)
    (tmp_path / "adapters/green/adapter_model.safetensors").write_text("old")
    run_main(manifest, sequences, tmp_path)
    assert names(tmp_path / "adapters") == ["blue", "digests.json", "red"]


def test_what_cannot_be_trained_leaves_no_output(manifest, sequences, tmp_path):
    stage = LORA.model_copy(update={"samples": 4})
    with pytest.raises(ValueError, match="item 'blue': 4 samples are asked for, and 3 sequences exist"):
        run_main(manifest, sequences, tmp_path, stage)
    assert not list(tmp_path.glob("*adapters*"))
    assert not (tmp_path / "train_log.parquet").exists()


# ---------------------------------------------------------------------------------------------------------- taking over
def digests(folder):
    return json.loads((folder / "adapters/digests.json").read_text())["digests"]


def clear_outputs(folder):
    """As Snakemake does before it runs a stale cell again."""
    shutil.rmtree(folder / "adapters")
    (folder / "train_log.parquet").unlink()


def edit_item(manifest, sequences, path, item):
    """The same table, with one word of an item's sequences changed."""
    rows = read_rows(SEQUENCES, sequences)
    (token,) = load_tokenizer(manifest)("z", add_special_tokens=False)["input_ids"][-1:]
    for row in rows:
        if row["item"] == item:
            row["token_ids"][-3] = token
    write_table(build_table(SEQUENCES, rows), path)
    return path


@pytest.mark.parametrize(
    "stage",
    [
        LORA.model_copy(update={"milestones": True}),
        FineTuneStage(method=MethodSettings(kind="full", per="item", lr=1e-3, batch_size=2)),
    ],
    ids=["lora", "full per item"],
)
def test_an_edited_item_is_trained_alone_and_the_others_are_taken_over(manifest, sequences, tmp_path, capsys, stage):
    run_main(manifest, sequences, tmp_path / "cell", stage)
    before, log = digests(tmp_path / "cell"), read_rows(TRAIN_LOG, tmp_path / "cell/train_log.parquet")
    clear_outputs(tmp_path / "cell")
    edited = edit_item(manifest, sequences, tmp_path / "edited.parquet", "red")
    capsys.readouterr()
    run_main(manifest, edited, tmp_path / "cell", stage)
    assert "1 of 2 taken over" in capsys.readouterr().out
    after, new_log = digests(tmp_path / "cell"), read_rows(TRAIN_LOG, tmp_path / "cell/train_log.parquet")
    assert {name for name in before if before[name] != after[name]} == {name for name in before if name[:3] == "red"}
    assert before.keys() == after.keys()
    assert [row for row in log if row["item"] == "blue"] == [row for row in new_log if row["item"] == "blue"]

    run_main(manifest, edited, tmp_path / "afresh", stage)
    afresh = read_rows(TRAIN_LOG, tmp_path / "afresh/train_log.parquet")
    order = [(row["item"], row["step"]) for row in afresh]
    assert [(row["item"], row["step"]) for row in new_log] == order
    assert [row["loss"] for row in new_log] == pytest.approx([row["loss"] for row in afresh], abs=1e-5)


@pytest.mark.parametrize("change", ["version", "settings", "environment", "weights", "damaged"])
def test_what_is_not_the_same_training_is_not_taken_over(manifest, sequences, tmp_path, capsys, monkeypatch, change):
    run_main(manifest, sequences, tmp_path, version=1)
    before = digests(tmp_path)
    clear_outputs(tmp_path)
    stage = LORA.model_copy(update={"method": LORA.method.model_copy(update={"lr": 2e-3})})
    if change == "environment":
        monkeypatch.setattr("sys2ft.training.cell.describe_environment", lambda: {"torch": "another"})
    if change == "weights":  # of one revision, as other code converts them
        monkeypatch.setattr("sys2ft.training.cell.converted_weights", lambda _: {"model.safetensors": "another"})
    if change == "damaged":
        path = tmp_path / "kept/red/weights/adapter_model.safetensors"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.unlink()
        path.write_bytes(content)
    capsys.readouterr()
    run_main(
        manifest, sequences, tmp_path, stage if change == "settings" else LORA, version=2 if change == "version" else 1
    )
    assert ("taken over" in capsys.readouterr().out) == (change == "damaged"), "the item that is whole, alone"
    assert (digests(tmp_path) == before) == (change != "settings")


def test_kept_files_take_no_second_place_on_disk_and_those_of_removed_items_go(manifest, sequences, tmp_path):
    run_main(manifest, sequences, tmp_path)
    for path in (tmp_path / "adapters").rglob("*.safetensors"):
        assert path.samefile(tmp_path / "kept" / path.parent.name / "weights" / path.name)
    red = write_sequences(manifest, tmp_path / "red.parquet", red=4)
    clear_outputs(tmp_path)
    run_main(manifest, red, tmp_path)
    assert names(tmp_path / "kept") == ["red"]


def test_without_hard_links_all_is_trained_again(manifest, sequences, tmp_path, monkeypatch, capsys):
    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    run_main(manifest, sequences, tmp_path)
    assert "no hard links" in capsys.readouterr().out
    clear_outputs(tmp_path)
    run_main(manifest, sequences, tmp_path)
    assert "taken over" not in capsys.readouterr().out
    assert names(tmp_path / "adapters") == ["blue", "digests.json", "red"]


def test_two_jobs_that_train_one_cell_do_so_one_after_the_other(manifest, many, tmp_path):
    """A Snakemake that was killed leaves its job running, and the next one starts a twin."""
    told = [sys.executable, SCRIPT, *arguments(manifest, many, tmp_path, LONG)]
    logs = [tmp_path / f"{name}.log" for name in ("first", "second")]
    first = subprocess.Popen(told, stdout=logs[0].open("w"), stderr=subprocess.STDOUT)
    while not (tmp_path / "lease").exists():
        assert first.poll() is None, logs[0].read_text()
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # or it might be done before the other one comes
    second = subprocess.Popen(told, stdout=logs[1].open("w"), stderr=subprocess.STDOUT)
    while f"process {first.pid} on" not in logs[1].read_text():
        assert second.poll() is None, logs[1].read_text()
        time.sleep(0.05)
    first.send_signal(signal.SIGCONT)
    assert (first.wait(300), second.wait(300)) == (0, 0), [log.read_text() for log in logs]
    assert "2 of 2 taken over" in logs[1].read_text(), "trained twice"
    assert names(tmp_path) == ["adapters", "first.log", "kept", "second.log", "train_log.parquet"]
    assert len(read_rows(TRAIN_LOG, tmp_path / "train_log.parquet")) == 80 + 20


# --------------------------------------------------------------------------------------------------------- interruption
def start_and_stop(told, folder, signum):
    """Start the script on its own, send it a signal when its first checkpoint is there; returns how it ended."""
    log = folder / "stopped.log"
    with log.open("w") as stream:
        process = subprocess.Popen([sys.executable, SCRIPT, *told], stdout=stream, stderr=subprocess.STDOUT)
        try:
            while not list(folder.glob("unfinished/checkpoints/step=*")):
                assert process.poll() is None, log.read_text()
                time.sleep(0.005)
            process.send_signal(signum)
            code = process.wait(timeout=60)
        finally:
            process.kill()
    return code, log.read_text()


@pytest.mark.timeout(180)
def test_a_signal_stops_it_and_a_second_call_goes_on(manifest, many, tmp_path, capsys):
    folder = tmp_path / "stopped"
    folder.mkdir()
    code, log = start_and_stop(arguments(manifest, many, folder, LONG, checkpoint_minutes=0), folder, signal.SIGTERM)
    assert code == 143, log
    assert "SIGTERM after step" in log
    assert names(folder) == ["stopped.log", "unfinished"], "there is an output"
    steps = max(int(path.name.removeprefix("step=")) for path in folder.glob("unfinished/checkpoints/step=*"))
    assert 1 <= steps < 80

    capsys.readouterr()
    run_main(manifest, many, folder, LONG)
    assert f"going on after step {steps}\n" in capsys.readouterr().out
    assert names(folder) == ["adapters", "kept", "stopped.log", "train_log.parquet"]
    run_main(manifest, many, tmp_path / "whole", LONG)
    stopped, whole = (read_rows(TRAIN_LOG, place / "train_log.parquet") for place in (folder, tmp_path / "whole"))
    assert [(row["item"], row["step"]) for row in stopped] == [(row["item"], row["step"]) for row in whole]
    assert len(whole) == 80 + 20
    assert [row["loss"] for row in stopped] == pytest.approx([row["loss"] for row in whole], abs=1e-5)


def test_a_call_that_was_killed_before_it_cleared_up_can_be_repeated(manifest, sequences, tmp_path, monkeypatch):
    """Everything is in its place but `unfinished`, which holds no weights any more; all is taken over."""
    remove = shutil.rmtree

    def killed(path, *told, **options):
        if Path(path).name == "unfinished":
            raise KeyboardInterrupt
        remove(path, *told, **options)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            run_main(manifest, sequences, tmp_path)
    before = files(tmp_path / "adapters")
    assert (tmp_path / "unfinished").exists()
    run_main(manifest, sequences, tmp_path)
    assert names(tmp_path) == ["adapters", "kept", "train_log.parquet"]
    assert files(tmp_path / "adapters") == before


def test_what_other_settings_left_unfinished_gets_into_no_output(manifest, sequences, tmp_path):
    """A run with milestones was killed before its output was in place; then milestones were no longer asked for."""
    milestones = LONG.model_copy(update={"milestones": True})
    fine_tune_cell(manifest, read_rows(SEQUENCES, sequences), milestones, CELL, Run(tmp_path / "unfinished"))
    assert (tmp_path / "unfinished/adapters/red/samples=2").exists()
    run_main(manifest, sequences, tmp_path, LONG)
    assert {str(path.parent) for path in map(Path, files(tmp_path / "adapters"))} == {".", "red", "blue"}


def test_checkpoints_of_other_settings_do_not_crowd_out_the_runs_own(tmp_path):
    """A run of other settings had come further than this one has; this one is killed as well."""
    for identity, steps in (("other settings", (50, 51)), ("run", (1, 2))):
        checkpoints = Checkpoints(tmp_path, identity, every=0)
        for step in steps:
            checkpoints.save(step, lambda place, step=step: (place / "state").write_text(f"state {step}"))
    found = Checkpoints(tmp_path, "run", every=0).newest()
    assert found is not None, "nothing is left to go on from"
    assert found[0] == 2
