"""Answers that the model writes: the modes `generate` and `generate_reasoned`.

Decoding is greedy. What is written is kept on disk under a key that holds the digest of the weights that wrote it, so
that no answer is ever taken for another model's, and that a killed job, or one whose reading of answers changed, asks
for nothing twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from sys2ft.chat import Message
from sys2ft.evaluation.questions import NONE, Asking, ask_all, prompt_messages
from sys2ft.evaluation.reading import read_answer
from sys2ft.learned import Learned
from sys2ft.settings.catalogue import MethodSettings, TeacherSettings
from sys2ft.settings.choices import WritingSettings
from sys2ft.settings.stages import WriteStage
from sys2ft.study.cache import CachedEngine, RequestCache
from sys2ft.study.engines import SAMPLES
from sys2ft.study.requests import Request, Sample, complete

Row = Mapping[str, Any]


class Writer(Protocol):
    """What runs the model."""

    def __call__(self, learned: Learned, requests: Sequence[Request]) -> Iterator[list[Sample]]:
        """As an `Engine` answers, by one of those who were trained."""


def greedy(settings: WritingSettings) -> TeacherSettings:
    """The same engine that a teacher has, always taking the likeliest token."""
    return TeacherSettings(engine=settings.engine, temperature=1.0, top_p=1.0, top_k=1, batch_size=settings.batch_size)


def open_writer(manifest: Path, method: MethodSettings | None, settings: WritingSettings, gpus: int) -> Writer:
    """The writer of the settings; it loads weights when it is first asked.

    Args:
        manifest: the model's `model.json`.
        method: how it was trained; None for the base alone.
        gpus: that the job has, for tensor parallelism.
    """
    if settings.engine == "vllm":
        return VllmWriter(manifest, method, settings, gpus)
    return TransformersWriter(manifest, method, settings)


class TransformersWriter:
    """A resident model of transformers, adapters put on one after the other."""

    def __init__(self, manifest: Path, method: MethodSettings | None, settings: WritingSettings):
        self.manifest, self.method, self.settings = manifest, method, settings
        self.engine: Any = None
        self.bank: Any = None
        self.weights: Path | None = None
        """Of the trained model that is loaded."""

    def __call__(self, learned: Learned, requests: Sequence[Request]) -> Iterator[list[Sample]]:
        """See `Writer`."""
        with self._ready(learned):
            yield from self.engine(requests)

    def _ready(self, learned: Learned) -> Any:
        """Load what is to write; within what is returned it does."""
        from sys2ft.models import load_model, load_trained

        if self.method is not None and self.method.kind == "full":
            assert learned.folder is not None
            if self.weights != learned.folder:
                self.engine = None  # or two models would be held at once
                self._open(load_trained(learned.folder))
                self.weights = learned.folder
            return nullcontext()
        if self.engine is None:
            model = load_model(self.manifest)
            self._open(model)
            if self.method is not None:
                from sys2ft.training.lora_bank import LoraBank

                self.bank = LoraBank(model, ["writer"], self.method)
        if self.bank is None:
            return nullcontext()
        assert learned.folder is not None
        self.bank.load(0, learned.folder)
        return self.bank.alone(0)

    def _open(self, model: Any) -> None:
        from sys2ft.models import load_generation_config, load_tokenizer
        from sys2ft.study.engines.running import TransformersEngine

        model.generation_config = load_generation_config(self.manifest)
        self.engine = TransformersEngine(greedy(self.settings), model, load_tokenizer(self.manifest))


class VllmWriter:
    """A model inside vLLM: adapters come as LoRA requests, trained models are loaded one after the other."""

    def __init__(self, manifest: Path, method: MethodSettings | None, settings: WritingSettings, gpus: int):
        self.manifest, self.method, self.settings, self.gpus = manifest, method, settings, gpus
        self.engine: Any = None
        self.weights: Path | None = None

    def __call__(self, learned: Learned, requests: Sequence[Request]) -> Iterator[list[Sample]]:
        """See `Writer`."""
        full = self.method is not None and self.method.kind == "full"
        weights = learned.folder if full else None
        if self.engine is None or self.weights != weights:
            from sys2ft.study.engines.vllm_offline import VllmEngine

            self.engine = None  # or two models would be held at once
            rank = 0 if self.method is None or full else self.method.rank
            self.engine = VllmEngine(greedy(self.settings), self.manifest, self.gpus, weights, rank)
            self.weights = weights
        if learned.folder is not None and not full:
            self.engine.put_on(learned.digest, learned.folder)
        yield from self.engine(requests)


def write_split(
    items: Sequence[Row],
    questions: Sequence[Row],
    stage: WriteStage,
    writer: Writer,
    points: Sequence[Sequence[Learned]],
    readers: Mapping[str, str] | None,
    folder: Path,
    identity: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Have every question of a split answered in writing by all who are to answer.

    Args:
        items: rows of the table `items`.
        questions: rows of the table `questions`.
        points: what was learned, moment by moment; the base alone for the base.
        readers: for each item the name of who learned it; None for the base.
        folder: where what is written is kept.
        identity: of the base and its precision.

    Returns:
        Rows of the table `answers`, without the cell's keys.

    Raises:
        ValueError: a question with its answer is longer than the model's context; names both.
    """
    modes = stage.scoring.modes.index
    askings = sorted(ask_all(items, questions, stage.scoring, readers), key=lambda asking: modes(asking.mode))
    how = greedy(stage.writing).model_dump(include={"engine", "temperature", "top_p", "top_k"})
    rows = []
    for learned in (one for point in points for one in point):
        asked = [asking for asking in askings if asking.reader == learned.name]
        requests = [_request(asking, number, stage) for number, asking in enumerate(asked)]
        told = {**identity, **how, "samples": SAMPLES, "adapter": learned.digest}
        engine = CachedEngine(partial(partial, writer, learned), RequestCache(folder, told))
        if learned.name != NONE:
            print(f"{learned.name}, after {learned.samples} sequences", flush=True)
        samples = complete(engine, _each_once(requests))
        written = {_asked(sample.request): sample for sample in samples}
        rows += [
            _answer(asking, written[_asked(request)], learned) for asking, request in zip(asked, requests, strict=True)
        ]
        print(engine.summary(), flush=True)
    return rows


def written_prompt(asking: Asking, stage: WriteStage) -> tuple[Message, ...]:
    """The chat that is put to the model, which then writes."""
    reasoned = asking.mode == "generate_reasoned"
    instruction = stage.writing.reasoning_instruction if reasoned else stage.writing.instruction
    return prompt_messages(asking, stage.scoring, stage.context, instruction=instruction)


def _request(asking: Asking, number: int, stage: WriteStage) -> Request:
    """What is put to the model for one asking."""
    writing = stage.writing
    name = "/".join([asking.question["question_id"], asking.condition, asking.control, asking.mode])
    limit = writing.reasoning_max_new_tokens if asking.mode == "generate_reasoned" else writing.max_new_tokens
    prompt = written_prompt(asking, stage)
    return Request(asking.item, asking.mode, number, range(0), prompt, limit, seed=0, name=name)


def _asked(request: Request) -> tuple[Any, ...]:
    """What an answer depends on: questions that are blanked are asked in the same words."""
    return request.item, request.messages, request.max_new_tokens


def _each_once(requests: Sequence[Request]) -> list[Request]:
    return list({_asked(request): request for request in reversed(requests)}.values())[::-1]


def _answer(asking: Asking, sample: Sample, learned: Learned) -> dict[str, Any]:
    """One row of `answers`."""
    question = asking.question
    reasoned, cut = asking.mode == "generate_reasoned", sample.finish == "length"
    choice, unread = read_answer(sample.text, question, reasoned, cut)
    scored = ("choice_sum", "choice_unconditional", "scores", "logprobs", "unconditional")
    return {
        **asking.columns(),
        "choice": choice,
        "correct": None if choice is None else float(choice == question["gold"]),
        "completion": sample.text,
        "unread": unread,
        "finish": sample.finish,
        **dict.fromkeys((*scored, "option_tokens", "order_correct")),
        "adapter": learned.digest,
        "samples_seen": learned.samples,
        "milestone": learned.milestone,
    }
