"""The engine `vllm`: a model inside vLLM, which batches continuously and keeps the prompts that requests share.

vLLM pins a torch of its own and so has an environment of its own (`make generate`). The prompt is rendered and the
text decoded here, so that this engine says what `transformers` says of a model.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sys2ft.settings.catalogue import TeacherSettings
from sys2ft.study.engines.running import render_prompts, stop_tokens
from sys2ft.study.requests import Request, Sample, check_length

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

ENVIRONMENT = {
    # The scheduler in this process: requests are scheduled in the order they were given, not as messages arrive, so
    # that a run can be repeated where rounding depends on the batch; and no process is left behind.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}
"""What vLLM reads from the environment; what the user has set stays."""
CPU_CACHE_BYTES = 2 << 30
"""Of the key-value cache in main memory, unless VLLM_CPU_KVCACHE_SPACE says otherwise (vLLM would take all of it)."""
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The largest ranks of adapters that vLLM can be opened for."""
CPU_BLOCK_TOKENS = 32
"""Prompts are shared in whole blocks; vLLM's 128 on a CPU would compute up to 127 shared tokens again."""


class VllmEngine:
    """A model inside vLLM, on the job's GPUs or, with a CPU build, in main memory.

    Args:
        source: the model's `model.json`.
        gpus: the model is spread over as many.
        weights: a folder with weights that were trained from it; None: its own.
        rank: of the adapters that are to be put on; 0: none are.
    """

    def __init__(self, settings: TeacherSettings, source: Path, gpus: int, weights: Path | None = None, rank: int = 0):
        from sys2ft.models import load_generation_config, load_tokenizer

        self.settings = settings
        self.tokenizer = load_tokenizer(source)
        self.llm = _load(settings, source, gpus, weights, rank)
        self.adapter: LoRARequest | None = None
        self.adapters: dict[str, int] = {}
        self.stops = stop_tokens(load_generation_config(source), self.tokenizer)

    def put_on(self, digest: str, folder: Path) -> None:
        """Answer with an adapter from now on.

        Args:
            digest: its name in vLLM, which keeps adapters and prompts under it: no other may ever have it.
        """
        from vllm.lora.request import LoRARequest

        number = self.adapters.setdefault(digest, len(self.adapters) + 1)
        self.adapter = LoRARequest(digest, number, str(folder.resolve()))

    def __call__(self, requests: Sequence[Request]) -> Iterator[list[Sample]]:
        """What one step finished, at a time.

        Raises:
            ValueError: a prompt with its completion is longer than the model's context; names the request.
        """
        from vllm.inputs import TokensPrompt

        prompts, config = render_prompts(self.tokenizer, requests), self.llm.model_config
        for request in requests:
            check_length(request, len(prompts[request.id]), config.max_model_len, config.model)
        engine, waiting = self.llm.llm_engine, {request.id: request for request in requests}
        try:
            for request in requests:
                (rendered,) = self.llm.renderer.render_cmpl([TokensPrompt(prompt_token_ids=prompts[request.id])])
                engine.add_request(request.id, rendered, self._sampling(request), lora_request=self.adapter)
            while waiting:
                finished = [output for output in engine.step() if output.finished]
                if finished:
                    yield [self._sample(waiting.pop(output.request_id), output) for output in finished]
        finally:
            engine.abort_request(list(waiting))  # of a call that was not read to its end

    def _sampling(self, request: Request) -> "SamplingParams":
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            seed=request.seed,
            temperature=self.settings.temperature,
            top_p=self.settings.top_p,
            top_k=self.settings.top_k or -1,
            max_tokens=request.max_new_tokens,
            stop_token_ids=self.stops,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _sample(self, request: Request, output: Any) -> Sample:
        (written,) = output.outputs
        tokens = list(written.token_ids)
        ended = bool(tokens) and tokens[-1] in self.stops
        text = self.tokenizer.decode(tokens[:-1] if ended else tokens, skip_special_tokens=True)
        counts = len(output.prompt_token_ids), len(tokens), output.num_cached_tokens
        return Sample(request, text, "stop" if ended else "length", *counts)


def _load(settings: TeacherSettings, source: Path, gpus: int, trained: Path | None, rank: int) -> Any:
    """The model in vLLM, with as much of its context as the cache has room for."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from vllm import LLM
    from vllm.platforms import current_platform

    from sys2ft.models import HUB_FILES, find_weights

    manifest, weights, hub = find_weights(source)
    if hub:
        import huggingface_hub

        # `prepare_model` fetched it: compute nodes often have no network.
        weights = huggingface_hub.snapshot_download(weights, allow_patterns=HUB_FILES, local_files_only=True, **hub)
    on_cpu: dict[str, Any] = {}
    if current_platform.is_cpu():
        if gpus:
            raise RuntimeError(
                f"the job has {gpus} GPUs, and this vLLM is built for CPUs. To mend: `make generate BUILD=generate`"
            )
        on_cpu = {"enforce_eager": True, "block_size": CPU_BLOCK_TOKENS}
        if not os.environ.get("VLLM_CPU_KVCACHE_SPACE"):
            on_cpu["kv_cache_memory_bytes"] = CPU_CACHE_BYTES
    lora = {"enable_lora": True, "max_lora_rank": min(r for r in LORA_RANKS if r >= rank)} if rank else {}
    return LLM(
        model=weights if trained is None else str(trained),
        tokenizer=weights,
        dtype=manifest["dtype"],
        tensor_parallel_size=max(1, gpus),
        max_num_seqs=settings.batch_size,
        max_model_len=-1,
        enable_prefix_caching=True,
        **on_cpu,
        **lora,
    )
