"""LiNeS: after training, each layer's update is scaled by its depth.

Source: Wang et al. (2024, arXiv 2410.17146), definition of LiNeS: layer l of L keeps alpha + beta (l - 1) / (L - 1)
of its update, so that shallow layers stay near the base. What is no layer (embeddings, final norm, head) keeps alpha,
as in the authors' code (`LiNeS_scaling`); a head that shares its weights with the embeddings has one factor, then.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from sys2ft.settings.methods import LinesSettings

LAYER = re.compile(r"\.(\d+)(?:\.|$)")


def layer_of(name: str) -> int | None:
    """The number, from 0, of the layer that a parameter or module belongs to; None outside the layers.

    It is the first number in the path: `model.layers.3.mlp.experts.5` is in layer 3.
    """
    found = LAYER.search(name)
    return None if found is None else int(found.group(1))


def depth_scales(names: Iterable[str], alpha: float, beta: float) -> dict[str, float]:
    """The factor of each parameter or module.

    Args:
        names: their paths; the last layer must be among them, as L is the highest number found.
        alpha: factor of the first layer, and of what is no layer.
        beta: what the last layer has beyond that.

    Raises:
        ValueError: there are fewer than two layers, which have no first and last.
    """
    layers = {name: layer_of(name) for name in names}
    last = max((layer for layer in layers.values() if layer is not None), default=0)
    if last == 0:
        raise ValueError("updates are scaled from the first to the last layer, and the names hold fewer than two")
    return {name: alpha + beta * (layer or 0) / last for name, layer in layers.items()}


def scale_update(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], settings: LinesSettings
) -> dict[str, Tensor]:
    """Full weights: before + factor * (after - before), in the precision of `after`.

    Args:
        before: the base's parameters by name.
        after: the same ones after training.
        settings: alpha and beta.

    Raises:
        ValueError: the names differ, or there are fewer than two layers.
    """
    if before.keys() != after.keys():
        raise ValueError(f"weights before and after differ in names: {min(before.keys() ^ after.keys())}")
    factors = depth_scales(after, settings.alpha, settings.beta)
    # lerp gives the end itself at a factor of 1, which a sum of base and difference does not
    return {
        name: torch.lerp(before[name].float(), tensor.float(), factors[name]).to(tensor.dtype)
        for name, tensor in after.items()
    }


def scale_lora(state: Mapping[str, Tensor], settings: LinesSettings) -> dict[str, Tensor]:
    """An adapter in PEFT's names, every B scaled: the update B A is linear in it.

    Args:
        state: `base_model.model.<path>.lora_A.weight` (rank, in) and `.lora_B.weight` (out, rank), of all layers.
        settings: alpha and beta.

    Raises:
        ValueError: something else is in the state, or there are fewer than two layers.
    """
    factors = depth_scales(state, settings.alpha, settings.beta)
    for name in state:
        if not re.search(r"\.lora_[AB]\.", name):
            raise ValueError(f"{name} is no matrix of a LoRA, so its update cannot be scaled")
    return {name: tensor * factors[name] if ".lora_B." in name else tensor for name, tensor in state.items()}
