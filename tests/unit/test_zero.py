"""The engine of one device against a loop written by hand, and DeepSpeed's on two processes against that of one."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sys2ft.training.engines import open_engine
from sys2ft.training.engines.plain import PlainEngine
from tests.unit.zero_worker import ACTIVE, CASES, LEARNERS, METHOD, PASSES, WORLD, Bank, Full, make_pass, run, weights

STEPS = range(len(PASSES))
RANKS = range(WORLD)


def run_plain(name):
    """Log and weights after all steps on the whole batch."""
    engine = PlainEngine(LEARNERS[name](), METHOD)
    log = run(engine, STEPS, RANKS)
    return log, weights(engine)


def run_by_hand(learner, members, rates):
    """The same with an optimiser of its own for each member."""
    optimisers = [
        torch.optim.AdamW(
            group, lr=rate, betas=(METHOD.beta1, METHOD.beta2), weight_decay=METHOD.weight_decay, fused=True
        )
        for group, rate in zip(learner.parameter_groups(), rates, strict=True)
    ]
    norms = []
    for step in STEPS:
        for number in range(PASSES[step]):
            for rank in RANKS:
                tokens, owners, counts = make_pass(step, number, rank)
                (learner(tokens, owners) * counts).sum().backward()
        norms.append([])
        for member, optimiser in enumerate(optimisers):
            group = learner.parameter_groups()[member]
            norms[-1].append(torch.nn.utils.clip_grad_norm_(group, METHOD.max_grad_norm).item())
            if members == 1 or ACTIVE[step][member]:
                optimiser.step()
            optimiser.zero_grad()
    return norms, {name: p.detach() for name, p in learner.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name", ["toy", "bank", "full"])
def test_plain_engine_equals_a_loop_by_hand(name):
    learner = LEARNERS[name]()
    members = len(learner.names)
    norms, expected = run_by_hand(learner, members, [METHOD.lr * (1 + 0.5 * index) for index in range(members)])
    log, found = run_plain(name)
    assert [row["norms"] for row in log] == norms
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert max(norms[0]) > METHOD.max_grad_norm, "nothing was clipped: the comparison would show less"


def test_resting_member_is_left_bit_for_bit():
    engine = PlainEngine(Bank(), METHOD)
    run(engine, [0], RANKS)
    (resting,) = engine.learner.parameter_groups()[1]
    before = [resting.detach().clone(), *(value.clone() for value in engine.optimiser.state[resting].values())]
    engine.backward((engine.forward(*make_pass(0, 0, 1)[:2])).sum())
    norms = engine.step([1.0] * 3, [True, False, True])
    assert norms[1] > 0, "it had no gradient: its rest shows nothing"
    after = [resting.detach(), *engine.optimiser.state[resting].values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_members_are_clipped_each_by_its_own_norm():
    engine = PlainEngine(Bank(), METHOD)
    generator = torch.Generator().manual_seed(1)
    gradients = [torch.randn(p.shape, generator=generator) * scale for (p,), scale in zip(
        engine.learner.parameter_groups(), (10.0, 1e-3, 0.0), strict=True)]  # fmt: skip
    for (parameter,), gradient in zip(engine.learner.parameter_groups(), gradients, strict=True):
        parameter.grad = gradient.clone()
    norms = engine.step([1e-2] * 3, [True] * 3)
    assert norms == pytest.approx([gradient.norm().item() for gradient in gradients])
    first = [engine.optimiser.state[p]["exp_avg"].norm().item() for (p,) in engine.learner.parameter_groups()]
    expected = [0.1 * min(norm, METHOD.max_grad_norm) for norm in norms]
    assert first == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", [Bank, Full])
def test_plain_engine_goes_on_where_it_was_saved(kind, tmp_path):
    engine = PlainEngine(kind(), METHOD)
    run(engine, STEPS[:3], RANKS)
    engine.save(tmp_path / "saved")
    expected = run(engine, STEPS[3:], RANKS), weights(engine)
    other = PlainEngine(kind(), METHOD)
    run(other, [5], RANKS)  # something to forget
    other.load(tmp_path / "saved")
    assert run(other, STEPS[3:], RANKS) == expected[0]
    assert all(torch.equal(a, b) for a, b in zip(weights(other).values(), expected[1].values(), strict=True))
    assert not [path for path in (tmp_path / "saved").iterdir() if path.suffix not in (".json", ".safetensors")]


def test_plain_engine_refuses_what_others_saved(tmp_path):
    PlainEngine(Bank(), METHOD).save(tmp_path)
    with pytest.raises(ValueError, match="other members"):
        PlainEngine(Full(), METHOD).load(tmp_path)
    with pytest.raises(FileNotFoundError):
        PlainEngine(Full(), METHOD).load(tmp_path / "none")


def test_engine_is_opened_by_the_number_of_processes(monkeypatch):
    for name in ("RANK", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(open_engine(Bank(), METHOD, None, "float32"), PlainEngine)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="DeepSpeed configuration"):
        open_engine(Bank(), METHOD, None, "float32")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What two processes found, case by case; they are started once for all."""
    pytest.importorskip("deepspeed")
    if torch.cuda.is_available() and torch.cuda.device_count() < WORLD:
        pytest.skip("the two processes would share a GPU, which NCCL refuses")
    folder = tmp_path_factory.mktemp("zero")
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(WORLD)}
    command = [sys.executable, "-m", "tests.unit.zero_worker", str(folder)]
    logs = [(folder / f"log-{rank}").open("w") for rank in RANKS]
    running = [
        subprocess.Popen(
            command, cwd=Path(__file__).parents[2], stdout=log, stderr=subprocess.STDOUT,
            env=os.environ | places | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank, log in zip(RANKS, logs, strict=True)
    ]  # fmt: skip
    try:
        codes = [process.wait(timeout=500) for process in running]
    finally:
        for process, log in zip(running, logs, strict=True):
            process.kill()
            log.close()
    assert codes == [0, 0], "\n".join((folder / f"log-{rank}").read_text()[-4000:] for rank in RANKS)
    return {case: torch.load(folder / f"{case}.pt", weights_only=True) for case in CASES}


@pytest.fixture(scope="module")
def plain():
    return {name: run_plain(name) for name in LEARNERS}


def column(log, name):
    return torch.tensor([row[name] for row in log])


@pytest.mark.parametrize("case", CASES)
def test_zero_equals_one_device(case, results, plain):
    found, (log, expected) = results[case], plain[case.rsplit("-", 1)[0]]
    # Apart by more only where a GPU's kernels are chosen otherwise; in float32 and on a CPU the order of sums differs.
    near = {"rtol": 1e-3, "atol": 1e-3} if "bfloat16" in case else {"rtol": 1e-5, "atol": 1e-5}
    for name in ("losses", "norms"):
        torch.testing.assert_close(column(found["log"], name), column(log, name), **near)
    assert found["weights"].keys() == expected.keys()
    for key, weight in expected.items():
        assert found["weights"][key].dtype == torch.float32
        torch.testing.assert_close(found["weights"][key], weight, msg=lambda text, key=key: f"{key}: {text}", **near)


@pytest.mark.parametrize("case", CASES)
def test_zero_goes_on_bit_for_bit(case, results):
    found = results[case]
    assert found["again"] == found["log"][len(PASSES) // 2 :]
    for after, again in [("before", "loaded"), ("weights", "weights_again")]:
        assert all(torch.equal(found[after][key], found[again][key]) for key in found[after])


@pytest.mark.parametrize("case", [case for case in CASES if "bank" in case or "toy" in case])
def test_resting_member_of_a_zero_bank_is_left_bit_for_bit(case, results):
    found = results[case]
    assert torch.equal(found["before"]["adapter_2"], found["weights"]["adapter_2"])
    assert not torch.equal(found["before"]["adapter_0"], found["weights"]["adapter_0"])


@pytest.mark.parametrize("case", CASES)
def test_gradient_that_is_not_finite_is_told_and_not_taken(case, results):
    found = results[case]
    assert all(norm != norm for norm in found["spoiled"])
    assert all(torch.equal(found["kept"][key], found["weights"][key]) for key in found["weights"])
