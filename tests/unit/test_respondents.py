"""Who answers for a cell: everyone that was trained, at the end and at every milestone, with the weights kept then."""

import json
import shutil
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from transformers import AutoModelForCausalLM

from sys2ft.chat import encode_text, render_prompt, user
from sys2ft.evaluation.questions import choose_readers
from sys2ft.evaluation.respondents import open_respondents
from sys2ft.evaluation.scoring import score_split
from sys2ft.grid import JOINT, Cell
from sys2ft.learned import find_learned, training_points, weights_digest
from sys2ft.models import load_model
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.settings.choices import ScoringSettings
from sys2ft.settings.stages import FineTuneStage, ScoreStage
from sys2ft.tables import ANSWERS, build_table
from sys2ft.training.cell import Run, fine_tune_cell
from tests.unit.training import item_rows

CELL = Cell("tiny", "m", "naive", "none", "events", 0)
STAGE = ScoreStage(scoring=ScoringSettings(), context="News: {news}\n\n")
COUNTS = {"red": 6, "blue": 3}
ITEMS = [{"item": name, "title": name, "text": f"The {name} harbour opened gate 0."} for name in COUNTS]
QUESTIONS = [
    {
        "item": name, "question_id": f"{name}-q", "kind": "recall", "question": f"News of {name}?",
        "options": ["The harbour opened", "Nothing"], "gold": 0,
    }
    for name in COUNTS
]  # fmt: skip
GENERAL = [{"question_id": "days", "question": "How many days has a week?", "options": ["seven", "five"], "gold": 0}]
# What each learner has seen at each of its moments, the end last.
MOMENTS = {
    "item": [{"red": 1, "blue": 1}, {"red": 2, "blue": 2}, {"red": 4}, {"red": 6, "blue": 3}],
    "split": [{JOINT: 1}, {JOINT: 2}, {JOINT: 4}, {JOINT: 8}, {JOINT: 9}],
}


# ----------------------------------------------------------------------------------------------------- training points
def train_log(samples, by_step=False):
    """Rows of `train_log`, for each name the sequences of its steps."""
    rows = [
        {"item": name, "step": step, "samples": number}
        for name, numbers in samples.items()
        for step, number in enumerate(numbers, 1)
    ]
    return sorted(rows, key=lambda row: row["step"]) if by_step else rows


@pytest.mark.parametrize("by_step", [False, True])
@pytest.mark.parametrize(
    ("samples", "points"),
    [
        ({"a": [1] * 5}, [{"a": 1}, {"a": 2}, {"a": 4}, {"a": 5}]),
        ({"a": [1] * 4}, [{"a": 1}, {"a": 2}, {"a": 4}]),
        ({"a": [3, 3, 3, 3, 3, 3, 3]}, [{"a": 3}, {"a": 6}, {"a": 9}, {"a": 18}, {"a": 21}]),
        ({"a": [2, 2, 1], "b": [2]}, [{"a": 2}, {"a": 4}, {"a": 5, "b": 2}]),
        ({"a": [2, 2, 2, 2], "b": [2, 2, 2]}, [{"a": 2, "b": 2}, {"a": 4, "b": 4}, {"a": 8, "b": 6}]),
        ({"a": [1], "b": [1, 1, 1]}, [{"b": 1}, {"b": 2}, {"a": 1, "b": 3}]),
        ({"a": [4]}, [{"a": 4}]),
    ],
)
def test_the_moments_that_were_kept_are_found_in_the_log(samples, points, by_step):
    assert training_points(train_log(samples, by_step), milestones=True) == points
    assert training_points(train_log(samples, by_step), milestones=False) == points[-1:]


@settings(max_examples=50, deadline=None)
@given(
    counts=st.dictionaries(st.sampled_from("abc"), st.integers(1, 40), min_size=1),
    batch=st.integers(1, 7),
    milestones=st.booleans(),
)
def test_moments_come_in_order_and_the_end_is_everyones(counts, batch, milestones):
    samples = {name: [min(batch, count - start) for start in range(0, count, batch)] for name, count in counts.items()}
    *points, end = training_points(train_log(samples), milestones)
    assert end == counts
    assert all(len(set(point.values())) == 1 for point in points), "a moment is one number of sequences"
    moments = [min(point.values()) for point in points]
    assert all(before < after for before, after in pairwise(moments))
    for name, count in counts.items():
        seen = [point[name] for point in points if name in point]
        assert all(number < count and number % batch == 0 for number in seen)
        powers = {2**n for n in range(10) if 2**n <= (count - 1) // batch * batch} if milestones else set()
        assert {-(-power // batch) * batch for power in powers} == set(seen)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_an_item_is_answered_for_by_its_own_learner_or_by_the_splits(kind):
    own, joint = (choose_readers(list(COUNTS), MethodSettings(kind=kind, per=per)) for per in ("item", "split"))
    assert own == {"red": "red", "blue": "blue"}
    assert joint == {"red": JOINT, "blue": JOINT}


# --------------------------------------------------------------------------------------------------------- respondents
CASES = [("lora", "item"), ("lora", "split"), ("full", "item"), ("full", "split")]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]} per {case[1]}")
def trained(request, llama, tokenizer, tmp_path_factory):
    """A method, and what it learned of two items: its adapters and its log."""
    kind, per = request.param
    folder = tmp_path_factory.mktemp("cell")
    method = MethodSettings(kind=kind, per=per, rank=8, alpha=16, lr=1e-2, warmup_steps=0, batch_size=1)
    rows = [row for name, count in COUNTS.items() for row in item_rows(tokenizer, name, count)]
    log = fine_tune_cell(llama, rows, FineTuneStage(method=method, milestones=True), CELL, Run(folder))
    return method, folder / "adapters", log


def respondents(llama, trained, milestones=True):
    """As the script opens them."""
    method, adapters, log = trained
    learned = find_learned(llama, adapters, log, milestones=milestones)
    return open_respondents(llama, learned, choose_readers(list(COUNTS), method), method)


@pytest.fixture(scope="module")
def asked(llama, tokenizer, trained):
    """Everyone's names, digests and samples beside the answers; each is done with before the next is opened."""
    return [
        (one.names, dict(one.digests), dict(one.samples), one.milestone,
         score_split(one, tokenizer, ITEMS, QUESTIONS, STAGE))
        for one in respondents(llama, trained)
    ]  # fmt: skip


def folder_of(adapters, name, samples, milestone):
    return adapters / name / f"samples={samples}" if milestone else adapters / name


def by_hand(llama, tokenizer, method, folder, question):
    """The log-probability of each option, one forward pass each, by PEFT or transformers alone."""
    if method.kind == "lora":
        model = PeftModel.from_pretrained(load_model(llama), folder).eval()
    else:
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
    prompt = render_prompt(tokenizer, [user(question["question"])])
    found = []
    for option in question["options"]:
        tokens = encode_text(tokenizer, option)
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *tokens]])).logits[0].log_softmax(-1)
        found.append(sum(logits[len(prompt) + i - 1, token].item() for i, token in enumerate(tokens)))
    return found


def test_everyone_answers_at_every_moment_the_end_last(trained, asked):
    method, adapters, _ = trained
    moments = MOMENTS[method.per]
    found = [dict(zip(names, (samples[name] for name in names), strict=True)) for names, _, samples, _, _ in asked]
    # A bank answers as one; models come one after the other.
    one_by_one = [{name: seen} for point in moments for name, seen in point.items()]
    assert found == (moments if method.kind == "lora" else one_by_one)
    ends = 1 if method.kind == "lora" else len(moments[-1])
    assert [milestone for *_, milestone, _ in asked] == [True] * (len(asked) - ends) + [False] * ends
    kept = {str(path.parent.relative_to(adapters)) for path in adapters.rglob("*.safetensors")}
    names = {name for point in moments for name in point}
    between = {f"{name}/samples={seen}" for point in moments[:-1] for name, seen in point.items()}
    assert kept == names | between, "nothing is kept that does not answer"


def test_digests_are_those_of_the_files_and_differ_from_moment_to_moment(trained, asked):
    _, adapters, _ = trained
    digests = []
    for _, some, samples, milestone, _ in asked:
        for name, digest in some.items():
            assert digest == weights_digest(folder_of(adapters, name, samples[name], milestone))
            digests.append(digest)
    assert len(set(digests)) == len(digests) == sum(map(len, MOMENTS[trained[0].per]))


def test_an_answer_says_who_gave_it_and_what_had_been_seen(trained, asked):
    method, _, _ = trained
    following = {"red": "blue", "blue": "red"}
    for names, digests, samples, milestone, answers in asked:
        assert answers
        for row in answers:
            item = following[row["item"]] if row["control"] == "other_adapter" else row["item"]
            reader = JOINT if method.per == "split" else item
            assert reader in names
            assert row["adapter"] == digests[reader]
            assert row["samples_seen"] == samples[reader]
            assert row["milestone"] == milestone
        assert build_table(ANSWERS, answers, CELL.keys()).num_rows == len(answers)


def test_all_questions_are_answered_once_at_the_end(trained, asked):
    rows = [row for *_, milestone, answers in asked if not milestone for row in answers]
    told = [(row["question_id"], row["condition"], row["control"], row["mode"]) for row in rows]
    assert len(set(told)) == len(told)
    ways = 6 if trained[0].per == "item" else 5  # three conditions, two of them blanked; another's adapter
    assert len(told) == len(QUESTIONS) * ways * 2
    assert ("red-q", "closed_book", "other_adapter", "cloze") in told or trained[0].per == "split"


def test_answers_equal_those_of_the_files_loaded_by_hand(llama, tokenizer, trained, asked):
    method, adapters, _ = trained
    seen = []
    for _, _, samples, milestone, answers in asked:
        for row in answers:
            if (row["question_id"], row["condition"], row["control"], row["mode"]) != (
                "red-q", "closed_book", "none", "cloze",
            ):  # fmt: skip
                continue
            name = JOINT if method.per == "split" else "red"
            folder = folder_of(adapters, name, samples[name], milestone)
            plain = by_hand(llama, tokenizer, method, folder, QUESTIONS[0])
            assert row["logprobs"] == pytest.approx(plain, abs=1e-4)
            seen.append(plain[0])
    assert len(seen) == sum(name in point for point in MOMENTS[method.per] for name in ("red", JOINT))
    assert all(abs(before - after) > 1e-2 for before, after in pairwise(seen)), "training moves what is compared"


def test_without_milestones_the_end_alone_answers(llama, trained, asked):
    ends = list(respondents(llama, trained, milestones=False))
    assert [one.milestone for one in ends] == [False] * len(ends)
    expected = [(digests, samples) for _, digests, samples, milestone, _ in asked if not milestone]
    assert [(dict(one.digests), dict(one.samples)) for one in ends] == expected


# ------------------------------------------------------------------------------------------------------ what is refused
def test_weights_of_a_milestone_that_is_not_there_are_missed(llama, trained):
    _, adapters, log = trained
    other = [{"item": name, "step": 1, "samples": 7} for name in training_points(log, False)[0]] + log
    with pytest.raises(ValueError, match="samples=7 is missing: delete the folder and train the cell again"):
        find_learned(llama, adapters, other, milestones=True)


def test_an_item_that_nobody_learned_is_named(llama, trained):
    _, adapters, log = trained
    with pytest.raises(ValueError, match="nobody has learned green"):
        find_learned(llama, adapters, log, ["green"])


def test_weights_that_were_changed_after_training_are_refused(llama, trained, tmp_path):
    _, adapters, log = trained
    changed = tmp_path / "adapters"
    shutil.copytree(adapters, changed)
    path = sorted(changed.glob("*/*.safetensors"))[0]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=rf"{path.parent.name} has the digest \w+, and \w+ was trained: delete"):
        find_learned(llama, changed, log)


def test_adapters_of_another_item_under_this_ones_name_are_refused(llama, trained, tmp_path):
    method, adapters, log = trained
    if method.per == "split":
        pytest.skip("the split has one learner")
    changed = tmp_path / "adapters"
    shutil.copytree(adapters, changed)
    (changed / "red").rename(changed / "green")
    (changed / "blue").rename(changed / "red")
    (changed / "green").rename(changed / "blue")
    with pytest.raises(ValueError, match="was trained"):
        find_learned(llama, changed, log)


def test_adapters_of_another_base_are_refused(llama, trained, tmp_path):
    _, adapters, log = trained
    other = tmp_path / "model.json"
    other.write_text(json.dumps(json.loads(llama.read_text()) | {"revision": "another"}))
    with pytest.raises(ValueError, match=r"trained on revision \w+, and .*model.json is another"):
        find_learned(other, adapters, log)


@pytest.mark.parametrize("content", [None, "{"])
def test_a_lost_or_damaged_list_of_digests_is_said(llama, trained, tmp_path, content):
    _, adapters, log = trained
    changed = tmp_path / "adapters"
    shutil.copytree(adapters, changed)
    (changed / "digests.json").unlink()
    if content is not None:
        (changed / "digests.json").write_text(content)
    with pytest.raises(ValueError, match=r"digests.json is missing or damaged: delete"):
        find_learned(llama, changed, log)
