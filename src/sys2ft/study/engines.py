"""Engines: what runs a teacher. `transformers` loads a model; `recorded` reads what was written before."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sys2ft.chat import render_prompt
from sys2ft.settings.catalogue import TeacherSettings
from sys2ft.study.recorded import open_recorded
from sys2ft.study.requests import Engine, Request, Sample

if TYPE_CHECKING:
    import torch


def open_engine(settings: TeacherSettings, source: str | Path, kind: str) -> Engine:
    """Load the teacher once; the function returned answers any number of calls.

    Args:
        source: the teacher's `model.json`, or the file of recorded study data.
        kind: what is studied; tells recorded study data which to read.
    """
    if settings.engine == "recorded":
        return open_recorded(source, kind)
    return _open_transformers(settings, source)


class SeededSampling:
    """A logits processor that draws each row's next token with that row's own generator.

    Temperature, then the `top_k` most probable, of these the smallest set with probability `top_p`; the draw itself
    adds Gumbel noise and takes the largest, so that greedy decoding of what is returned is the sample. Rows are
    independent of the batch they stand in.
    """

    def __init__(self, settings: TeacherSettings, seeds: Sequence[int]):
        import torch

        self.settings = settings
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, _input_ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        """Scores (rows, vocabulary) with all but the drawn token at minus infinity."""
        import torch

        top_k = min(self.settings.top_k, scores.shape[-1])
        values, tokens = torch.topk(scores.float() / self.settings.temperature, top_k, dim=-1)
        probabilities = values.softmax(-1)
        outside = probabilities.cumsum(-1) - probabilities >= self.settings.top_p
        values = values.masked_fill(outside, float("-inf"))
        noise = torch.stack([torch.rand(top_k, generator=g, dtype=torch.float64) for g in self.generators])
        gumbel = -torch.log(-torch.log(noise.clamp(1e-300, 1 - 1e-16)))
        drawn = tokens.gather(-1, (values + gumbel.to(values)).argmax(-1, keepdim=True))
        return torch.full_like(scores, float("-inf")).scatter(-1, drawn, 0.0)


def _open_transformers(settings: TeacherSettings, source: str | Path) -> Engine:
    from sys2ft.models import load_model, load_tokenizer

    model, tokenizer = load_model(source), load_tokenizer(source)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    stops = _stop_tokens(model, tokenizer)

    def generate(requests: Sequence[Request]) -> list[Sample]:
        prompts = [render_prompt(tokenizer, request.messages) for request in requests]
        limit = getattr(model.config, "max_position_embeddings", None)
        for request, prompt in zip(requests, prompts, strict=True):
            if limit and len(prompt) + request.max_new_tokens > limit:
                raise ValueError(
                    f"request '{request.id}': {len(prompt)} prompt tokens and {request.max_new_tokens} new ones "
                    f"exceed the teacher's context of {limit}: shorten the item or lower max_new_tokens"
                )
        # Prompts of like length together: less padding. The order depends on nothing but the requests.
        order = sorted(range(len(requests)), key=lambda i: (requests[i].max_new_tokens, len(prompts[i]), i))
        samples: dict[int, Sample] = {}
        for batch in _progress(_batches(order, settings.batch_size), len(order), settings.batch_size):
            chosen = [requests[i] for i in batch]
            texts = _decode_batch(model, tokenizer, settings, stops, chosen, [prompts[i] for i in batch])
            samples |= dict(zip(batch, texts, strict=True))
        return [samples[i] for i in range(len(requests))]

    return generate


def _stop_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Everything the model or its tokenizer calls an end: of a turn or of a text."""
    stops = {tokenizer.eos_token_id}
    configured = model.generation_config.eos_token_id
    stops.update(configured if isinstance(configured, list) else [configured])
    return sorted(stop for stop in stops if stop is not None)


def _decode_batch(
    model: Any, tokenizer: Any, settings: TeacherSettings, stops: list[int], requests: list[Request], prompts: list
) -> list[Sample]:
    import torch
    from transformers import LogitsProcessorList

    padded = tokenizer.pad({"input_ids": prompts}, return_tensors="pt").to(model.device)
    with torch.inference_mode():
        output = model.generate(
            **padded,
            max_new_tokens=max(request.max_new_tokens for request in requests),
            do_sample=False,
            logits_processor=LogitsProcessorList([SeededSampling(settings, [r.seed for r in requests])]),
            eos_token_id=stops,
            pad_token_id=tokenizer.pad_token_id,
        )
    samples = []
    for request, prompt, row in zip(requests, prompts, output[:, padded["input_ids"].shape[1] :].tolist(), strict=True):
        row = row[: request.max_new_tokens]
        end = next((i for i, token in enumerate(row) if token in stops), None)
        text = tokenizer.decode(row[:end], skip_special_tokens=True)
        count = len(row) if end is None else end + 1
        samples.append(Sample(request, text, "length" if end is None else "stop", len(prompt), count))
    return samples


def _batches(order: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _progress(batches: Iterable[list[int]], total: int, size: int) -> Iterator[list[int]]:
    """A bar over requests; a line a minute in a log."""
    from sys2ft.progress import progress_bar

    with progress_bar(total, "requests") as bar:
        for batch in batches:
            yield batch
            bar.update(min(size, len(batch)))
