"""A tiny real model that says what a test asks for, and otherwise says something of its own.

What it writes next follows from the token before, and there from its whole prompt and seed: after `!` comes PHRASE,
after `.` the end of its turn, after anything else whatever is drawn. Every engine can load it.
"""

import itertools
import json
from pathlib import Path

from sys2ft.models import load_model, load_tokenizer, prepare_model
from sys2ft.settings.stages import PrepareModelStage

PHRASE = "é雪🙂"
"""Of two, three and four bytes, and so of as many tokens; no byte twice."""
CONTEXT = 2048
SHAPE = {
    "hidden_size": 288,  # a dimension for each of the 259 tokens; vLLM's attention on CPUs wants heads of 32
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": CONTEXT,
}


def make_speaker(folder: Path) -> Path:
    """Prepare the model in `folder`; returns its model.json."""
    import torch

    source = {"kind": "random", "architecture": "llama", "shape": SHAPE, "seed": 3}
    manifest = folder / "model.json"
    stage = PrepareModelStage.model_validate({"source": source, "dtype": "float32"})
    manifest.write_text(json.dumps(prepare_model(stage, folder / "weights")))
    model, tokenizer = load_model(manifest), load_tokenizer(manifest)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    exclamation, stop = tokenizer("!").input_ids + tokenizer(".").input_ids
    chain = [exclamation, *tokenizer(PHRASE).input_ids, tokenizer.eos_token_id]
    with torch.no_grad():
        embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        embeddings.copy_(torch.eye(*embeddings.shape))
        head.normal_(std=0.15, generator=torch.Generator().manual_seed(5))
        for token, following in [*itertools.pairwise(chain), (stop, tokenizer.eos_token_id)]:
            head[following, token] = 3.0
    model.save_pretrained(folder / "weights")
    tokenizer.save_pretrained(folder / "weights")
    return manifest
