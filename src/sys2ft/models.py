"""Language models: found, checked, converted once to safetensors, loaded.

`prepare_model` runs once a model, where the network is, and leaves a small `model.json` that says where the weights
are and which they are; everything after loads from that. Nothing is unpickled and no remote code runs.
"""

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sys2ft.errors import InputError
from sys2ft.settings.base import Dtype
from sys2ft.settings.catalogue import GgufSource, ModelSettings, RandomSource, TeacherSettings
from sys2ft.settings.stages import PrepareModelStage

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

GENERIC_TOKENIZERS = ("PreTrainedTokenizerFast", "TokenizersBackend")
FIXED_DAY = "{% macro strftime_now(form) %}26 Jul 2024{% endmacro %}"
HUB_FILES = ["*.safetensors", "*.json", "tokenizer.model", "merges.txt", "vocab.txt", "*.jinja"]


def gguf_path(source: GgufSource, field: str = "source", file: str | Path = "config") -> Path:
    """Where the GGUF file is; a package is found without importing it.

    Raises:
        InputError: the package or the file is missing.
    """
    folder = Path()
    if source.package is not None:
        try:
            spec = importlib.util.find_spec(source.package)
        except (ModuleNotFoundError, ValueError):
            spec = None
        if spec is None or not spec.submodule_search_locations:
            mend = "install it (`make setup` does for the embedded model)"
            raise InputError(file, f"{field}.package", f"the package '{source.package}' is not installed", mend)
        folder = Path(next(iter(spec.submodule_search_locations)))
    path = folder / source.file
    if not path.is_file():
        raise InputError(file, f"{field}.file", f"there is no file {path}", "correct the path, or fetch the file")
    return path


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_source(name: str, settings: ModelSettings, file: str | Path) -> None:
    """Check what can be checked of a model before any work starts: the file exists and is the one meant.

    Raises:
        InputError: a file is missing or has another checksum.
    """
    field, source = f"models.{name}.source", settings.source
    if source.kind == "gguf":
        path = gguf_path(source, field, file)
        if (found := file_sha256(path)) != source.sha256:
            mend = f"fetch the file again, or write {found} if this is the file you mean"
            raise InputError(file, f"{field}.sha256", f"{path} has another checksum", mend)
    if source.kind == "directory":
        folder = Path(source.path)
        for needed, found_any in [
            ("config.json", (folder / "config.json").is_file()),
            ("*.safetensors", any(folder.glob("*.safetensors"))),
        ]:
            if not found_any:
                raise InputError(file, f"{field}.path", f"{folder} has no {needed}", "name a saved model's directory")


def check_prepared(name: str, settings: ModelSettings, manifest_path: Path, file: str | Path) -> None:
    """Check that what a prepared model was made from is still there as it was.

    Raises:
        InputError: a file is missing, or another one than was prepared.
    """
    source = settings.source
    try:
        manifest = load_manifest(manifest_path)
    except ValueError:  # damaged: `sys2ft verify` says so, and removes it
        manifest = {}
    if source.kind == "gguf" and manifest.get("revision") != source.sha256:
        check_source(name, settings, file)  # it will be prepared anew
    if source.kind == "directory":
        check_source(name, settings, file)
        seen = manifest.get("seen")
        if seen is None or manifest["weights"] != source.path or seen == _seen_files(Path(source.path)):
            return
        if manifest["revision"] != _directory_digest(Path(source.path)):
            mend = f"give the changed model a name of its own, or delete {manifest_path} to begin anew with it"
            raise InputError(file, f"models.{name}.source.path", f"{source.path} is not what was prepared", mend)


def _read_files(folder: Path) -> list[Path]:
    """What is loaded of a saved model."""
    return [path for path in sorted(folder.iterdir()) if any(path.match(pattern) for pattern in HUB_FILES)]


def _seen_files(folder: Path) -> dict[str, list[int]]:
    """Size and time of a saved model's files."""
    return {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in _read_files(folder)}


def _directory_digest(folder: Path) -> str:
    told = {path.name: file_sha256(path) for path in _read_files(folder)}
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def prepare_model(stage: PrepareModelStage, folder: Path) -> dict[str, Any]:
    """Make a model ready to load and describe it.

    Args:
        stage: the source and the precision to keep.
        folder: where converted weights are written; stays empty for a model that needs no conversion.

    Returns:
        The content of `model.json`: `weights` (a directory; null for the folder `weights` beside it, or a hub
        repository), `revision` (a commit or a digest), `parameters`, `dtype`, `context_tokens`, `files` with the
        SHA-256 of each file that was converted, and of a directory `seen`, size and time of its files.

    Raises:
        InputError: a GGUF file is not the one that is meant.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = stage.source
    weights: str | None = None
    hub_revision: str | None = None
    seen: dict[str, list[int]] | None = None
    if source.kind == "hub":
        import huggingface_hub

        huggingface_hub.snapshot_download(source.repository, revision=source.revision, allow_patterns=HUB_FILES)
        weights, revision, hub_revision = source.repository, source.revision, source.revision
    elif source.kind == "directory":
        weights = source.path
        seen = _seen_files(Path(source.path))
        revision = _directory_digest(Path(source.path))
    elif source.kind == "gguf":
        _convert_gguf(source, stage.dtype, folder)
        revision = source.sha256
    else:
        _make_random(source, folder)
        revision = hashlib.sha256(source.model_dump_json().encode()).hexdigest()
    manifest = {"weights": weights, "hub_revision": hub_revision, "revision": revision, "dtype": stage.dtype}
    files = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    told = {"files": files} if seen is None else {"files": files, "seen": seen}
    return {**manifest, **_describe(weights or str(folder), hub_revision), **told}


def damaged_files(manifest_path: Path) -> list[str]:
    """The converted weights beside a `model.json` that are missing or are not those that were written.

    Raises:
        OSError, ValueError: the manifest cannot be read.
    """
    folder = manifest_path.parent / "weights"
    return [
        f"weights/{name}"
        for name, digest in load_manifest(manifest_path).get("files", {}).items()
        if not (folder / name).is_file() or file_sha256(folder / name) != digest
    ]


def _describe(weights: str, hub_revision: str | None) -> dict[str, Any]:
    """Parameters (counted on a model without storage) and context length."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(weights, revision=hub_revision or "main")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    context = getattr(config, "max_position_embeddings", None)
    return {"parameters": model.num_parameters(), "context_tokens": context, "architecture": config.model_type}


def _convert_gguf(source: GgufSource, dtype: Dtype, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = gguf_path(source)
    if (found := file_sha256(path)) != source.sha256:
        raise InputError(path, "", f"has the checksum {found}", f"fetch the file of {source.sha256} again")
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    # The weights are dequantised now; without this transformers would refuse to save them.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _make_random(source: RandomSource, folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {token: index for index, token in enumerate([*special, *alphabet])}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>", additional_special_tokens=special
    )
    ids = {"vocab_size": len(vocabulary), "eos_token_id": 2, "pad_token_id": 0, "bos_token_id": 0}
    config = AutoConfig.for_model(source.architecture, **ids, **source.shape)
    torch.manual_seed(source.seed)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load_manifest(path: str | Path) -> dict[str, Any]:
    """What `prepare_model` wrote: the `model.json` at `path`."""
    return json.loads(Path(path).read_text())


def converted_weights(source: Path | None) -> dict[str, str]:
    """Digests of weights that were converted here, which a revision does not tell.

    Args:
        source: a `model.json`; of recorded study data and served models there are none.
    """
    files = load_manifest(source).get("files", {}) if source is not None and source.name == "model.json" else {}
    return {name: digest for name, digest in files.items() if name.endswith(".safetensors")}


def describe_teacher(settings: TeacherSettings, source: Path | None) -> tuple[str, int | None]:
    """Which weights, or which file, write study data, and how many parameters they have.

    Args:
        source: the `model.json` of a prepared model, or a file of recorded study data; None for a served model.

    Returns:
        A revision: a commit or digest and the precision, or what the user says is served; and the parameters, None
        where unknown.
    """
    if source is None:
        return f"{settings.served_model}@{settings.revision}", settings.parameters
    if settings.engine == "recorded":
        return file_sha256(source), None
    manifest = load_manifest(source)
    return f"{manifest['revision']} {manifest['dtype']}", manifest["parameters"]


def find_weights(manifest_path: str | Path) -> tuple[dict[str, Any], str, dict[str, str]]:
    """A prepared model's manifest, its weights (a folder or a hub repository) and what names the hub's revision."""
    manifest = load_manifest(manifest_path)
    weights = manifest["weights"] or str(Path(manifest_path).parent / "weights")
    # A hub model was fetched by `prepare_model`: compute nodes often have no network.
    hub = {"revision": manifest["hub_revision"]} if manifest["hub_revision"] else {}
    return manifest, weights, hub


def load_tokenizer(manifest_path: str | Path) -> "PreTrainedTokenizerBase":
    """The model's tokenizer; one without a chat template gets the plain one of `chat.py`."""
    from sys2ft.chat import PLAIN_TEMPLATE

    _, weights, hub = find_weights(manifest_path)
    described = Path(weights) / "tokenizer_config.json"
    if described.is_file() and json.loads(described.read_text()).get("tokenizer_class") in GENERIC_TOKENIZERS:
        from transformers import PreTrainedTokenizerFast  # the class that is named; finding it out imports torch: 3 s

        tokenizer = PreTrainedTokenizerFast.from_pretrained(weights)
    else:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(weights, **hub)
    if isinstance(tokenizer.chat_template, str) and "strftime_now" in tokenizer.chat_template:
        # Some templates tell today's date; prompts must not depend on the day a job runs.
        tokenizer.chat_template = FIXED_DAY + tokenizer.chat_template
    if tokenizer.chat_template is None:
        print(f"{weights}: no chat template; the plain one is used")
        tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def load_config(manifest_path: str | Path) -> Any:
    """The model's configuration, without its weights."""
    from transformers import AutoConfig

    _, weights, hub = find_weights(manifest_path)
    return AutoConfig.from_pretrained(weights, **hub)


def load_generation_config(manifest_path: str | Path) -> Any:
    """What the model says of generation, its end tokens among it; a trained model has its base's."""
    from transformers import GenerationConfig

    _, weights, hub = find_weights(manifest_path)
    try:
        return GenerationConfig.from_pretrained(weights, **hub)
    except OSError:
        return GenerationConfig.from_model_config(load_config(manifest_path))


def load_model(manifest_path: str | Path, dtype: Dtype | None = None, device: str | None = None) -> "PreTrainedModel":
    """The frozen model in evaluation mode, in its own dtype or another, on the GPU where there is one or elsewhere."""
    manifest, weights, hub = find_weights(manifest_path)
    return _load_weights(weights, dtype or manifest["dtype"], hub, device)


def load_trained(folder: Path) -> "PreTrainedModel":
    """The same of a fully trained model, as fine-tuning wrote it, in the precision it was written in."""
    return _load_weights(str(folder), "auto", {})


def _load_weights(weights: str, dtype: str, hub: dict[str, str], device: str | None = None) -> "PreTrainedModel":
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(weights, dtype=dtype, use_safetensors=True, **hub)
    model.requires_grad_(False).eval()
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
