"""The limits of ``phibench verify``, from data: many seeds, every backend and precision, and every planted fault.

    python benchmarks/verify_thresholds.py [--seeds 20] [--first 0] [--limits | --faults] [--json FILE]

Without a flag: false alarms of fresh seeds against the limits as they are. ``--limits`` writes them anew
(verify/formats/*.toml): the worst of all seeds times a margin. ``--faults`` plants each fault into each precision
and says what was measured and whether it was caught.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from phibench.core.nouns import Setup
from phibench.show import tables
from phibench.verify import check_backends, distances, faults
from phibench.verify.ask import Program
from phibench.verify.meant import Reference

Row = dict[str, Any]

OTHERS = ("phi-4", "phi-3.5-mini-instruct")  # structures besides gate.VARIANTS, for the first few seeds
FEW = 3
MARGIN, PEAK_MARGIN = 3.0, 4.0  # of the mean, and of the maximum, whose tail is longer; faults must still stand out
WRONG = 0.15  # of greedy choices: two in fourteen
FLOOR = 1e-6  # below this, engines differ by the order in which they add
WEIGHTS_MARGIN = 1.5
EXTRA = ("Q5_0", "Q5_1", "Q5_K_S", "Q4_1", "Q4_K_S", "IQ4_NL", "IQ4_XS", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first seed; limits come from 0 on")
    parser.add_argument("--limits", action="store_true", help="write the limits of each format")
    parser.add_argument("--faults", action="store_true", help="plant faults")
    parser.add_argument("-b", "--backend", help="backends (comma list)")
    parser.add_argument("--json", type=Path, help="write every measurement here, or read them with --from-json")
    parser.add_argument("--from-json", action="store_true")
    parser.add_argument("--threads", type=int, help="of the engines; 1 on a machine that is busy otherwise")
    args = parser.parse_args()
    seeds = range(args.first, args.first + args.seeds)
    names = args.backend.split(",") if args.backend else None
    check_backends.THREADS = args.threads or check_backends.THREADS
    if args.from_json:
        rows = json.loads(args.json.read_text())
    else:
        rows = list(planted(seeds, names) if args.faults else clean(seeds, names, everything=args.limits))
    if args.json:
        args.json.write_text(json.dumps(rows))
    if args.limits:
        write_limits(rows, len(seeds))
    sys.stdout.write(tables.markdown(by_fault(rows) if args.faults else summary(rows)))


def clean(seeds: Sequence[int], names: Sequence[str] | None, *, everything: bool) -> Iterator[Row]:
    """One row per seed and setup, nothing planted."""
    wanted = []
    for seed in seeds:
        first = seed < seeds[0] + FEW
        setups, _ = check_backends.setups((*check_backends.VARIANTS, *(OTHERS if first else ())), names, None, "cpu")
        if everything and first:
            more = {(one.variant, one.backend) for one in setups if check_backends.format_of(one) == "gguf"}
            setups += [Setup(variant=v, quantization=q, backend=b) for v, b in sorted(more) for q in EXTRA]
        wanted += [(seed, trial) for trial in check_backends.trials(setups, seed)]
    with Reference() as reference:
        yield from measured(wanted, reference)


def measured(
    wanted: Sequence[tuple[int, check_backends.Trial]], reference: Reference, fault: str = "", program: Program = ()
) -> Iterator[Row]:
    seeds = {id(trial.prompts): seed for seed, trial in wanted}
    for trial, reply in check_backends.answers([trial for _, trial in wanted], program=program):
        key = (trial.model.shape.architecture, trial.format, trial.setup.quantization)
        row: Row = dict(zip(("architecture", "format", "quantization"), key, strict=True))
        row |= {"variant": trial.setup.variant, "seed": seeds[id(trial.prompts)], "fault": fault}
        if reply.engine is None:
            print(row, reply.reason, file=sys.stderr, flush=True)
            continue
        allowed = distances.limits().get(key)
        checked, found = check_backends.measure(trial, reply, allowed.weights if allowed else float("inf"), reference)
        row |= {"kl_mean": found.kl_mean, "kl_max": found.kl_max, "agreement": found.agreement}
        row |= {"weights": checked.error, "off": [one.name for one in checked.off]}
        print(row, file=sys.stderr, flush=True)
        yield row


def planted(seeds: Sequence[int], names: Sequence[str] | None) -> Iterator[Row]:
    """One row per seed, fault and setup."""
    wanted: dict[str, list[tuple[int, check_backends.Trial]]] = {}
    known: dict[str, faults.Fault] = {}
    for seed in seeds:
        setups, _ = check_backends.setups(check_backends.VARIANTS, names, None, "cpu")
        for trial in check_backends.trials(setups, seed):
            for fault, plant in faults.faults_for(trial.model).items():
                known[fault] = plant
                if plant.fits(trial.format, trial.setup.quantization):
                    wanted.setdefault(fault, []).append((seed, trial._replace(change=plant.change)))
    with Reference() as reference:
        for fault, of_it in wanted.items():
            yield from measured(of_it, reference, fault, known[fault].program)


def summary(rows: Sequence[Row]) -> list[Row]:
    """By fault, structure and precision: the worst of all seeds against its limit; of faults, the least that showed."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[k] for k in ("fault", "architecture", "format", "quantization")), []).append(row)
    return [_summary(key, of_it) for key, of_it in groups.items()]


def _summary(key: tuple[str, ...], of_it: Sequence[Row]) -> Row:
    fault, *names = key
    pick = min if fault else max
    row = ({"fault": fault} if fault else {}) | {"structure": names[0], "precision": f"{names[2]} ({names[1]})"}
    row["models"] = str(len(of_it))
    allowed = distances.limits().get((names[0], names[1], names[2]))
    for column, name, form in (
        ("kl_mean", "KL mean", ".1e"),
        ("kl_max", "KL max", ".1e"),
        ("weights", "weights", ".1%"),
    ):
        limit = f"{getattr(allowed, column):{form}}" if allowed else "none"
        row[f"{name} / limit"] = f"{pick(one[column] for one in of_it):{form}} / {limit}"
    known = [one["agreement"] for one in of_it if one["agreement"] is not None]
    row["greedy"] = f"{(max if fault else min)(known, default=1):.0%}"
    row["by weights"] = str(sum(bool(one["off"]) for one in of_it))
    row["by answer"] = str(sum(allowed is not None and _differs(one, allowed) for one in of_it))
    return row


def by_fault(rows: Sequence[Row]) -> list[Row]:
    """By fault and structure: the least distance of all precisions and seeds in limits, and what reported it."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["fault"], row["architecture"]), []).append(row)
    return [_by_fault(*key, of_it) for key, of_it in groups.items()]


def _by_fault(fault: str, structure: str, of_it: Sequence[Row]) -> Row:
    least = min(of_it, key=_in_limits)
    answer, weights = [_in_limits(one) > 1 for one in of_it], [bool(one["off"]) for one in of_it]
    return {
        "fault": fault,
        "structure": structure,
        "files": len(of_it),
        "least KL mean": f"{min(one['kl_mean'] for one in of_it):.2g}",
        "least distance": f"{_in_limits(least):.1f} limits, {least['quantization']} ({least['format']})",
        "by answer": sum(answer),
        "by weights": sum(weights),
        "missed": sum(not (a or w) for a, w in zip(answer, weights, strict=True)),
    }


def _in_limits(row: Row) -> float:
    """How many times its limit the distance of the answer is: of mean or maximum, whichever is further."""
    allowed = distances.limit(row["architecture"], row["format"], row["quantization"])
    return max(float(row["kl_mean"]) / allowed.kl_mean, float(row["kl_max"]) / allowed.kl_max)


def _differs(row: Row, allowed: distances.Limit) -> bool:
    agreement = 1.0 if row["agreement"] is None else row["agreement"]
    return bool(_in_limits(row) > 1 or agreement < allowed.agreement)


def write_limits(rows: Sequence[Row], seeds: int) -> None:
    """A file per format: the worst of all seeds times the margin."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["architecture"], row["format"], row["quantization"]), []).append(row)
    head = [
        "# Written by benchmarks/verify_thresholds.py --limits; docs/verify.md shows what it rests on.",
        f"# Seeds 0 to {seeds - 1} of small models after {', '.join(check_backends.VARIANTS)},",
        f"# {FEW} of them also after {', '.join(OTHERS)}, on a CPU.",
        f"# Times the worst seen: kl_mean {MARGIN:g}, kl_max {PEAK_MARGIN:g} (both at least {FLOOR:g} nat),",
        f"# weights {WEIGHTS_MARGIN:g}; agreement: the worst less {WRONG:g}.",
    ]
    lines: dict[str, list[str]] = {}
    for (architecture, fmt, quantization), of_it in sorted(groups.items()):
        worst = {key: max(row[key] for row in of_it) for key in ("kl_mean", "kl_max", "weights")}
        agreement = min((row["agreement"] for row in of_it if row["agreement"] is not None), default=1.0)
        lines.setdefault(fmt, [*head]).extend([
            "",
            "[[limit]]",
            f'architecture = "{architecture}"',
            f'format = "{fmt}"',
            f'quantization = "{quantization}"',
            f"kl_mean = {max(FLOOR, MARGIN * worst['kl_mean']):.2g}",
            f"kl_max = {max(FLOOR, PEAK_MARGIN * worst['kl_max']):.2g}",
            f"agreement = {agreement - WRONG:.2f}",
            f"weights = {max(FLOOR, WEIGHTS_MARGIN * worst['weights']):.2g}",
        ])  # fmt: skip
    for fmt, told in lines.items():
        (distances.LIMITS / f"{fmt}.toml").write_text("\n".join(told) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
