"""Half Fine-Tuning: half of each layer is trained, the other half frozen, and another half is drawn each round.

Source: Hui et al. (2024, arXiv 2404.18466), category-level selection. In each layer of Llama 2 two of the four
attention matrices are trained, two of the three feed-forward matrices in one half of the layers and one in the other,
and half of the norms. Embeddings and head are trained always.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from random import Random

import torch
from torch import Tensor, nn

from sys2ft.grid import derive_seed
from sys2ft.settings.methods import HalfSettings
from sys2ft.training.lines import layer_of

Blocks = dict[int, list[str]]


def block_of(name: str) -> str:
    """The module of a parameter: a matrix and its bias are one block, trained or frozen together."""
    path, _, leaf = name.rpartition(".")
    return path if leaf in ("weight", "bias") else name


def category_of(block: str) -> str:
    """`norm`, `attention` or `feed_forward`, by the names that transformers gives modules."""
    leaf = block.rpartition(".")[2]
    if "norm" in leaf or leaf.startswith("ln_"):  # asked first: post_attention_layernorm is no attention
        return "norm"
    return "attention" if "attn" in block or "attention" in block else "feed_forward"


def blocks_by_category(names: Sequence[str]) -> dict[str, Blocks]:
    """Category -> layer -> blocks; what is outside the layers is left out."""
    found: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name in names:
        layer = layer_of(name)
        if layer is not None:
            found[category_of(block_of(name))][layer].add(block_of(name))
    return {category: {n: sorted(blocks) for n, blocks in layers.items()} for category, layers in found.items()}


def draw_category(layers: Blocks, random: Random) -> set[str]:
    """Half of the blocks of each layer; of an odd number the larger half in one half of the layers, drawn too."""
    odd = sorted(layer for layer, blocks in layers.items() if len(blocks) % 2)
    # a coin for an odd number of odd layers, so that no side is favoured over the rounds
    larger = set(random.sample(odd, (len(odd) + random.randrange(2)) // 2))
    drawn: set[str] = set()
    for layer in sorted(layers):
        drawn.update(random.sample(layers[layer], len(layers[layer]) // 2 + (layer in larger)))
    return drawn


def draw_half(names: Sequence[str], seed: int, round_: int) -> set[str]:
    """The parameters that are trained in a round, embeddings, final norm and head always among them.

    Args:
        names: of a model's parameters, as transformers gives them.
        seed: of the run.
        round_: counts from 0; the same seed and round give the same half.
    """
    random = Random(derive_seed("half", seed, round_))
    categories = blocks_by_category(names)
    drawn = set().union(*(draw_category(categories[category], random) for category in sorted(categories)))
    return {name for name in names if layer_of(name) is None or block_of(name) in drawn}


class Half:
    """Freezes the other half of the weights before each update.

    Args:
        named_parameters: of the model, under the names of transformers.
        settings: length of a round.
        seed: of the draws.
    """

    def __init__(self, named_parameters: Mapping[str, nn.Parameter], settings: HalfSettings, seed: int):
        self.parameters, self.settings, self.seed = dict(named_parameters), settings, seed

    def before_update(self, step: int, optimiser: torch.optim.AdamW) -> None:  # noqa: ARG002  (as Lift is called)
        """Take the gradients of frozen parameters away: AdamW then leaves weight and moments bit for bit alone.

        Args:
            step: the update to come, from 1.
            optimiser: unused.
        """
        trained = draw_half(list(self.parameters), self.seed, (step - 1) // self.settings.round_steps)
        for name, parameter in self.parameters.items():
            if name not in trained:
                parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Nothing: a draw follows from seed and step."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state` returned."""
