"""What a layer costs PyTorch whatever it reads: a step of 28 layers against one of 4, with next to nothing to read.

    python benchmarks/torch_layers.py [VARIANT] [--threads 2]

Source of ``layer_s`` in phibench/backends/torch/rates.py.
"""

from __future__ import annotations

import argparse
import time

import torch

from phibench import catalog
from phibench.backends.torch import build, loop
from phibench.catalog.plans import hf_config

NARROW = {
    "hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 128,
    "vocab_size": 1024, "rope_scaling": None,
}  # fmt: skip
FEW, MANY, STEPS = 4, 28, 40


def step_s(variant: str, quantization: str, layers: int) -> float:
    """The fastest of many steps."""
    shape = catalog.variant(variant).shape
    assert shape is not None, variant
    config = hf_config.config(shape, layers)
    config |= {key: value for key, value in NARROW.items() if key in config}
    config |= {key: 0 for key in ("pad_token_id", "bos_token_id", "eos_token_id") if key in config}
    device = torch.device("cpu")
    model = build.empty(config, quantization, "cpu")
    build.synthetic(model, device)
    fed, token, took = loop.Loop(model, device, False), torch.zeros((1, 1), dtype=torch.long), []
    fed.make_room(64, 1)
    fed.keep(0)
    for _ in range(STEPS):
        began = time.perf_counter()
        fed.feed(token)
        took.append(time.perf_counter() - began)
    return min(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", nargs="?", default=catalog.variant("phi-4-mini").id)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_num_interop_threads(1)
    for quantization in ("bf16", "int8", "int4"):
        few, many = (step_s(args.variant, quantization, layers) for layers in (FEW, MANY))
        layer_s = (many - few) / (MANY - FEW)
        print(f"{args.variant} {quantization}: {layer_s * 1e3:.3f} ms a layer, {few * 1e3:.2f} ms with {FEW}")


if __name__ == "__main__":
    main()
