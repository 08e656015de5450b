"""Engines: what runs a teacher.

`transformers` loads a model and decodes in batches (a laptop, a small GPU); `vllm` loads it into vLLM (GPUs);
`openai` asks a server that speaks OpenAI's protocol; `recorded` reads what was written before.
"""

from pathlib import Path

from sys2ft.settings.catalogue import TeacherSettings
from sys2ft.study.requests import Engine

SAMPLES = 1
"""Raise it when a change of code changes what an engine writes for a request: what is kept is then asked again."""


def open_engine(settings: TeacherSettings, source: Path | None, kind: str, gpus: int = 0) -> Engine:
    """Load the teacher once; what is returned answers any number of calls.

    Args:
        source: the teacher's `model.json`, or the file of recorded study data; None for a served model.
        kind: what is studied; tells recorded study data which to read.
        gpus: that the job has, for tensor parallelism.
    """
    if settings.engine == "openai":
        from sys2ft.study.engines.serving import OpenAiEngine

        return OpenAiEngine(settings)
    if source is None:
        raise ValueError(f"engine '{settings.engine}' needs --source")
    if settings.engine == "recorded":
        from sys2ft.study.engines.recorded import RecordedEngine

        return RecordedEngine(source, kind)
    if settings.engine == "vllm":
        from sys2ft.study.engines.vllm_offline import VllmEngine

        return VllmEngine(settings, source, gpus)
    from sys2ft.models import load_model, load_tokenizer
    from sys2ft.study.engines.running import TransformersEngine

    return TransformersEngine(settings, load_model(source), load_tokenizer(source))
