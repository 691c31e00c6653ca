"""What is recommended on described machines, of two checkouts beside each other.

    python benchmarks/recommended.py ask [--all] > FILE.json        # with the phibench that PYTHONPATH names
    python benchmarks/recommended.py beside BEFORE.json AFTER.json  # a Markdown table

The machines are those of tests/picks.py. Nothing of them was measured: data sheets alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from phibench import catalog
from phibench.advise import recommend
from phibench.core import units
from phibench.core.nouns import Goal, Machine, Setup, Verdict
from phibench.machine import described
from phibench.predict import offload, predictions

ROOT = Path(__file__).resolve().parent.parent
GIB = 1 << 30
EIGHTEEN = (
    "Pi 5, 8 GB", "Android phone, 8 GB", "Jetson Orin Nano", "laptop, 8 GB", "laptop, 16 GB", "laptop, 32 GB",
    "laptop with 8 GB GPU", "RTX 3060", "RTX 4060", "RTX 4090", "two RTX 3090", "A100 40 GB", "H100",
    "M2, 16 GB", "M3 Max, 64 GB", "Snapdragon X Elite, 16 GB", "Strix Halo, 128 GB", "container, 2 CPUs, 4 GB",
)  # fmt: skip
SIX = ("chat", "code", "math", "tools", "long-context", "vision")


def table() -> Any:
    """tests/picks.py as a module."""
    spec = importlib.util.spec_from_file_location("picks_table", ROOT / "tests" / "picks.py")
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    sys.modules["picks_table"] = found
    spec.loader.exec_module(found)
    return found


def machine_of(told: dict[str, Any]) -> Machine:
    gpu = told.get("gpu")
    found = described.machine_of(
        described.row_named(gpu)[0] if gpu and gpu != "none" else None, described.row_named(told["cpu"])[0],
        told["ram"] * GIB, told["os"], gpus=told.get("gpus", 1), without_gpu=gpu == "none",
    ).machine  # fmt: skip
    if cpus := told.get("cpus"):
        limits = msgspec.structs.replace(found.limits, cpus=float(cpus), threads=cpus)
        found = msgspec.structs.replace(found, limits=limits)
    return found


def told(verdict: Verdict) -> dict[str, Any]:
    values = {name: estimate.value for name, estimate in verdict.estimates.items()}
    memory = values.get("device_peak_bytes", values.get("host_needed_bytes"))
    return {
        "setup": str(verdict.setup), "verdict": verdict.verdict, "level": getattr(verdict, "level", None),
        "decode_tps": values.get("decode_tps"), "memory_bytes": memory,
        "why": list(verdict.objections[:1]) or [str(reason) for reason in verdict.unknowns[:1]],
    }  # fmt: skip


def ask(everything: bool) -> dict[str, dict[str, Any]]:
    machines = table().MACHINES
    goals = [goal.id for goal in catalog.goals()] if everything else SIX
    found: dict[str, dict[str, Any]] = {}
    for name in machines if everything else EIGHTEEN:
        machine = machine_of(machines[name])
        for goal in goals:
            started = time.perf_counter()
            found.setdefault(name, {})[goal] = told(recommend.advise(machine, catalog.goal(goal), ())[0])
            print(f"{name}, {goal}: {time.perf_counter() - started:.2f} s", file=sys.stderr)
    return found


def cell(answer: dict[str, Any]) -> str:
    level = answer["level"] or answer["verdict"]
    speed = f", {answer['decode_tps']:.3g} tok/s" if answer["decode_tps"] else ""
    return f"{level}: {answer['setup']}{speed}"


def why(goal: Goal, before: dict[str, Any], after: dict[str, Any]) -> str:
    """Of a change, the first key of the order that explains it."""
    old, new = (units.setup(answer["setup"]) for answer in (before, after))
    thinks = [catalog.variant(one.variant).reasoning for one in (old, new)]
    reasons = (
        (old == new, "the same"),
        (goal.images and after["level"] != "no", "encoders are predicted, and what an engine can do counts"),
        (old.variant in goal.not_for, f"{old.variant} is not for it"),
        (goal.thinking == "avoid" and thinks == [True, False], "no thinking where nobody wants to wait for it"),
        (_is_split(old) and not _is_split(new), "a split is no comfort"),
        (old.variant != new.variant, _variant_changed(goal, old, new, after)),
        (True, _build_changed(old, new, after)),
    )
    return next(reason for applies, reason in reasons if applies)


def _is_split(setup: Setup) -> bool:
    return any(option in offload.OPTIONS for option, _ in setup.options)


def _variant_changed(goal: Goal, old: Setup, new: Setup, after: dict[str, Any]) -> str:
    tiers = {variant: number for number, tier in enumerate(goal.tiers) for variant in tier}
    was, now = tiers.get(old.variant, len(tiers)), tiers.get(new.variant, len(tiers))
    if now < was:
        return "a better tier"
    if after["level"] == "no":
        return "nothing serves: what has room and misses least, of the best tier"
    return "comfortable, which the better tier is not" if now > was else "the same tier: whole, published, or faster"


def _build_changed(old: Setup, new: Setup, after: dict[str, Any]) -> str:
    losses = [predictions.loss(catalog.quantization(one.quantization)) for one in (old, new)]
    if losses[0] and losses[1] and losses[1].value < losses[0].value:
        return "a finer build: the speed of the coarser is not felt" if after["level"] != "no" else "a finer build"
    if old.quantization == new.quantization:
        return "another place, or another KV cache"
    return "a build that somebody publishes, or that has room"


def beside(before: dict[str, Any], after: dict[str, Any]) -> None:
    print("| machine | goal | before | after | why |\n|---|---|---|---|---|")
    for name, goals in before.items():
        for goal, answer in goals.items():
            now = after[name][goal]
            print(f"| {name} | {goal} | {cell(answer)} | {cell(now)} | {why(catalog.goal(goal), answer, now)} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("ask").add_argument("--all", action="store_true")
    two = commands.add_parser("beside")
    two.add_argument("before", type=Path)
    two.add_argument("after", type=Path)
    words = parser.parse_args()
    if words.command == "ask":
        json.dump(ask(words.all), sys.stdout, indent=1)
    else:
        beside(json.loads(words.before.read_text()), json.loads(words.after.read_text()))


if __name__ == "__main__":
    main()
