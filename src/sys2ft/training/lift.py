"""LIFT: only principal weights are trained, the entries of each matrix that are largest after rank reduction.

Source: Liu et al. (2025, arXiv 2506.00772), section 3.2 and algorithm 1. The authors' code trains the matrices of
the linear modules in the layers; biases, norms, embeddings and head stay as they are.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sys2ft.settings.methods import LiftSettings
from sys2ft.training.lines import layer_of

MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")


@torch.no_grad()
def principal_mask(weight: Tensor, rank: int, density: float) -> Tensor:
    """Where the best approximation of a rank has its largest magnitudes.

    The approximation is exact, by the eigenvectors of the smaller Gram matrix: cheaper than a singular value
    decomposition, in no need of a seed, and the smaller side squared of memory. `torch.svd_lowrank` is cheaper still,
    but with its 2 to 4 iterations it finds only a third to four fifths of the entries where singular values fall
    slowly.

    Args:
        weight: (M, N), any precision; computed in float32.
        rank: of the approximation.
        density: share of the entries that is chosen, rounded to whole entries, at least one.

    Returns:
        (M, N) boolean, on the weight's device.
    """
    matrix = weight.detach().float()
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    vectors = torch.linalg.eigh(wide @ wide.T).eigenvectors[:, -rank:]  # eigenvalues ascend
    reduced = vectors @ (vectors.T @ wide)
    magnitudes = (reduced if wide is matrix else reduced.T).abs().flatten()
    mask = torch.zeros_like(magnitudes, dtype=torch.bool)
    mask[magnitudes.topk(max(1, round(density * magnitudes.numel()))).indices] = True
    return mask.view(weight.shape)


class Lift:
    """Keeps updates to principal weights. AdamW must have no weight decay, which moves what has no gradient.

    Args:
        named_parameters: of the model, under the names of transformers; two-dimensional ones in layers are trained.
        settings: rank, density and how often the entries are chosen again.
        seed: unused, as nothing is drawn.

    Raises:
        ValueError: the layers have no matrix.
    """

    def __init__(
        self,
        named_parameters: Mapping[str, nn.Parameter],
        settings: LiftSettings,
        seed: int,  # noqa: ARG002  (as Half is made)
    ):
        self.parameters, self.settings = dict(named_parameters), settings
        self.matrices = {n: p for n, p in self.parameters.items() if p.dim() == 2 and layer_of(n) is not None}
        if not self.matrices:
            raise ValueError("LIFT trains the matrices of a model's layers, and there are none")
        self.masks: dict[str, Tensor] = {}

    def before_update(self, step: int, optimiser: torch.optim.AdamW) -> None:
        """Zero the gradients outside the masks, and take those of other parameters away.

        Args:
            step: the update to come, from 1. Masks are made before the first and at multiples of `refresh_steps`.
            optimiser: its moments of entries that are not chosen are zeroed when masks are made.
        """
        if not self.masks or step % self.settings.refresh_steps == 0:
            self._choose(optimiser)
        for name, parameter in self.parameters.items():
            if name not in self.masks:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.masked_fill_(~self.masks[name], 0)

    def _choose(self, optimiser: torch.optim.AdamW) -> None:
        """New masks from the current weights; an entry that leaves would otherwise move on by its moments."""
        for name, parameter in self.matrices.items():
            mask = principal_mask(parameter, self.settings.rank, self.settings.density)
            moments = optimiser.state.get(parameter, {})
            for moment in MOMENTS:
                if moment in moments:
                    moments[moment].masked_fill_(~mask, 0)
            self.masks[name] = mask

    def state(self) -> dict[str, Tensor]:
        """The masks, boolean, by parameter: they follow from weights that are gone when training goes on."""
        return dict(self.masks)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state` returned.

        Raises:
            ValueError: the masks are of other parameters.
        """
        if state and state.keys() != self.matrices.keys():
            raise ValueError(f"masks and matrices differ in names: {min(state.keys() ^ self.matrices.keys())}")
        self.masks = {name: mask.to(self.matrices[name].device, torch.bool) for name, mask in state.items()}
