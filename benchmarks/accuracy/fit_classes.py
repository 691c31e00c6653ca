"""Fits the constants of classes of devices to published speeds, and writes them: phibench/predict/classes.toml.

    python benchmarks/accuracy/fit_classes.py [--check]

The logarithm of a constant is a sum over the features of a place (phibench/predict/classes.py). Each part has a normal
prior around what its parent has, so that a class with one model leans on all, and one with ten stands by itself. The
likeliest parts are found by Gauss-Newton; every hardware model counts about the same whatever its number of rows, and
figures that lie far off lose weight (Huber).
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from published import Published, figures

from phibench.backends.rates import KV
from phibench.predict import classes
from phibench.predict.classes import Constants, Support, Table
from phibench.predict.costs import Cost, Phase
from phibench.predict.device_class import Place
from phibench.predict.terms import Z80

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: threads would only wait for each other

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

TOML = Path(classes.__file__).parent / "classes.toml"
OF: dict[Phase, tuple[str, ...]] = {
    "decode": ("read_share", "cache_share", "weight_ops", "step_layer_s"),
    "prefill": ("matrix_share", "attention_share", "prompt_layer_s"),
}
# Of a constant, the features that it depends on, with the (mean, standard deviation) of the logarithm of their factor
# before anything is fitted; a feature is looked up by its whole name, else by its first word. Where a mean is not 0, it
# is what is known otherwise:
#   NVIDIA before Volta: posts on Pascal cards reach 0.37 of their bandwidth in all; none is in published.csv. Weights
#     of few bits are multiplied as int8, four to a lane (DP4A), so that operations are no second limit beside that.
#   codebooks (IQ1 to IQ3): half the weights per second of a core that Q3_K has (benchmarks/thread_rates.py).
#   Intel under Vulkan: half the speed of SYCL on the same cards (docs/predicting.md); cores without dot products or
#   without vectors at all take that many more instructions.
#   AMX: Phi-4-mini Q4_K_M read 70.9 tok/s of a prompt on two cores of a Sapphire Rapids: 104 FLOP per cycle of a core.
#   other instruction sets: products per cycle (their makers' manuals), damped, since kernels do other work, too.
PRIORS: dict[str, dict[str, tuple[float, float]]] = {
    "read_share": {
        "GPUs": (math.log(0.85), 0.15), "processors": (math.log(0.75), 0.15), "class": (0, 0.2), "api": (0, 0.12),
        "vendor": (0, 0.05), "intel on Vulkan": (-0.2, 0.2), "family": (0, 0.06),
        "class NVIDIA before Volta": (-0.75, 0.3),
    },
    "cache_share": {
        "GPUs": (math.log(0.6), 0.4), "processors": (math.log(0.6), 0.4), "without flash attention": (-0.2, 0.3),
    },
    "weight_ops": {
        "GPUs": (math.log(20), 1.5), "processors": (math.log(1), 1.5), "class": (0, 0.6), "api": (0, 0.4),
        "vendor": (0, 0.2), "intel on Vulkan": (0.5, 0.6), "family": (0, 0.4), "family IQ": (0.3, 0.4),
        "class NVIDIA before Volta": (math.log(1 / 4), 0.3),
        "family IQ on cpu": (0.4, 0.4), "isa": (0, 0.1), "isa none": (1, 0.3),
        "isa scalar": (3, 0.7), "age": (0, 0.2),
        "ik_llama.cpp": (-0.3, 0.3),
    },
    "step_layer_s": {
        "GPUs": (math.log(5e-5), 1), "processors": (math.log(3e-5), 0.5), "class": (0, 0.4), "api": (0, 0.5),
        "vendor": (0, 0.15), "age": (0, 0), "the age": (0.3, 0.3), "engine not named": (0.3, 0.4),
    },
    "matrix_share": {
        "GPUs": (math.log(0.4), 0.5), "processors": (math.log(16), 0.5), "class": (0, 0.35), "api": (0, 0.25),
        "vendor": (0, 0.15), "intel on Vulkan": (-0.3, 0.5),
        "family": (0, 0.2), "age": (-0.1, 0.2), "ik_llama.cpp": (0.3, 0.4), "AMDVLK": (-0.3, 0.5),
        "driver without matrix units": (-0.8, 0.6), "isa": (0, 0.3), "isa amx_int8": (1.6, 0.2),
        "isa avx512_vnni": (0.5, 0.3), "isa avx_vnni": (0.2, 0.3), "isa avx512f": (0.3, 0.3), "isa i8mm": (0.3, 0.3),
        "isa none": (-1, 0.3), "isa scalar": (-2, 0.7),
    },
    "attention_share": {
        "GPUs": (math.log(0.6), 0.5), "processors": (math.log(0.6), 0.5), "without flash attention": (-0.4, 0.5),
    },
    "prompt_layer_s": {"GPUs": (math.log(1e-4), 0.7), "processors": (math.log(1e-4), 0.7), "api": (0, 0.5)},
}  # fmt: skip
_SD: dict[Phase, float] = {"decode": 0.12, "prefill": 0.2}  # of one figure's logarithm, apart from its device's
_STEPS, _DONE, _FAR = 400, 1e-7, 1.5
_AGAIN = 8  # steps from the fit to all rows to the one without a group: what is left moves nothing by 1 %
_NOTHING = 0.003  # of a logarithm: a factor so near to 1 is left out
_OF_ITS_OWN = 3  # models that a class needs for figures of its own
FOLDS = 10


def prior(constant: str, feature: str) -> tuple[float, float] | None:
    """None where the constant does not depend on the feature."""
    known, first = PRIORS[constant], feature.split(" ", maxsplit=1)[0]
    if feature == "age":
        return known.get("the age")
    if " on " in feature and first not in ("family", "age"):
        first = "vendor"
    found = known.get(feature) or known.get(first)
    return found if found and found[1] else None


class Part(NamedTuple):
    constant: str
    feature: str


class Problem:
    """The figures of one phase, as parts of their constants. ``held``: those of the other phase, and data sheets."""

    def __init__(self, phase: Phase, rows: Sequence[Published], held: Table) -> None:
        import numpy as np

        self.phase, self.rows, self.sd = phase, rows, _SD[phase]
        self.constants = OF[phase]
        self.parts: dict[Part, int] = {}
        families = [_family(row) for row in rows]
        told = [classes.features(row.place, family) for row, family in zip(rows, families, strict=True)]
        for constant in self.constants:
            for features in told:
                for feature, _ in features:
                    if prior(constant, feature):
                        self.parts.setdefault(Part(constant, feature), len(self.parts))
            for feature, (mean, sd) in PRIORS[constant].items():
                if (
                    mean and sd and " " in feature and feature.startswith(("class", "isa", "family"))
                ):  # nobody posted, but known
                    self.parts.setdefault(Part(constant, feature), len(self.parts))
        self.designs = [self._design(constant, told) for constant in self.constants]
        self.priors = np.array([prior(part.constant, part.feature) for part in self.parts])
        self._place, self._cost, self._ops, self._held = _together(rows, families, held)
        self.seen = np.array([math.log(row.seconds) for row in rows])

    def _design(self, constant: str, told: Sequence[tuple[tuple[str, float], ...]]) -> Array:
        import numpy as np

        design = np.zeros((len(told), len(self.parts)))
        for row, features in enumerate(told):
            for feature, exponent in features:
                if (at := self.parts.get(Part(constant, feature))) is not None:
                    design[row, at] += exponent
        return design

    def logs(self, logs_of: Sequence[Array]) -> Array:
        """Logarithms of the seconds of all rows, by the formula that ships, given those of this phase's constants."""
        import numpy as np

        given = dict(zip(self.constants, map(np.exp, logs_of), strict=True))
        constants = Constants(**(self._held | given))
        seconds: dict[str, Any] = classes.seconds(self._cost, self._place, self._ops, _Any(constants))
        logs: Array = np.log(sum(seconds.values()))
        return logs

    def model(self, values: Array) -> tuple[Array, Array]:
        """(logarithms of seconds, their slopes by the parts) of all rows."""
        import numpy as np

        at = [design @ values for design in self.designs]
        logs = self.logs(at)
        slopes = np.zeros((len(logs), len(values)))
        for i, design in enumerate(self.designs):
            nudged = self.logs([one + 1e-5 * (j == i) for j, one in enumerate(at)])
            slopes += ((nudged - logs) / 1e-5)[:, None] * design
        return logs, slopes

    def fit(self, rows: Sequence[int], start: Array | None = None, steps: int = _STEPS) -> Array:
        import numpy as np

        mean, spread = self.priors[:, 0], self.priors[:, 1]
        counts: dict[str, int] = defaultdict(int)
        for row in rows:
            counts[self.rows[row].model] += 1
        weights = np.array([counts[self.rows[row].model] ** -0.7 for row in rows]) / self.sd**2
        values = mean.copy() if start is None else start.copy()
        for _ in range(steps):
            logs, slopes = (found[list(rows)] for found in self.model(values))
            off = logs - self.seen[list(rows)]
            near = weights * np.minimum(1, _FAR * self.sd / np.maximum(np.abs(off), 1e-12))
            matrix = (slopes.T * near) @ slopes + np.diag(spread**-2)
            move = np.linalg.solve(matrix, -slopes.T @ (near * off) - (values - mean) / spread**2)
            values = values + np.clip(move, -0.5, 0.5)
            if np.abs(move).max() < _DONE:
                break
        return values

    @functools.cached_property
    def whole(self) -> Array:
        """Fitted to all rows; where other fits start from."""
        return self.fit(range(len(self.rows)))

    def predicted(self, values: Array) -> Array:
        """Logarithms of the seconds of all rows."""
        return self.logs([design @ values for design in self.designs])

    def factors(self, values: Array) -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {constant: {} for constant in self.constants}
        for part, at in self.parts.items():
            if abs(values[at]) > _NOTHING:
                found[part.constant][part.feature] = float(f"{math.exp(values[at]):.4g}")
        return found


def _family(row: Published) -> str:
    """The one that most of its bytes have."""
    weights = {k: b for k, b in row.cost.bytes_by_type.items() if not k.startswith("KV")}
    return classes.family(max(weights, key=lambda kernel: weights[kernel]))


def _together(rows: Sequence[Published], families: Sequence[str], held: Table) -> tuple[Place, Cost, Any, Any]:
    """All rows as one place and one cost, of arrays, and the constants that are not fitted.

    A row's tensors are taken as one kernel of the family that most of them have.
    """
    import numpy as np

    def array(of: Callable[[Published], Any]) -> Any:
        return np.array([of(row) for row in rows], dtype=float)

    def split(of: Callable[[Published], dict[str, float]]) -> dict[str, Any]:
        cache = array(lambda row: sum(value for kernel, value in of(row).items() if kernel.startswith(KV)))
        return {"F16": array(lambda row: sum(of(row).values())) - cache, KV: cache}

    place = Place(
        device_class="", vendor="", api="", read_bytes_s=array(lambda row: row.place.read_bytes_s), ops_s=None
    )
    cost = Cost(
        backend="", phase=rows[0].cost.phase, tokens=array(lambda row: row.cost.tokens),
        layers=array(lambda row: row.cost.layers), mix="", bytes_by_type=split(lambda row: row.cost.bytes_by_type),
        flops_by_type=split(lambda row: row.cost.flops_by_type),
    )  # fmt: skip
    constants = [classes.constants(held, row.place, family) for row, family in zip(rows, families, strict=True)]
    fixed = {name: np.array([getattr(one, name) for one in constants]) for name in classes.NAMES}
    return place, cost, array(lambda row: classes.ops_s(held, row.place, row.cost.phase)), fixed


class _Any(dict[str, Constants]):
    """The constants of every family: a file's few tensors of another one do not matter."""

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def __getitem__(self, family: str) -> Constants:
        return self._constants


# ------------------------------------------------------------------------------------ how far off it is


def indices(rows: Sequence[Published], chosen: Callable[[Published], bool]) -> list[int]:
    return [i for i, row in enumerate(rows) if chosen(row)]


def off(problem: Problem, by: Callable[[Published], str], among: Sequence[int], folds: int | None = None) -> Array:
    """log(predicted / true seconds) of each of ``among``, fitted without its group; NaN elsewhere."""
    import numpy as np

    found = np.full(len(problem.rows), math.nan)
    groups = sorted({by(problem.rows[i]) for i in among})
    fold_of = {group: at % folds if folds else at for at, group in enumerate(groups)}
    for fold in range(max(fold_of.values(), default=-1) + 1):
        out = [i for i in among if fold_of[by(problem.rows[i])] == fold]
        kept = [i for i in among if fold_of[by(problem.rows[i])] != fold]
        predicted = problem.predicted(problem.fit(kept, problem.whole, _AGAIN))
        found[out] = predicted[out] - problem.seen[out]
    return found


def by_model(row: Published) -> str:
    return row.model


def by_class(row: Published) -> str:
    return row.place.device_class


def quantile(values: Iterable[tuple[float, str]], share: float) -> float:
    """Of (value, model): each model counts the same."""
    pairs = sorted(values)
    counts: dict[str, int] = defaultdict(int)
    for _, model in pairs:
        counts[model] += 1
    reached = 0.0
    for value, model in pairs:
        reached += 1 / counts[model] / len(counts)
        if reached >= share - 1e-9:
            return value
    return math.nan


def supports(rows: Sequence[Published], off_by: Array, of_class: Array | None) -> dict[str, Support]:
    """By class: what it rests on and the standard deviation that holds 80 %; a class of few models leans on all."""
    clean = [i for i in indices(rows, lambda row: row.clean) if not math.isnan(off_by[i])]
    models: dict[str, set[str]] = defaultdict(set)
    for i in clean:
        models[by_class(rows[i])].add(rows[i].model)
    large = {name for name, found in models.items() if len(found) >= _OF_ITS_OWN}
    pooled = _sd(rows, off_by, [i for i in clean if by_class(rows[i]) in large])
    apart = clean if of_class is not None else []
    unknown = _sd(rows, of_class, apart) if of_class is not None else pooled
    found = {"": Support(models=sum(map(len, models.values())), rows=len(clean), sd=_rounded(unknown))}
    for name, own in sorted(models.items()):
        mine = [i for i in clean if by_class(rows[i]) == name]
        sd = unknown
        if name in large:
            sd = math.sqrt((len(own) * _sd(rows, off_by, mine) ** 2 + _LEAN * pooled**2) / (len(own) + _LEAN))
        found[name] = Support(models=len(own), rows=len(mine), sd=_rounded(sd))
    return found


_LEAN = 4  # models that the pooled spread counts for beside a class's own


def _sd(rows: Sequence[Published], off_by: Array, among: Sequence[int]) -> float:
    return quantile(((abs(float(off_by[i])), rows[i].model) for i in among), _level(rows, among)) / Z80


def _level(rows: Sequence[Published], among: Sequence[int]) -> float:
    """Of n models, the share whose largest holds 80 % of the models to come."""
    count = len({rows[i].model for i in among})
    return min(1.0, 0.8 * (count + 0.5) / count)


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


# ----------------------------------------------------------------------------------------------- the table


def sheets(rows: Iterable[Published]) -> dict[str, float]:
    """FLOP per byte of data sheets, the median of the models of each class."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows:
        at = row.place
        if at.ops_s and at.read_bytes_s and not at.is_cpu:
            found[at.device_class][row.model] = found[""][row.model] = at.ops_s / at.read_bytes_s
    return {name: _rounded(sorted(of.values())[len(of) // 2]) for name, of in sorted(found.items())}


def problems() -> tuple[Problem, Problem, Table]:
    """Of decode and of prefill, whose weights are read at the shares that decode was fitted with; and both fitted."""
    steps = [row for row in figures("decode") if row.usable]
    prompts = [row for row in figures("prefill") if row.usable]
    empty = Table(factors={name: {} for name in classes.NAMES}, support={}, flops_per_byte=sheets([*steps, *prompts]))
    decode = Problem("decode", steps, empty)
    half = _with(empty, decode.factors(decode.whole))
    prefill = Problem("prefill", prompts, half)
    return decode, prefill, _with(half, prefill.factors(prefill.whole))


def _with(table: Table, factors: dict[str, dict[str, float]]) -> Table:
    return Table(
        factors=table.factors | factors, support=table.support, flops_per_byte=table.flops_per_byte
    )  # fmt: skip


def fitted() -> Table:
    *both, table = problems()
    support: dict[str, dict[str, Support]] = {}
    for problem in both:
        among = range(len(problem.rows))
        support[problem.phase] = supports(problem.rows, off(problem, by_model, among), off(problem, by_class, among))
    return Table(factors=table.factors, support=support, flops_per_byte=table.flops_per_byte)


def text(table: Table) -> str:
    import msgspec
    import tomli_w

    told = msgspec.to_builtins(table)
    told["factors"] = {name: dict(sorted(of.items())) for name, of in told["factors"].items()}
    head = "# Written by benchmarks/accuracy/fit_classes.py from benchmarks/accuracy/published.csv; do not edit.\n"
    return head + tomli_w.dumps(told)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit the constants of classes of devices to published speeds.")
    parser.add_argument("--check", action="store_true", help="only say whether classes.toml is what would be written")
    wanted = parser.parse_args()
    made = text(fitted())
    if wanted.check:
        sys.exit(0 if made == TOML.read_text(encoding="utf-8") else "classes.toml is not what published.csv gives")
    TOML.write_text(made, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
