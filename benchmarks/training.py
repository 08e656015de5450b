"""Time and memory of training LoRA adapters, one an item: our bank side by side with what a user would take instead.

In: the embedded 135M model (prepared where it is not yet) and the recorded Self-QA study of 15 items.
Out: tables, and as the last line a JSON object; ratios are of time for the same steps, more than 1 where the bank is
faster.

Parts:
    peers: bank, PEFT item by item in one process (a lean loop: the base loaded once, padded batches, logits of the
        answer only) and TRL's SFTTrainer item by item, each with the best of a few ways to cut a step into passes.
    items: cost of a token and peak memory against the number of items.
    length: cost of a token against the length of sequences.
    gpu: bank and PEFT on shapes of Qwen2.5 with random weights, and the utilisation of full fine-tuning.

What a step is stays fixed: 4 sequences of every item (about 72 tokens each in the study) and one update.
An item's first steps are shown with the set-up and not counted: a process touches most of its memory for the first
time in them, which on a virtual machine can take longer than the arithmetic. Every measurement runs in a process of its
own, the systems taking turns, and tells how many cores others used meanwhile: two systems that compete for cores can
take ten times as long as one.
"""

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from measuring import ROOT, TINY, Others, measure_apart, peak_memory, prepare_model, read_clock, warn_of_others

STUDY = ROOT / "data/reference_study.yaml"
RANK, ALPHA, LR, BATCH_SIZE = 16, 32, 1e-3, 4
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# Of Qwen2.5, as its model cards state them.
SHAPES: dict[str, dict[str, Any]] = {
    name: dict(zip([*TINY, "vocab_size", "tie_word_embeddings"], shape, strict=True))
    for name, shape in {
        "7b": (3584, 18944, 28, 28, 4, 32768, 152064, False),
        "3b": (2048, 11008, 36, 16, 2, 32768, 151936, True),
        "1.5b": (1536, 8960, 28, 12, 2, 32768, 151936, True),
        "0.5b": (896, 4864, 24, 14, 2, 32768, 151936, True),
        "tiny": (*TINY.values(), 259, False),
    }.items()
}
# ChatML as the embedded model speaks it, with the marks that TRL wants around what has loss (its own templates, which
# it puts in the place of known ones, do not cover this model's). All systems read sequences rendered with it.
TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, "
    "trained by Hugging Face<|im_end|>\n' }}{% endif %}{% for message in messages %}{{ '<|im_start|>' + "
    "message['role'] + '\n' }}{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + "
    "'<|im_end|>' }}{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
Row = dict[str, Any]
Data = Mapping[str, Sequence[Row]]


@dataclass(frozen=True)
class Job:
    """One measurement.

    Attributes:
        system: a key of `SYSTEMS`.
        model: a folder with `model.json`, or a key of `SHAPES`.
        data: `study`, or the length of every sequence in tokens.
        steps: of each item that are counted.
        warmup: steps of each item before them.
        batch_size: sequences of an item in a step.
        cut: how a step is cut into passes: tokens (bank, full) or sequences (PEFT, TRL) in a pass.
        autocast: whether PEFT and TRL compute their adapters, which they keep in float32, in the base's precision.
    """

    system: str
    model: str
    data: str = "study"
    items: int = 15
    steps: int = 4
    warmup: int = 4
    batch_size: int = BATCH_SIZE
    dtype: Literal["float32", "bfloat16"] = "float32"
    cut: int = BATCH_SIZE
    autocast: bool = False


@dataclass
class Run:
    """What a measurement found: times in seconds, of all items together.

    Attributes:
        setup: until the counted steps began.
        seconds: of the counted steps.
        share: tokens that had to be read over those computed, of the bank.
        loss: of the first step of the first item.
        useful: tokens of the sequences of the counted steps.
        peak: memory of the process, or of the GPU where there is one, in GB.
        others: how many cores everything else on the machine used meanwhile.
        flops: of the counted steps, where the model's weights are all trained.
    """

    setup: float = 0.0
    seconds: float = 0.0
    share: float = 0.0
    loss: float = 0.0
    useful: int = 0
    peak: float = 0.0
    others: float = 0.0
    flops: float = 0.0
    job: Job = field(default_factory=lambda: Job("", ""))


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=sorted(PARTS), default="peers")
    parser.add_argument("--items", type=int, nargs="+", help="15; of the part `items` 1 2 4 8 15 32; of `length` 4")
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 256, 1024], help="tokens, of the part `length`")
    parser.add_argument("--steps", type=int, default=4, help="counted, of each item")
    parser.add_argument("--warmup", type=int, default=4, help="steps of each item before them")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16", help="of base and arithmetic")
    parser.add_argument("--tokens-per-pass", type=int, nargs="+", default=[2048, 1024, 4096], help="ways for the bank")
    parser.add_argument("--micro-batches", type=int, nargs="+", default=[4, 2], help="ways for PEFT and TRL")
    parser.add_argument("--repeats", type=int, default=2, help="of each system's best way")
    parser.add_argument("--peak-flops", type=float, default=989e12, help="of the GPU a second; dense bf16 of an H200")
    parser.add_argument("--folder", type=Path, default=ROOT / "results/benchmarks", help="of the prepared model")
    parser.add_argument("--tiny", action="store_true", help="tiny random models: tests the program, measures nothing")
    parser.add_argument("--job", help="measure this one only, in this process (JSON)")
    args = parser.parse_args(argv)
    if args.job:
        print(json.dumps(asdict(measure(Job(**json.loads(args.job))))))
        return
    print(json.dumps(PARTS[args.part](args)))


# ----------------------------------------------------------------------------------------------------------- the parts
def compare_peers(args: argparse.Namespace) -> dict[str, Any]:
    """Every system, every way; then each system's best way again, in turns."""
    model, (items,) = prepare_model(args.folder, args.tiny), args.items or [15]
    systems = ["bank", "peft"] + ["trl"] * (importlib.util.find_spec("trl") is not None)
    base = {"model": model, "items": items} | common(args)
    best = find_best(take_turns([ways(system, args, base) for system in systems]))
    for _ in range(args.repeats - 1):
        best = find_best([*best.values(), *take_turns([[run.job] for run in best.values()])])
    losses = [f"{system} {run.loss:.6f}" for system, run in best.items()]
    print(f"loss of the first step of the first item: {', '.join(losses)}")
    return {
        "bank_vs_peft": compare_to_bank(best, "peft"),
        "bank_vs_trl": compare_to_bank(best, "trl"),
        "useful_token_share": round(best["bank"].share, 3),
    }


def compare_items(args: argparse.Namespace) -> dict[str, Any]:
    """Bank and PEFT, the first way of each, against the number of items."""
    base = {"model": prepare_model(args.folder, args.tiny)} | common(args)
    return {"items": [compare_at("items", n, args, base) for n in args.items or [1, 2, 4, 8, 15, 32]]}


def compare_lengths(args: argparse.Namespace) -> dict[str, Any]:
    """Bank and PEFT, the first way of each, against the length of sequences."""
    model, (items,) = prepare_model(args.folder, args.tiny), args.items or [4]
    base = {"model": model, "items": items} | common(args)
    return {"length": [compare_at("data", str(length), args, base) for length in args.lengths]}


def compare_at(axis: str, value: Any, args: argparse.Namespace, base: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds a token and memory of both at one place of an axis."""
    jobs = [ways(system, args, {**base, axis: value})[:1] for system in ("bank", "peft")]
    best = find_best(take_turns(jobs * args.repeats))
    figures = {
        system: {"seconds_per_token": run.seconds / run.useful, "peak_gb": run.peak} for system, run in best.items()
    }
    return {axis: value, "bank_vs_peft": compare_to_bank(best, "peft"), **figures}


def compare_on_gpu(args: argparse.Namespace) -> dict[str, Any]:
    """Bank and PEFT at two sizes, and the largest size whose weights can all be trained."""
    (items,) = args.items or [15]
    found: dict[str, Any] = {}
    for shape in ["tiny"] if args.tiny else ["0.5b", "7b"]:
        base = {"model": shape, "items": items} | common(args) | {"dtype": "bfloat16"}
        best = find_best(take_turns([ways(system, args, base) for system in ("bank", "peft")] * args.repeats))
        found[shape] = {"bank_vs_peft": compare_to_bank(best, "peft"), "peak_gb": best["bank"].peak}
    return found | {"full": utilise_gpu(args)}


def utilise_gpu(args: argparse.Namespace) -> dict[str, Any] | None:
    """Full fine-tuning of the largest size that fits: the share of the GPU's peak that does useful work."""
    for shape in ["tiny"] if args.tiny else ["7b", "3b", "1.5b", "0.5b"]:
        base = {"model": shape, "items": 1} | common(args) | {"dtype": "bfloat16"}
        base |= {"data": "64"} if args.tiny else {"data": "1024", "batch_size": 32}
        runs = [run for job in ways("full", args, base) if (run := run_apart(job)) is not None]
        if runs:
            best = find_best(runs)["full"]
            share = best.flops / best.seconds / args.peak_flops
            return {
                "shape": shape,
                "cut": best.job.cut,
                "flops_utilisation": float(f"{share:.3g}"),
                "peak_gb": best.peak,
            }
    return None


PARTS = {"peers": compare_peers, "items": compare_items, "length": compare_lengths, "gpu": compare_on_gpu}


def common(args: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of all jobs."""
    return {"steps": args.steps, "warmup": args.warmup, "dtype": args.dtype}


def ways(system: str, args: argparse.Namespace, base: Mapping[str, Any]) -> list[Job]:
    """The ways to cut a step into passes that are tried."""
    if system in ("bank", "full"):
        return [Job(system, cut=cut, **base) for cut in args.tokens_per_pass]
    autocast = [True, False] if base["dtype"] == "bfloat16" else [False]
    return [Job(system, cut=cut, autocast=on, **base) for cut in args.micro_batches for on in autocast]


def take_turns(systems: Sequence[Sequence[Job]]) -> list[Run]:
    """Measure all jobs, a job of each system after the other: what else the machine does meets all."""
    row = "{:<6}{:>11}{:>7}{:>7}{:>6}{:>10}{:>9}{:>8}{:>10}{:>9}{:>10}{:>8}".format
    units = ("setup s", "run s", "tokens/s", "peak GB", "loss", "others")
    print(row("system", "model", "data", "items", "cut", "autocast", *units))
    runs = []
    for turn in range(max(map(len, systems))):
        for job in (jobs[turn] for jobs in systems if turn < len(jobs)):
            if (run := run_apart(job)) is None:
                sys.exit(f"{job} does not fit into the memory of the GPU")
            times = (f"{run.setup:.1f}", f"{run.seconds:.1f}", f"{run.useful / run.seconds:.0f}")
            rest = (f"{run.peak:.2f}", f"{run.loss:.6f}", f"{run.others:.2f}")
            name = Path(job.model).name[-10:]
            print(row(job.system, name, job.data, job.items, job.cut, str(job.autocast), *times, *rest), flush=True)
            runs.append(run)
    warn_of_others(max(run.others for run in runs))
    return runs


def find_best(runs: Iterable[Run]) -> dict[str, Run]:
    """The fastest of each system: whatever else works on a machine only ever makes slower."""
    best: dict[str, Run] = {}
    for run in runs:
        best[run.job.system] = min(best.get(run.job.system, run), run, key=lambda run: run.seconds)
    return best


def compare_to_bank(best: Mapping[str, Run], system: str) -> float | None:
    """How many times as long a system takes; None where it was not measured."""
    return round(best[system].seconds / best["bank"].seconds, 3) if system in best else None


# ------------------------------------------------------------------------------------------------------ model and data
def open_model(job: Job) -> Any:
    """The frozen base in the job's precision, on the GPU where there is one."""
    import torch

    if job.model not in SHAPES:
        from sys2ft.models import load_model

        return load_model(Path(job.model) / "model.json").to(getattr(torch, job.dtype))
    from transformers import AutoConfig, AutoModelForCausalLM

    dtype = "float32" if job.system == "full" else job.dtype  # full fine-tuning keeps its weights so
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        config = AutoConfig.for_model("qwen2", **SHAPES[job.model])
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    return model.requires_grad_(False).eval()


def open_tokenizer(job: Job) -> Any:
    """The model's tokenizer with the template of this comparison."""
    from sys2ft.models import load_tokenizer

    tokenizer = load_tokenizer(Path(job.model) / "model.json")
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_data(job: Job) -> Data:
    """For each item the sequences of all its steps, in order."""
    number = (job.warmup + job.steps) * job.batch_size
    if job.model in SHAPES:
        return {f"item-{i}": list(random_rows(job, i, number)) for i in range(job.items)}
    make = study_rows if job.data == "study" else text_rows
    return {f"item-{i}": [row | {"item": f"item-{i}"} for row in make(job, i, number)] for i in range(job.items)}


def study_rows(job: Job, item: int, number: int) -> Iterator[Row]:
    """Recorded questions and answers on an item, again from the start where they are used up."""
    from sys2ft.chat import render_training, trained_assistant, user
    from sys2ft.yaml_files import read_yaml

    tokenizer, study = open_tokenizer(job), read_yaml(STUDY)["study"]
    pairs = study[list(study)[item % len(study)]]["self_qa"]
    for pair in (pairs[n % len(pairs)] for n in range(number)):
        messages = [user(pair["question"]), trained_assistant(pair["answer"])]
        token_ids, loss_mask = render_training(tokenizer, messages)
        yield {"messages": [m.as_dict() for m in messages], "token_ids": token_ids, "loss_mask": loss_mask}


def text_rows(job: Job, item: int, number: int) -> Iterator[Row]:
    """Pieces of the study's text, each as long as the job says; the second half has loss."""
    length = int(job.data)
    tokens = open_tokenizer(job)(STUDY.read_text(), add_special_tokens=False)["input_ids"]
    for n in range(number):
        start = (item * number + n) * length % (len(tokens) - length)
        yield {
            "token_ids": tokens[start : start + length],
            "loss_mask": [2 * place >= length for place in range(length)],
        }


def random_rows(job: Job, item: int, number: int) -> Iterator[Row]:
    """Random tokens: as long as those of the study with about as many that have loss, or as the job says and all."""
    import random

    draw = random.Random(item)
    for _ in range(number):
        study = job.data == "study"
        length = draw.randint(51, 92) if study else int(job.data)
        token_ids = [draw.randrange(SHAPES[job.model]["vocab_size"]) for _ in range(length)]
        prompt = round(0.7 * length) if study else 1
        loss_mask = [False] * prompt + [True] * (length - prompt)
        yield {"item": f"item-{item}", "token_ids": token_ids, "loss_mask": loss_mask}


# --------------------------------------------------------------------------------------------------------- measurement
def run_apart(job: Job) -> Run | None:
    """The measurement in a process of its own; None where the GPU's memory does not do."""
    found = measure_apart(__file__, job)
    return None if found is None else Run(**found | {"job": job})


def measure(job: Job) -> Run:
    """Train as the job says."""
    data, model = make_data(job), open_model(job)
    others = Others()
    run = SYSTEMS[job.system](model, data, job)
    run.others, run.job, run.peak = others.cores(), job, peak_memory()
    run.useful = sum(len(row["token_ids"]) for rows in data.values() for row in rows[job.warmup * job.batch_size :])
    return run


def train_bank(model: Any, data: Data, job: Job) -> Run:
    """Our engine: the adapters of all items at once."""
    from sys2ft.settings.catalogue import MethodSettings
    from sys2ft.training.lora_bank import LoraBank

    began = read_clock()
    method = MethodSettings(
        rank=RANK, alpha=ALPHA, targets=tuple(TARGETS), lr=LR, warmup_steps=0, batch_size=job.batch_size
    )
    bank = LoraBank(model, list(data), method)
    bank.initialise(range(len(data)))
    return run_engine(bank, data, method, job, began)


def train_full(model: Any, data: Data, job: Job) -> Run:
    """Our engine: all weights, on one item."""
    import torch

    from sys2ft.settings.catalogue import MethodSettings
    from sys2ft.training.full_weights import FullWeights

    began, ((name, rows),) = read_clock(), data.items()
    method = MethodSettings(kind="full", lr=LR, warmup_steps=0, batch_size=job.batch_size)
    learner = FullWeights(model, name, method, getattr(torch, job.dtype))
    run = run_engine(learner, data, method, job, began)
    run.flops = count_flops(model, rows[job.warmup * job.batch_size :])
    return run


def run_engine(learner: Any, data: Data, method: Any, job: Job, began: float) -> Run:
    """What bank and full weights have in common: the one training loop."""
    from sys2ft.training.batches import Share
    from sys2ft.training.engines import open_engine
    from sys2ft.training.fine_tune import Watch, fine_tune
    from sys2ft.training.learners import Member
    from sys2ft.training.rules import UpdateRule

    members = [Member(name, [row | {"context_ids": None} for row in rows]) for name, rows in data.items()]
    engine = open_engine(learner, method, None, job.dtype)
    rule = UpdateRule(learner, method, None, 0)
    log = fine_tune(learner, engine, members, Share(job.cut), rule, Watch())
    return summarise_log(log, read_clock() - began, job.warmup)


def summarise_log(log: Sequence[Mapping[str, Any]], whole: float, warmup: int) -> Run:
    """What the rows of `train_log` say; each tells its step's seconds and computed tokens, those of all items."""
    counted = list({row["step"]: row for row in log if row["step"] > warmup}.values())
    return Run(
        setup=whole - sum(row["seconds"] for row in counted),
        seconds=sum(row["seconds"] for row in counted),
        share=sum(row["useful_share"] for row in counted) / len(counted),
        loss=log[0]["loss"],
    )


def count_flops(model: Any, rows: Sequence[Row]) -> float:
    """Of forward and backward passes where all weights are trained: 6 a weight and token, and causal attention.

    The appendix of PaLM (Chowdhery et al. 2022, arXiv 2204.02311, B); only half of attention's square is needed.
    """
    weights = sum(p.numel() for p in model.parameters())
    if not model.config.tie_word_embeddings:
        weights -= model.get_input_embeddings().weight.numel()  # looked up, not multiplied
    lengths = [len(row["token_ids"]) for row in rows]
    attention = 6 * model.config.num_hidden_layers * model.config.hidden_size * sum(n**2 for n in lengths)
    return 6 * weights * sum(lengths) + attention


def train_peft(model: Any, data: Data, job: Job) -> Run:
    """PEFT item by item, and no more around it than is needed."""
    from peft import LoraConfig, get_peft_model

    run = Run()
    for rows in data.values():
        began = read_clock()
        config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, task_type="CAUSAL_LM")
        adapted = get_peft_model(model, config)
        times, losses = train_item(adapted, rows, job)
        add_item(run, began, times, job.warmup, losses[0])
        model = adapted.unload()
    return run


def train_item(adapted: Any, rows: Sequence[Row], job: Job) -> tuple[list[float], list[float]]:
    """Train a PEFT model; the clock before the first and after every step, and the losses."""
    import torch

    parameters = [p for p in adapted.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=LR, weight_decay=0.0, fused=True)
    times, losses = [read_clock()], []
    for start in range(0, len(rows), job.batch_size):
        batch = rows[start : start + job.batch_size]
        tokens = sum(sum(row["loss_mask"]) for row in batch)
        total = 0.0
        for micro in cut_batch(batch, job.cut):
            loss = answer_loss(adapted, micro, job) / tokens
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        times.append(read_clock())
        losses.append(total)
    return times, losses


def answer_loss(adapted: Any, rows: Sequence[Row], job: Job) -> Any:
    """Summed loss of the answers' tokens. Padding stands on the right, where causal attention needs no mask for it."""
    import torch

    causal_model = adapted.get_base_model()
    device, width = causal_model.device, max(len(row["token_ids"]) for row in rows)
    ids = torch.tensor([row["token_ids"] + [0] * (width - len(row["token_ids"])) for row in rows], device=device)
    mask = torch.tensor([row["loss_mask"] + [False] * (width - len(row["loss_mask"])) for row in rows], device=device)
    with torch.autocast(device.type, torch.bfloat16) if job.autocast else nullcontext():
        hidden = causal_model.model(input_ids=ids, use_cache=False).last_hidden_state
        logits = causal_model.lm_head(hidden[:, :-1][mask[:, 1:]])
    return torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][mask[:, 1:]], reduction="sum")


def cut_batch(batch: Sequence[Row], size: int) -> list[Sequence[Row]]:
    """The sequences of a step, `size` in a pass."""
    return [batch[start : start + size] for start in range(0, len(batch), size)]


def add_item(run: Run, began: float, times: Sequence[float], warmup: int, loss: float) -> None:
    """Count an item that was trained alone.

    Args:
        times: the clock before the first and after every step.
    """
    run.loss = run.loss or loss
    run.setup += times[warmup] - began
    run.seconds += times[-1] - times[warmup]


def train_trl(model: Any, data: Data, job: Job) -> Run:
    """TRL item by item; what it does besides training is turned off, and so is recomputing activations."""
    import tempfile

    import datasets
    import transformers

    transformers.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    run, tokenizer = Run(), open_tokenizer(job)
    for rows in data.values():
        began = read_clock()
        with tempfile.TemporaryDirectory() as folder:
            trainer = make_trainer(model, tokenizer, rows, job, folder)
            times = note_times(trainer)
            trainer.train()
        check_same_data(trainer, rows)
        add_item(run, began, times, job.warmup, trainer.state.log_history[0]["loss"])
        model = trainer.model.unload()
    return run


def make_trainer(model: Any, tokenizer: Any, rows: Sequence[Row], job: Job, folder: str) -> Any:
    """SFTTrainer on an item's chats, with loss on the assistant's turns."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    # TRL's own defaults: gradient checkpointing, autocast to bfloat16, a learning rate that falls to 0, shuffling.
    settings = SFTConfig(
        output_dir=folder, max_steps=job.warmup + job.steps, learning_rate=LR, lr_scheduler_type="constant",
        per_device_train_batch_size=job.cut, gradient_accumulation_steps=job.batch_size // job.cut,
        assistant_only_loss=True, gradient_checkpointing=False, bf16=job.autocast,
        use_cpu=not torch.cuda.is_available(),  # or it refuses bfloat16 where there is no GPU
        train_sampling_strategy="sequential", report_to="none", save_strategy="no", disable_tqdm=True,
        logging_strategy="steps", logging_steps=10**6, logging_first_step=True, dataloader_pin_memory=False,
    )  # fmt: skip
    chats = Dataset.from_list([{"messages": row["messages"]} for row in rows])
    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, task_type="CAUSAL_LM")
    return SFTTrainer(model, settings, train_dataset=chats, processing_class=tokenizer, peft_config=lora)


def note_times(trainer: Any) -> list[float]:
    """A list that will hold the clock before the first and after every step."""
    from transformers import TrainerCallback

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            times.append(read_clock())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(read_clock())

    trainer.add_callback(Clock())
    return times


def check_same_data(trainer: Any, rows: Sequence[Row]) -> None:
    """Raise where TRL trained other tokens than the others do."""
    for ours, theirs in zip(rows, trainer.train_dataset, strict=True):
        labels = [token if loss else -100 for token, loss in zip(ours["token_ids"], ours["loss_mask"], strict=True)]
        if (theirs["input_ids"], theirs["labels"]) != (ours["token_ids"], labels):
            raise AssertionError(f"TRL reads other tokens, or has loss on others: {ours['messages']}")


SYSTEMS = {"bank": train_bank, "full": train_full, "peft": train_peft, "trl": train_trl}


if __name__ == "__main__":
    main()
