"""What writing an ONNX folder costs, ours and Microsoft's builder's, and whether both run alike.

    python benchmarks/synth.py ours
    python benchmarks/synth.py builder --layers 8
    python benchmarks/synth.py builder --layers 16
    python benchmarks/synth.py run --layers 8 [--rounds 5]

``ours`` writes the whole model and runs it. The builder needs weights: a slice of noise in bf16 is written first,
untimed. ``run`` opens a slice of each kind in turn in onnxruntime-genai. Every figure is of a process of its own, peak
memory is resident, mapped files included. Files go to --folder and are deleted. Needs phibench[onnxruntime,torch] and
onnx-ir, and for 16 layers of Phi-4-mini 16 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phibench import catalog
from phibench.catalog.plans import hf_config, plan
from phibench.catalog.plans import onnx as plan_onnx
from phibench.core import stats

PROMPT, NEW, THREADS = 64, 16, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ours", "builder", "run"])
    parser.add_argument("--variant", default="phi-4-mini-instruct")
    parser.add_argument("--quant", default="int4", choices=plan_onnx.quantizations())
    parser.add_argument("--layers", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--child", choices=_STEPS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(_STEPS[args.child](args)))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        args.folder = Path(folder)
        {"ours": _ours, "builder": _builder, "run": _run}[args.what](args)


def _ours(args: argparse.Namespace) -> None:
    _costs("phibench", args, _child("write", args))
    _speeds({"ours": [_child("open", args, folder=args.folder / "ours") for _ in range(args.rounds)]})


def _builder(args: argparse.Namespace) -> None:
    _child("weights", args)
    _costs("builder", args, _child("build", args))


def _costs(who: str, args: argparse.Namespace, found: dict[str, float]) -> None:
    layers = args.layers or "all"
    print("| writer | variant | quantization | layers | GB written | s | peak memory, GB |")
    print("|---|---|---|---:|---:|---:|---:|")
    figures = f"{found['bytes'] / 1e9:.2f} | {found['seconds']:.1f} | {found['peak_bytes'] / 1e9:.2f} |"
    print(f"| {who} | {args.variant} | {args.quant} | {layers} | {figures}")


def _run(args: argparse.Namespace) -> None:
    for step in ("weights", "build", "write"):
        _child(step, args)
    rounds: dict[str, list[dict[str, float]]] = {"ours": [], "built": []}
    for number in range(args.rounds):
        for name in ("ours", "built")[:: 1 if number % 2 else -1]:
            rounds[name].append(_child("open", args, folder=args.folder / name))
    _speeds(rounds)
    for key in ("prefill_tps", "decode_tps"):
        ratios = [ours[key] / built[key] for ours, built in zip(rounds["ours"], rounds["built"], strict=True)]
        low, high = stats.bootstrap([ratios], resamples=10_000)
        print(f"{key}, ours / built: {stats.median(ratios):.3f}, 95 % {low:.3f} to {high:.3f}, {len(ratios)} rounds")


def _speeds(rounds: dict[str, list[dict[str, float]]]) -> None:
    """Medians of what opening and running each folder took."""
    print("| folder | opening, s | prefill, tok/s | decode, tok/s | private memory, GB | peak memory, GB |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, found in rounds.items():
        middle = {key: stats.median([one[key] for one in found]) for key in found[0]}
        print(
            f"| {name} | {middle['open_s']:.1f} | {middle['prefill_tps']:.1f} | {middle['decode_tps']:.2f} "
            f"| {middle['private_bytes'] / 1e9:.2f} | {middle['peak_bytes'] / 1e9:.2f} |"
        )


def _child(step: str, args: argparse.Namespace, folder: Path | None = None) -> dict[str, float]:
    """Run one step in a process of its own, so that its peak memory is its own."""
    words = [sys.executable, __file__, args.what, "--child", step, "--variant", args.variant, "--quant", args.quant]
    words += ["--folder", str(folder or args.folder)] + (["--layers", str(args.layers)] if args.layers else [])
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


# ------------------------------------------------------------------ in the child


def _write(args: argparse.Namespace) -> dict[str, float]:
    from phibench.synth import onnx

    started = time.perf_counter()
    onnx.write(plan(catalog.variant(args.variant), args.quant, args.layers, fmt="onnx"), args.folder / "ours")
    return _cost(args.folder / "ours", started)


def _weights(args: argparse.Namespace) -> dict[str, float]:
    """A Hugging Face folder of noise in bf16."""
    import tokenizers
    import torch
    import transformers

    shape = catalog.variant(args.variant).shape
    assert shape is not None
    config = hf_config.config(shape, args.layers or shape.layers)
    kinds = {"phi": ("PhiConfig", "PhiForCausalLM"), "phi3": ("Phi3Config", "Phi3ForCausalLM")}
    config_type, model_type = (getattr(transformers, one) for one in kinds[config["model_type"]])
    with torch.device("meta"):
        model = model_type(config_type(**{key: value for key, value in config.items() if key != "model_type"}))
    model = model.to(torch.bfloat16).to_empty(device="cpu")
    model.tie_weights()
    pool = torch.randn(2_097_143) * 0.02
    for number, values in enumerate(model.parameters()):
        start, flat = number * 1009, values.data.view(-1)
        for at in range(0, len(flat), len(pool)):
            flat[at : at + len(pool)] = pool.roll(-start)[: len(flat) - at] + (values.dim() == 1)
    model.save_pretrained(args.folder / "hf")
    words = tokenizers.models.WordLevel({str(word): word for word in range(shape.vocab)}, unk_token="0")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(words), unk_token="0", bos_token="1", eos_token="2", pad_token="0"
    ).save_pretrained(args.folder / "hf")
    return {}


def _build(args: argparse.Namespace) -> dict[str, float]:
    """As ``python -m onnxruntime_genai.models.builder`` does it."""
    from onnxruntime_genai.models import builder

    precision, level = args.quant.removesuffix("-acc0"), plan_onnx.quantizations()[args.quant][1]
    target, source, cache = (str(args.folder / name) for name in ("built", "hf", "cache"))
    common = ("", source, target, precision, "cpu", cache)
    started = time.perf_counter()
    builder.create_model(*common, **builder.parse_extra_options(*common, [f"accuracy_level={level}"]))
    found = _cost(Path(target), started)
    shutil.rmtree(source)
    return found


def _open(args: argparse.Namespace) -> dict[str, float]:
    """Open, prefill, decode."""
    import numpy as np
    import onnxruntime_genai as genai
    import psutil

    started = time.perf_counter()
    config = genai.Config(str(args.folder))
    config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": THREADS}}}}))
    model = genai.Model(config)
    opened = time.perf_counter()
    parameters = genai.GeneratorParams(model)
    parameters.set_search_options(max_length=2 * PROMPT + NEW + 2, min_length=2 * PROMPT + NEW + 2)
    generator = genai.Generator(model, parameters)
    generator.append_tokens(np.arange(5, 5 + PROMPT, dtype=np.int32))  # the first one pays for threads and pages
    filled = time.perf_counter()
    generator.append_tokens(np.arange(5, 5 + PROMPT, dtype=np.int32))
    begun = time.perf_counter()
    for _ in range(NEW):
        generator.generate_next_token()
    done = time.perf_counter()
    memory: Any = psutil.Process().memory_full_info()
    return {
        "open_s": opened - started,
        "prefill_tps": PROMPT / (begun - filled),
        "decode_tps": NEW / (done - begun),
        "private_bytes": memory.uss,
        "peak_bytes": _peak_bytes(),
    }


def _cost(folder: Path, started: float) -> dict[str, float]:
    seconds = time.perf_counter() - started
    size = sum(file.stat().st_size for file in folder.iterdir())
    return {"seconds": seconds, "peak_bytes": _peak_bytes(), "bytes": size}


def _peak_bytes() -> int:
    """Largest resident set of this process since it began."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


_STEPS: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    "write": _write,
    "weights": _weights,
    "build": _build,
    "open": _open,
}


if __name__ == "__main__":
    main()
