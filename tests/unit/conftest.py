"""Tiny real models, made on the spot by the same code that makes the smoke study's."""

import json
from pathlib import Path

import pytest

from sys2ft.models import load_model, load_tokenizer, prepare_model
from sys2ft.settings.stages import PrepareModelStage

SHAPES = {
    "llama": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 2048,
    },
    "qwen2": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 2048,
    },
    "gemma2": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 2048, "sliding_window": 256,
    },
    "gpt_neox": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": 2048,
    },
}  # fmt: skip


def make_model(architecture: str, folder: Path) -> Path:
    """Prepare a random float32 model; returns its model.json."""
    source = {"kind": "random", "architecture": architecture, "shape": SHAPES[architecture], "seed": 3}
    stage = PrepareModelStage.model_validate({"source": source, "dtype": "float32"})
    manifest = prepare_model(stage, folder / "weights")
    (folder / "model.json").write_text(json.dumps(manifest))
    return folder / "model.json"


@pytest.fixture(scope="session")
def manifests(tmp_path_factory):
    return {name: make_model(name, tmp_path_factory.mktemp(name)) for name in SHAPES}


@pytest.fixture(scope="session")
def llama(manifests):
    return manifests["llama"]


@pytest.fixture
def model(llama):
    return load_model(llama)


@pytest.fixture(scope="session")
def tokenizer(llama):
    return load_tokenizer(llama)
