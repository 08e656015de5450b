"""The engine `transformers`: a resident model that decodes in batches."""

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sys2ft.chat import Message, render_prompt
from sys2ft.settings.catalogue import TeacherSettings
from sys2ft.study.requests import Request, Sample, check_length

if TYPE_CHECKING:
    import torch


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

        top_k = min(self.settings.top_k or scores.shape[-1], scores.shape[-1])
        values, tokens = torch.topk(scores.float() / self.settings.temperature, top_k, dim=-1)
        probabilities = values.softmax(-1)
        outside = probabilities.cumsum(-1) - probabilities >= self.settings.top_p
        values = values.masked_fill(outside, float("-inf"))
        noise = torch.stack([torch.rand(top_k, generator=g, dtype=torch.float64) for g in self.generators])
        gumbel = -torch.log(-torch.log(noise.clamp(1e-300, 1 - 1e-16)))
        drawn = tokens.gather(-1, (values + gumbel.to(values)).argmax(-1, keepdim=True))
        return torch.full_like(scores, float("-inf")).scatter(-1, drawn, 0.0)


class TransformersEngine:
    """A resident model that samples in batches."""

    def __init__(self, settings: TeacherSettings, model: Any, tokenizer: Any):
        from transformers import GenerationConfig

        self.settings, self.model, self.tokenizer = settings, model, tokenizer
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.stops = stop_tokens(self.model.generation_config, self.tokenizer)
        # A model may ship sampling of its own, such as a repetition penalty; what counts is the request's.
        self.model.generation_config = GenerationConfig(
            do_sample=False, eos_token_id=self.stops, pad_token_id=self.tokenizer.pad_token_id
        )

    def __call__(self, requests: Sequence[Request]) -> Iterator[list[Sample]]:
        """A batch at a time.

        A batch holds neighbouring requests of one call and item: their prompts share the news, and what is decoded
        together depends neither on other items nor on where a run was interrupted, nor, but for a last group that a
        larger budget fills up, on the budget. (In bf16 a row's rounding depends on its batch.)

        Raises:
            ValueError: a prompt with its completion is longer than the model's context; names the request.
        """
        prompts = render_prompts(self.tokenizer, requests)
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        for request in requests:
            check_length(request, len(prompts[request.id]), limit, self.model.name_or_path)
        for _, batch in itertools.groupby(requests, self._batch_of):
            together = list(batch)
            yield self._decode(together, [prompts[request.id] for request in together])

    def _batch_of(self, request: Request) -> tuple[str, str, int]:
        return request.call, request.item, request.number // self.settings.batch_size

    def _decode(self, requests: list[Request], prompts: list[list[int]]) -> list[Sample]:
        """One batch, decoded to the longest limit in it; each row is cut at its own end."""
        import torch
        from transformers import LogitsProcessorList

        padded = self.tokenizer.pad({"input_ids": prompts}, return_tensors="pt").to(self.model.device)
        sampling = SeededSampling(self.settings, [request.seed for request in requests])
        with torch.inference_mode():
            output = self.model.generate(
                **padded,
                max_new_tokens=max(request.max_new_tokens for request in requests),
                logits_processor=LogitsProcessorList([sampling]),
            )
        written = output[:, padded["input_ids"].shape[1] :].tolist()
        samples = []
        for request, prompt, row in zip(requests, prompts, written, strict=True):
            row = row[: request.max_new_tokens]
            end = next((i for i, token in enumerate(row) if token in self.stops), None)
            text = self.tokenizer.decode(row[:end], skip_special_tokens=True)
            count = len(row) if end is None else end + 1
            samples.append(Sample(request, text, "length" if end is None else "stop", len(prompt), count))
        return samples


def render_prompts(tokenizer: Any, requests: Sequence[Request]) -> dict[str, list[int]]:
    """Token ids of each request's prompt, by its id; a prompt that many requests share is rendered and held once."""
    rendered: dict[tuple[Message, ...], list[int]] = {}
    for request in requests:
        if request.messages not in rendered:
            rendered[request.messages] = render_prompt(tokenizer, request.messages)
    return {request.id: rendered[request.messages] for request in requests}


def stop_tokens(generation_config: Any, tokenizer: Any) -> list[int]:
    """Everything the model or its tokenizer calls an end: of a turn or of a text."""
    stops = {tokenizer.eos_token_id}
    configured = generation_config.eos_token_id
    stops.update(configured if isinstance(configured, list) else [configured])
    return sorted(stop for stop in stops if stop is not None)
