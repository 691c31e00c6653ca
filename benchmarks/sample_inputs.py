"""The files that the commands of same_outputs.py are given: small, and the same on every machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

BENCH = {  # a row as llama-bench, build 5163, printed it
    "build_commit": "8cf427ff", "build_number": 5163, "cpu_info": "AMD EPYC 9B14", "gpu_info": "", "backends": "CPU",
    "model_filename": "/models/Phi-4-mini-instruct-Q4_K_M.gguf", "model_type": "phi3 3B Q4_K - Medium",
    "model_size": 2_485_589_376, "model_n_params": 3_836_021_856, "n_batch": 2048, "n_ubatch": 512, "n_threads": 2,
    "cpu_mask": "0x0", "cpu_strict": False, "poll": 50, "type_k": "f16", "type_v": "f16", "n_gpu_layers": 99,
    "split_mode": "layer", "main_gpu": 0, "no_kv_offload": False, "flash_attn": False, "tensor_split": "0.00",
    "tensor_buft_overrides": "none", "use_mmap": True, "embeddings": False, "n_prompt": 512, "n_gen": 0, "n_depth": 0,
    "test_time": "2025-04-24T11:58:50Z", "avg_ns": 12_000_000_000, "stddev_ns": 5_000_000, "avg_ts": 42.6,
    "stddev_ts": 0.1, "samples_ns": [11_900_000_000, 12_000_000_000, 12_100_000_000], "samples_ts": [43.0, 42.7, 42.3],
}  # fmt: skip
BATCHED = {
    "n_kv_max": 4096, "n_batch": 2048, "n_ubatch": 512, "flash_attn": -1, "is_pp_shared": 0, "n_gpu_layers": -1,
    "n_threads": 2, "n_threads_batch": 2, "pp": 128, "tg": 32, "pl": 4, "n_kv": 640, "t_pp": 12.8, "speed_pp": 40.0,
    "t_tg": 4.0, "speed_tg": 32.0, "t": 16.8, "speed": 38.1,
}  # fmt: skip


def write_inputs(folder: Path, checkout: Path) -> None:
    """A machine and a run of the checkout, runs to compare, what llama.cpp's tools printed, and a broken file."""
    (folder / "none").mkdir(parents=True)
    shutil.copy(checkout / "docs" / "machines" / "laptop.toml", folder)
    (example,) = (checkout / "results" / "example").glob("*.json")
    shutil.copy(example, folder / "example.json")
    for speed, side in enumerate(("slow", "fast")):
        for number in range(8):
            write(folder / side / f"{number:02}.json", json.dumps(pair(example, number, speed)))
    write(folder / "llama-bench.json", json.dumps([BENCH, BENCH | {"n_prompt": 0, "n_gen": 128}]))
    write(folder / "batched.jsonl", "".join(json.dumps(BATCHED | {"pl": batch}) + "\n" for batch in (1, 4)))
    write(folder / "broken.toml", "name = \n")


def pair(example: Path, number: int, speed: int) -> dict[str, Any]:
    """A run of 8 that took turns with 8 others: the example's, and of speed 1 a tenth faster."""
    run: dict[str, Any] = json.loads(example.read_bytes())
    at = f"2026-01-01T{number:02}:{30 * speed:02}:00Z"
    run |= {"id": at.replace("-", "").replace(":", ""), "started": at, "example": False}
    for result in run["results"]:
        result["at"] = at
        for sample in result["samples"]:
            factor = (1 + 0.01 * (number % 3)) / (1 + 0.1 * speed)
            sample["arrivals_s"] = [factor * seconds for seconds in sample["arrivals_s"]]
    return run


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
