"""Memory of fine-tuning as foretold, against PyTorch's own account of a step of the same model.

    python benchmarks/accuracy/finetuning.py [--only REGEX] [--real] [--parts] [--published]

The models are transformers' own (Phi3ForCausalLM, PhiForCausalLM) with adapters on all matrices of the layers, gradient
checkpointing and AdamW's moments. By default nothing is computed: FakeTensorMode gives every tensor its size and no
memory, and MemTracker (torch.distributed._tools) adds up what is alive, storage by storage, so that whole models of
true size are counted on any machine. ``--real`` computes slices of two layers on the CPU, whose account must be the
same. ``--published`` compares with peaks that others measured on an A100. **None of it ran on a GPU**: what CUDA's
allocator adds is not in it.

Mixtures of experts: a layer of the same operations stands here in place of transformers' own, whose experts are one
tensor that no adapter can be put beside; each expert gets an equal share of the tokens.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import statistics
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest import mock

import msgspec
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.nn import functional

from phibench import catalog
from phibench.backends.torch import build
from phibench.catalog.plans import gguf_layout, hf_config, plan
from phibench.catalog.plans.base import Plan
from phibench.catalog.tensor_types import Tensor
from phibench.core.nouns import Shape, Training
from phibench.predict import finetuning

STEPS = ((16, 512, 1), (16, 2048, 1), (64, 1024, 4), (256, 4096, 2))  # rank, sequence, batch
MOST = 0.10  # error that is asked for, of all but the frozen weights
MB = 1e6


class Case(NamedTuple):
    variant: str
    layers: int | None  # None: all
    rank: int
    sequence: int
    batch: int
    vocab: int | None = None  # another one than the variant's: few words let the layers decide, not the loss

    @property
    def training(self) -> Training:
        return Training(rank=self.rank, sequence_tokens=self.sequence, batch=self.batch)


class Tracker(MemTracker):  # type: ignore[misc]  # torch is not followed
    """Puts no hook on weights, which fails for frozen ones; they only tell gradients from what passes by. Keeps the
    peak of the whole, not of each module, which would be looked through at every operation."""

    def _update_peak_stats(self, peak_state: Any) -> None:
        del peak_state
        for device, alive in self._curr_mem_snap.items():
            if self._peak_mem.get(device, 0) < alive["Total"]:
                self._peak_mem[device] = alive["Total"]
                self._peak_mem_snap[device] = dict(alive)

    def _track_module_params_and_buffers(self, module: nn.Module, install_grad_hooks: bool = False) -> tuple[int, int]:
        del install_grad_hooks
        found: tuple[int, int] = super()._track_module_params_and_buffers(module, install_grad_hooks=False)
        return found


class Adapted(nn.Module):  # type: ignore[misc]  # torch is not followed
    """A frozen matrix with an adapter beside it, multiplied in the type of what comes in, as autocast does it."""

    def __init__(self, frozen: nn.Linear, rank: int) -> None:
        super().__init__()
        self.frozen = frozen
        self.down = nn.Parameter(torch.randn(rank, frozen.in_features, dtype=torch.float32) * 0.01)
        self.up = nn.Parameter(torch.zeros(frozen.out_features, rank, dtype=torch.float32))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        few = functional.linear(states, self.down.to(states.dtype))
        return self.frozen(states) + functional.linear(few, self.up.to(states.dtype)) * 2.0


class Experts(nn.Module):  # type: ignore[misc]  # torch is not followed
    """In the place of an MLP: every token passes ``experts_used`` of ``experts``."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.used = shape.experts_used
        self.router = nn.Linear(shape.hidden, shape.experts, bias=False)
        self.gate = nn.ModuleList(nn.Linear(shape.hidden, shape.ffn, bias=False) for _ in range(shape.experts))
        self.up = nn.ModuleList(nn.Linear(shape.hidden, shape.ffn, bias=False) for _ in range(shape.experts))
        self.down = nn.ModuleList(nn.Linear(shape.ffn, shape.hidden, bias=False) for _ in range(shape.experts))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        flat = states.reshape(-1, states.shape[-1])
        shares = torch.softmax(self.router(flat), dim=-1)
        places = torch.arange(len(flat) * self.used, device=flat.device) % len(flat)
        out = torch.zeros_like(flat)
        for index, own in enumerate(places.chunk(len(self.gate))):
            mine = flat[own]
            product = self.up[index](mine) * functional.silu(self.gate[index](mine))
            out = out.index_add(0, own, self.down[index](product) * shares[own, index, None])
        return out.reshape(states.shape)


def adapted(module: nn.Module, rank: int) -> None:
    """Every nn.Linear below gets an adapter, a router none."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            if name != "router":
                setattr(module, name, Adapted(child, rank))
        else:
            adapted(child, rank)


def model_of(shape: Shape, layers: int, rank: int) -> nn.Module:
    """In training, frozen but for its adapters."""
    config = hf_config.config(shape, layers) if not shape.experts else mixture_config(shape, layers)
    with build.quiet(), bf16():
        model = made(config)
        if shape.experts:
            for layer in model.model.layers:
                layer.mlp = Experts(shape)
    model.requires_grad_(False)
    adapted(model.model.layers, rank)
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False, "preserve_rng_state": False})
    return model.train()


@contextlib.contextmanager
def bf16() -> Iterator[None]:
    """What is made is; fake tensors cannot be turned into another type afterwards."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def made(config: dict[str, Any]) -> Any:
    import transformers

    found = getattr(transformers, config["architectures"][0])
    return found(found.config_class.from_dict(config | {"use_cache": False}))


def mixture_config(shape: Shape, layers: int) -> dict[str, Any]:
    """One small expert: :class:`Experts` takes their place."""
    return {
        "architectures": ["PhimoeForCausalLM"], "hidden_size": shape.hidden, "intermediate_size": 8,
        "num_hidden_layers": layers, "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads,
        "vocab_size": shape.vocab, "num_local_experts": 2, "attention_bias": True, "lm_head_bias": True,
        "tie_word_embeddings": False, "pad_token_id": 0,
    }  # fmt: skip


def measured(shape: Shape, layers: int, training: Training, *, real: bool) -> tuple[int, int, dict[str, int]]:
    """(peak bytes of the second of two accumulated steps without frozen weights, adapters, peak by MemTracker's kinds).

    Weights and AdamW's moments exist before, and so do gradients, which stay.
    """
    with contextlib.ExitStack() as stack:
        if not real:
            stack.enter_context(FakeTensorMode())
            # whether several texts are packed into one cannot be read of fake tensors, and then a mask is made
            stack.enter_context(
                mock.patch("transformers.masking_utils.find_packed_sequence_indices", return_value=None)
            )
        model = model_of(shape, layers, training.rank)
        trained = [p for p in model.parameters() if p.requires_grad]
        frozen = {p.untyped_storage() for p in model.parameters() if not p.requires_grad}
        for weight in trained:
            weight.grad = torch.zeros_like(weight)
        moments = [torch.zeros_like(weight) for weight in trained for _ in range(2)]
        words = torch.randint(0, shape.vocab, (training.batch, training.sequence_tokens))
        tracker = Tracker()
        tracker.track_external(model, words, *moments, *(weight.grad for weight in trained))
        with tracker:
            model(input_ids=words, labels=words).loss.backward()
        (peak,) = tracker.get_tracker_snapshot("peak").values()
    kinds = {str(getattr(key, "value", key)): count for key, count in peak.items()}
    return kinds["Total"] - sum(s.nbytes() for s in frozen), sum(p.numel() for p in trained), kinds


def foretold(shape: Shape, layers: int, training: Training) -> finetuning.Footprint:
    return finetuning.footprint(plan_of(shape, layers), shape, "bf16", training)


def plan_of(shape: Shape, layers: int) -> Plan:
    """Of a model that the catalog need not know."""
    if not shape.experts:
        return plan(msgspec.structs.replace(catalog.variant("phi-4"), shape=shape), "bf16", layers, fmt="torch")
    sizes = gguf_layout.weight_shapes(shape, layers)
    tensors = tuple(Tensor(name=name, shape=dims, type="BF16", bytes=0) for name, dims in sizes)
    known = finetuning.plan_of(catalog.variant("phi-3.5-moe-instruct"))
    return msgspec.structs.replace(known, layers=layers, tensors=tensors)


def cases(*, real: bool) -> Iterator[Case]:
    if real:
        yield from (Case("phi-4-mini-instruct", 2, *rest, vocab=16384) for rest in ((8, 64, 1), (64, 128, 2)))
        yield Case("phi-2", 2, 16, 128, 2, vocab=16384)
        return
    for name in ("phi-4-mini-instruct", "phi-4", "phi-3.5-mini-instruct", "phi-2", "phi-3.5-moe-instruct"):
        yield from (Case(name, 4, *rest) for rest in STEPS)
        yield from (Case(name, 4, *rest, vocab=1024) for rest in STEPS)
    for name in ("phi-4-mini-instruct", "phi-4", "phi-2"):
        yield Case(name, None, 16, 2048, 1)


# Peak of torch.cuda.max_memory_allocated on one A100 with PEFT 0.13.2 and transformers 4.45.2, gradient checkpointing,
# FlashAttention, sequences of 4096, rank 16 on the four matrices of attention: scripts/benchmarks/refs/a100_80gb.csv of
# github.com/foundation-model-stack/fms-acceleration. Shapes: their config.json; Mixtral is two of eight experts.
MISTRAL = {
    "layers": 32, "hidden": 4096, "heads": 32, "kv_heads": 8, "head_dim": 128, "ffn": 14336, "vocab": 32000,
    "rope_dims": 128, "longrope": False, "tied": False,
}  # fmt: skip
PUBLISHED: tuple[tuple[str, str, dict[str, int], str, int, int], ...] = (
    ("Mistral-7B", "phi-4", {}, "bf16", 4, 26_108_963_328),
    ("Mistral-7B", "phi-4", {}, "bf16", 8, 37_098_695_168),
    ("Mistral-7B", "phi-4", {}, "int4", 4, 15_860_019_712),
    ("Mistral-7B", "phi-4", {}, "int4", 8, 26_849_751_552),
    ("Mixtral-8x7B", "phi-3.5-moe-instruct", {"experts": 8, "experts_used": 2}, "int4", 4, 36_218_024_448),
    ("Mixtral-8x7B", "phi-3.5-moe-instruct", {"experts": 8, "experts_used": 2}, "int4", 8, 47_207_756_288),
)
ATTENTION = 16 * 32 * (2 * (4096 + 4096) + 2 * (4096 + 1024))  # weights of those adapters


def published() -> int:
    """What others measured, beside the formula with their adapters."""
    worst = 0.0
    for name, kin, more, quantization, batch, seen in PUBLISHED:
        known = catalog.variant(kin).shape
        assert known is not None
        shape = msgspec.structs.replace(known, **MISTRAL, **more)
        whole = plan_of(shape, shape.layers)
        training = Training(rank=16, sequence_tokens=4096, batch=batch)
        told = finetuning.footprint(whole, shape, quantization, training)
        total = told.weights_bytes + told.activation_bytes + 4 * 4 * ATTENTION
        error = total / seen - 1
        worst = max(worst, abs(error))
        print(
            f"{name:13} {quantization} {batch} x 4096  seen {seen / MB:6.0f}  "
            f"foretold {total / MB:6.0f} MB {error:+.1%}"
        )
    return int(worst > MOST)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=re.compile, default=re.compile(""), help="variants whose id has this")
    parser.add_argument("--real", action="store_true", help="slices of two layers, computed on the CPU")
    parser.add_argument("--parts", action="store_true", help="what MemTracker calls what is alive at the peak")
    parser.add_argument("--published", action="store_true", help="what others measured on a GPU")
    asked = parser.parse_args()
    if asked.published:
        return published()
    errors = []
    for case in cases(real=asked.real):
        if not asked.only.search(case.variant):
            continue
        shape = catalog.variant(case.variant).shape
        assert shape is not None
        shape = msgspec.structs.replace(shape, vocab=case.vocab or shape.vocab)
        layers = case.layers or shape.layers
        seen, adapters, kinds = measured(shape, layers, case.training, real=asked.real)
        told = foretold(shape, layers, case.training)
        assert told.adapters == adapters, (told.adapters, adapters)
        errors.append(told.training_bytes / seen - 1)
        print(
            f"{case.variant:22} {layers:2} layers {shape.vocab:6} words  rank {case.rank:3}  "
            f"{case.batch} x {case.sequence:4}  "
            f"seen {seen / MB:8.0f}  foretold {told.training_bytes / MB:8.0f} MB {errors[-1]:+6.1%}", flush=True,
        )  # fmt: skip
        if asked.parts:
            print("   ", ", ".join(f"{name} {count / MB:.0f}" for name, count in kinds.items() if count))
    worst = max(map(abs, errors))
    median = statistics.median(map(abs, errors))
    print(f"{len(errors)} steps: median error {median:.1%}, worst {worst:.1%} ({MOST:.0%})")
    return int(worst > MOST)


if __name__ == "__main__":
    sys.exit(main())
