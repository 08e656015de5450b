"""Questions a second of the packed scorer, side by side with lm_eval's `hf` model and with one sequence an option.

In: the news with its questions, the embedded 135M model (prepared where it is not yet).
Out: a table, and as the last line a JSON object; ratios are of time for the same prompts, more than 1 where the packed
scorer (`tree`) is faster.

A question is put as in the mode `letter`: four options in four orders, so four prompts of four letters each, after a
context of so many tokens that the questions of an item share. `lm_eval` is its own class `HFLM`, which computes a
prompt once for continuations of one token; `plain` is a batch of whole sequences, sorted by length, logits at the
scored places only. Each system has the best of a few batch sizes. With several adapters each item has its own: a bank,
or PEFT switching from one to the next. Every measurement runs in a process of its own, which does the work twice and
counts the second time. All log-likelihoods are compared with those of `tree`.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from measuring import MODEL, ROOT, Others, measure_apart, peak_memory, prepare_model, read_clock, warn_of_others

NEWS = ROOT / "data/new_news/events.yaml"
RANK = 16
Prompt = tuple[list[int], list[int]]
"""Tokens of a prompt and of a continuation."""


@dataclass(frozen=True)
class Job:
    """One measurement.

    Attributes:
        system: a key of `SYSTEMS`.
        model: a folder with `model.json`.
        context: tokens before a question.
        items: each with its own context.
        questions: of each item.
        adapters: 1: one for all; more: one an item.
        cut: tokens in a pass (tree) or sequences in a batch.
    """

    system: str
    model: str
    context: int = 150
    items: int = 2
    questions: int = 5
    adapters: int = 1
    cut: int = 3072
    dtype: Literal["float32", "bfloat16"] = "float32"


@dataclass
class Run:
    """What a measurement found.

    Attributes:
        seconds: for all questions.
        peak: memory in GB.
        others: how many cores everything else on the machine used meanwhile.
        scores: log-likelihood of every letter.
    """

    seconds: float
    peak: float
    others: float
    scores: list[float]
    job: Job = field(default_factory=lambda: Job("", ""))


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contexts", type=int, nargs="+", default=[0, 150, 1000], help="tokens")
    parser.add_argument("--items", type=int, default=2)
    parser.add_argument("--questions", type=int, default=5, help="of each item")
    parser.add_argument("--adapters", type=int, default=1, help="1, or one an item")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--tokens-per-pass", type=int, nargs="+", default=[2048, 4096], help="ways for tree")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32], help="ways for lm_eval and plain")
    parser.add_argument("--plain-up-to", type=int, default=150, help="longer contexts are not given to plain")
    parser.add_argument("--folder", type=Path, default=ROOT / "results/benchmarks", help="of the prepared model")
    parser.add_argument("--tiny", action="store_true", help="a tiny random model: tests the program, measures nothing")
    parser.add_argument("--job", help="measure this one only, in this process (JSON)")
    args = parser.parse_args(argv)
    if args.job:
        print(json.dumps(asdict(measure(Job(**json.loads(args.job))))))
        return
    if args.adapters not in (1, args.items):
        parser.error("--adapters is 1, or as many as --items")
    print(json.dumps(compare(args)))


def compare(args: argparse.Namespace) -> dict[str, float]:
    """Every system and way at every length of context."""
    row = "{:<9}{:>9}{:>7}{:>10}{:>8}{:>13}{:>9}{:>12}{:>8}".format
    print(row("system", "context", "items", "adapters", "cut", "questions/s", "peak GB", "difference", "others"))
    model, found = prepare_model(args.folder, args.tiny), {}
    for context in args.contexts:
        best: dict[str, Run] = {}
        for job in ways(args, model, context):
            run = run_apart(job)
            best[job.system] = min(best.get(job.system, run), run, key=lambda run: run.seconds)
            off = max(abs(a - b) for a, b in zip(run.scores, best["tree"].scores, strict=True))
            speed, rest = job.items * job.questions / run.seconds, (f"{off:.1e}", f"{run.others:.2f}")
            place = (job.system, context, job.items, job.adapters, job.cut)
            print(row(*place, f"{speed:.2f}", f"{run.peak:.2f}", *rest), flush=True)
            warn_of_others(run.others)
        for system in list(best)[1:]:
            found[f"tree_vs_{system}_{context}"] = round(best[system].seconds / best["tree"].seconds, 3)
    return found


def ways(args: argparse.Namespace, model: str, context: int) -> Iterator[Job]:
    """The measurements at one length of context; tree first, for the others are compared with it."""
    for system in SYSTEMS:
        if system == "plain" and context > args.plain_up_to:
            continue
        for cut in args.tokens_per_pass if system == "tree" else args.batch_sizes:
            yield Job(system, model, context, args.items, args.questions, args.adapters, cut, args.dtype)


def run_apart(job: Job) -> Run:
    """The measurement in a process of its own."""
    found = measure_apart(__file__, job)
    if found is None:
        sys.exit(f"{job} does not fit into the memory")
    return Run(**found | {"job": job})


# ----------------------------------------------------------------------------------------------------------- questions
def make_prompts(job: Job) -> list[list[Prompt]]:
    """For each item the prompts of its questions, every letter of every order one."""
    from sys2ft.chat import cut_tokens, encode_text, render_prompt
    from sys2ft.evaluation.questions import LETTERS, NONE, Asking, option_orders, prompt_messages
    from sys2ft.models import load_tokenizer
    from sys2ft.news.items import load_news
    from sys2ft.settings.choices import PromptSettings, ScoringSettings

    tokenizer = load_tokenizer(Path(job.model) / "model.json")
    news, scoring, template = load_news(NEWS).items, ScoringSettings(), PromptSettings().context
    found = []
    for number, item in enumerate(news[: job.items]):
        words = "\n\n".join(other.text for other in [*news[number:], *news[:number]])
        like = " a" * job.context  # a token each
        text = {"title": item.title, "text": cut_tokens(tokenizer, words, like) if job.context else ""}
        prompts: list[Prompt] = []
        for question in item.questions[: job.questions]:
            row = {"question": question.question, "options": question.options}
            asking = Asking(item.id, row, "in_context", NONE, "letter", text if job.context else None, NONE)
            for order in option_orders(len(question.options)):
                prompt = render_prompt(tokenizer, prompt_messages(asking, scoring, template, order))
                prompts += [(prompt, encode_text(tokenizer, LETTERS[place])) for place in range(len(order))]
        found.append(prompts)
    return found


# --------------------------------------------------------------------------------------------------------- measurement
def measure(job: Job) -> Run:
    """Score all prompts twice; the second time counts."""
    prompts, others = make_prompts(job), Others()
    score = SYSTEMS[job.system](job)
    score(prompts)
    began = read_clock()
    scores = score(prompts)
    return Run(read_clock() - began, peak_memory(), others.cores(), scores, job)


def open_model(job: Job) -> Any:
    """The base in the job's precision."""
    import torch

    from sys2ft.models import load_model

    return load_model(Path(job.model) / "model.json").to(getattr(torch, job.dtype))


def open_bank(job: Job) -> Any:
    """Adapters that do something, the same ones for all systems."""
    import torch

    from sys2ft.settings.catalogue import MethodSettings
    from sys2ft.training.lora_bank import LoraBank

    bank = LoraBank(open_model(job), [f"item-{number}" for number in range(job.adapters)], MethodSettings(rank=RANK))
    with torch.no_grad():
        for number in range(job.adapters):
            draw = torch.Generator().manual_seed(number)
            bank.adapter(number).normal_(std=0.01, generator=draw)
    return bank


def open_peft(job: Job) -> Any:
    """The same adapters in the hands of PEFT."""
    import tempfile

    from peft import PeftModel

    bank, model = open_bank(job), None
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(bank.names):
            bank.export(number, Path(folder) / name, MODEL)
            if model is None:
                model = PeftModel.from_pretrained(open_model(job), f"{folder}/{name}", adapter_name=name)
            else:
                model.load_adapter(f"{folder}/{name}", adapter_name=name)
    assert model is not None
    return model.eval()


def score_tree(job: Job) -> Any:
    """Our scorer."""
    from sys2ft.evaluation.respondents import Respondent
    from sys2ft.evaluation.scoring import read_sequences
    from sys2ft.packing import TokenSequence

    bank = open_bank(job)
    respondent = Respondent(bank.model, bank)

    def score(prompts: Sequence[Sequence[Prompt]]) -> list[float]:
        sequences = []
        for number, some in enumerate(prompts):
            for prompt, ending in some:
                scored = tuple(range(len(prompt), len(prompt) + len(ending)))
                sequences.append(TokenSequence((*prompt, *ending), scored, number % job.adapters))
        return [total for total, _ in read_sequences(respondent, sequences, job.cut)]

    return score


def score_lm_eval(job: Job) -> Any:
    """The harness's own class."""
    from lm_eval.models.huggingface import HFLM

    from sys2ft.models import load_tokenizer

    model = open_peft(job)
    harness = HFLM(model, tokenizer=load_tokenizer(Path(job.model) / "model.json"), batch_size=job.cut)

    def score(prompts: Sequence[Sequence[Prompt]]) -> list[float]:
        found = []
        for number, some in enumerate(_by_adapter(prompts, job)):
            model.set_adapter(f"item-{number}")
            requests = [(("", ""), prompt, ending) for prompt, ending in some]
            found += [total for total, _ in harness._loglikelihood_tokens(requests, disable_tqdm=True)]
        return found

    return score


def score_plain(job: Job) -> Any:
    """Whole sequences in batches."""
    import torch

    model = open_peft(job)
    causal_model = model.get_base_model()

    def score(prompts: Sequence[Sequence[Prompt]]) -> list[float]:
        found = []
        for number, some in enumerate(_by_adapter(prompts, job)):
            model.set_adapter(f"item-{number}")
            order = sorted(range(len(some)), key=lambda i: len(some[i][0]))
            scores = [0.0] * len(some)
            for start in range(0, len(order), job.cut):
                batch = [some[i] for i in order[start : start + job.cut]]
                for i, value in zip(order[start:], _score_batch(causal_model, batch), strict=False):
                    scores[i] = value
            found += scores
        return found

    def _score_batch(causal_model: Any, batch: Sequence[Prompt]) -> list[float]:
        whole = [prompt + ending for prompt, ending in batch]
        width = max(map(len, whole))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in whole], device=causal_model.device)
        places = [(i, len(prompt) + j) for i, (prompt, ending) in enumerate(batch) for j in range(len(ending))]
        rows, columns = torch.tensor(places, device=ids.device).T
        with torch.inference_mode():
            hidden = causal_model.model(input_ids=ids, use_cache=False).last_hidden_state
            logits = causal_model.lm_head(hidden[rows, columns - 1]).float().log_softmax(-1)
        values = logits.gather(-1, ids[rows, columns][:, None])[:, 0]
        return torch.zeros(len(batch), device=ids.device).index_add_(0, rows, values).tolist()

    return score


def _by_adapter(prompts: Sequence[Sequence[Prompt]], job: Job) -> list[Sequence[Prompt]]:
    """The prompts of each adapter together."""
    return list(prompts) if job.adapters > 1 else [[prompt for some in prompts for prompt in some]]


SYSTEMS: Mapping[str, Any] = {"tree": score_tree, "lm_eval": score_lm_eval, "plain": score_plain}


if __name__ == "__main__":
    main()
