"""Toy learners and a toy loop, run by the tests in one process and, as a script, by two processes under DeepSpeed.

As a script it is given the folder for its results (and cases, else all), and the environment of a launcher.
"""

import copy
import json
import os
import sys
import time
from itertools import product
from pathlib import Path

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from sys2ft.settings.catalogue import MethodSettings

WORLD, VOCABULARY, TOKENS, RANK = 2, 40, 6, 2
METHOD = MethodSettings(lr=1e-2, weight_decay=0.1, max_grad_norm=0.5, beta2=0.95)
PASSES = (1, 3, 1, 3, 3, 1)  # backward calls of each step
ACTIVE = [[True, step != 1, step < 3] for step in range(len(PASSES))]  # one rests once, one goes to rest for good
STAGES = (1, 2, 3)
CONFIGS = Path(__file__).parents[2] / "config" / "deepspeed"
# So small that everything is cut: buckets, groups, and parameters that would else stay whole.
TIGHT = {"reduce_bucket_size": 500, "stage3_param_persistence_threshold": 10, "sub_group_size": 700,
         "stage3_prefetch_bucket_size": 500}  # fmt: skip


def tiny_llama(dtype=torch.float32):
    torch.manual_seed(3)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(
        vocab_size=VOCABULARY, num_key_value_heads=1, max_position_embeddings=32, initializer_range=0.2, **shape
    )
    return LlamaForCausalLM(config).to(dtype)


def token_losses(logits, tokens):
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten(), reduction="none")


class Bank(nn.Module):
    """Three low-rank adapters on the values of every layer, each one flat parameter."""

    names = ("one", "two", "three")

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.model = tiny_llama(dtype).requires_grad_(False)
        self.linears = [layer.self_attn.v_proj for layer in self.model.model.layers]
        torch.manual_seed(5)
        for index in range(len(self.names)):
            size = sum(RANK * (linear.in_features + linear.out_features) for linear in self.linears)
            self.register_parameter(f"adapter_{index}", nn.Parameter(torch.randn(size) * 0.3))
        self.parts = {}
        for linear in self.linears:
            linear.register_forward_hook(self._add)

    def parameter_groups(self):
        return [[self.get_parameter(f"adapter_{index}")] for index in range(len(self.names))]

    def forward(self, tokens, owners):
        stacked = torch.stack([parameter for (parameter,) in self.parameter_groups()])[owners]
        parts = iter(stacked.split([RANK * 16, RANK * 8] * len(self.linears), 1))
        self.parts = {linear: (next(parts), next(parts)) for linear in self.linears}
        return token_losses(self.model(input_ids=tokens, use_cache=False).logits, tokens)

    def _add(self, linear, args, output):
        low, high = (part.to(output.dtype) for part in self.parts[linear])
        return output + args[0] @ low.view(-1, 16, RANK) @ high.view(-1, RANK, 8)


class ToyBank(nn.Module):
    """Three flat vectors of odd length on a frozen embedding: nothing here is divisible by the processes."""

    names = ("one", "two", "three")

    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.base = nn.Embedding(VOCABULARY, 7).requires_grad_(False)
        for index in range(len(self.names)):
            self.register_parameter(f"adapter_{index}", nn.Parameter(torch.randn(7) * 0.1))

    def parameter_groups(self):
        return [[self.get_parameter(f"adapter_{index}")] for index in range(len(self.names))]

    def forward(self, tokens, owners):
        weights = torch.stack([parameter for (parameter,) in self.parameter_groups()])[owners]
        return functional.softplus((self.base(tokens[:, 1:]) * weights[:, None]).sum(-1)).flatten()


class Full(nn.Module):
    """A whole model, in float32 or casting its own weights, as a loaded one that was in bfloat16 on disk.

    Args:
        recomputes: activations are computed again in the backward pass.
    """

    names = ("all",)

    def __init__(self, dtype=torch.float32, recomputes=False):
        super().__init__()
        self.model, self.dtype = tiny_llama(dtype).float(), dtype
        if recomputes:
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self.model.train(recomputes)

    def parameter_groups(self):
        return [list(self.parameters())]

    def forward(self, tokens, _owners):
        kept = {name: p for name, p in self.model.named_parameters() if p.dtype != self.dtype}
        arguments = {"input_ids": tokens, "use_cache": False}
        if not kept:  # under DeepSpeed the weights are in bfloat16 already, and gathered module by module
            return token_losses(self.model(**arguments).logits, tokens)
        cast = {name: p.to(self.dtype) for name, p in kept.items()}
        return token_losses(functional_call(self.model, cast, (), arguments).logits, tokens)


def make_pass(step, number, rank):
    """Tokens (R, T), their owners (R,), and weights (R * (T - 1),): those of a resting member count nothing."""
    generator = torch.Generator().manual_seed(1000 * step + 10 * number + rank)
    rows = 2 + (step + rank) % 3
    tokens = torch.randint(VOCABULARY, (rows, TOKENS), generator=generator)
    owners = torch.randint(3, (rows,), generator=generator)
    counts = torch.tensor(ACTIVE[step]).float()[owners] * 0.3
    if rank == 1 and number == 2:
        counts.zero_()  # this process has nothing left, and takes part all the same
    return tokens, owners, counts.repeat_interleave(TOKENS - 1)


def run_step(engine, step, ranks):
    """The passes of some ranks; returns each member's loss over all ranks and the norms."""
    members = len(engine.learner.names)
    losses = torch.zeros(members)
    for number, rank in product(range(PASSES[step]), ranks):
        tokens, owners, weights = make_pass(step, number, rank)
        weighted = engine.forward(tokens, owners) * weights
        engine.backward(weighted.sum())
        index = owners.repeat_interleave(TOKENS - 1) % members
        losses.index_add_(0, index, weighted.detach())
    active = ACTIVE[step] if members > 1 else [True]
    rates = [METHOD.lr * (1 + 0.5 * index) for index in range(members)]
    norms = engine.step(rates, active)
    return {"losses": engine.sum(losses).tolist(), "norms": norms}


def run(engine, steps, ranks):
    return [run_step(engine, step, ranks) for step in steps]


def weights(engine):
    """Clones of all trained parameters, whole."""
    with engine.gathered():
        return {name: p.detach().clone() for name, p in engine.learner.named_parameters() if p.requires_grad}


LEARNERS = {
    "toy": ToyBank,
    "bank": Bank,
    "full": Full,
    "checkpointed": lambda: Full(recomputes=True),
    "full_bfloat16": lambda: Full(torch.bfloat16),
    "bank_bfloat16": lambda: Bank(torch.bfloat16),
}
CASES = [f"{name}-{stage}" for name, stage in product(LEARNERS, STAGES) if name != "checkpointed" or stage == 3]


def open_case(case, folder):
    """An engine as the loop opens it."""
    from sys2ft.training.engines import open_engine

    name, stage = case.rsplit("-", 1)
    config = json.loads((CONFIGS / f"zero{stage}.json").read_text())
    if name != "toy":
        config["zero_optimization"] |= TIGHT
    path = folder / f"{case}-{os.environ['RANK']}.json"
    path.write_text(json.dumps(config))
    return open_engine(LEARNERS[name](), METHOD, path, "bfloat16" if "bfloat16" in name else "float32")


def run_case(case, folder):
    """Six steps; three of them again from a checkpoint; one with a loss that is not finite."""
    half = len(PASSES) // 2
    engine = open_case(case, folder)
    ranks = [engine.rank]
    log = run(engine, range(half), ranks)
    before = copy.deepcopy(weights(engine))
    engine.save(folder / f"{case}-saved")
    log += run(engine, range(half, len(PASSES)), ranks)
    after = weights(engine)
    tokens, owners, _ = make_pass(0, 0, engine.rank)
    engine.backward((engine.forward(tokens, owners) * float("nan")).sum())
    spoiled = engine.step([1.0] * len(engine.learner.names), [True] * len(engine.learner.names))
    kept = weights(engine)
    engine.engine.destroy()
    engine = open_case(case, folder)
    engine.load(folder / f"{case}-saved")
    loaded = weights(engine)
    again = run(engine, range(half, len(PASSES)), ranks)
    result = {"log": log, "weights": after, "spoiled": spoiled, "kept": kept, "before": before, "loaded": loaded,
              "again": again, "weights_again": weights(engine)}  # fmt: skip
    if engine.rank == 0:
        torch.save(result, folder / f"{case}.pt")
    engine.engine.destroy()


def main():
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    for case in sys.argv[2:] or CASES:
        began = time.perf_counter()
        run_case(case, folder)
        if os.environ["RANK"] == "0":
            print(f"{case} {time.perf_counter() - began:.2f} s", flush=True)


if __name__ == "__main__":
    main()
