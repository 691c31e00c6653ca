"""Constants of classes of devices: what part of a data sheet kernels reach, and what no rate shortens.

Each constant is a product of factors: that of all devices, of the class, of the programming interface, of the family of
tensor types. A class without devices of its own has the factors of all. The factors are fitted to published speeds by
benchmarks/accuracy/fit_classes.py, which writes classes.toml; the formulas stand here, and the fit calls them.
"""

from __future__ import annotations

import functools
import math
import tomllib
from pathlib import Path

import msgspec

from phibench.backends.rates import KV
from phibench.core.nouns import Noun
from phibench.predict.costs import Cost, Phase, kernel_type
from phibench.predict.device_class import Place

FIXED = "fixed"  # what no rate shortens: kernels started, threads waited for
_CORES = 25e9  # cycles per second of seven cores: where the power is the number itself
_SHARED = 0.7  # of 0.5 to 1: left-out models are met best by 0.8, two cores of a server (which is in no table) by 0.6
NORM = 3.0  # two limits of one kernel overlap: (a^3 + b^3)^(1/3) is 1.26 times either where they are equal
SHARED_APIS = ("Vulkan", "OpenCL")  # that several vendors' GPUs are programmed through
_FAMILIES = {"int8": "Q8", "int4": "Q4", "MXFP4": "Q4"}


class Support(Noun, frozen=True, kw_only=True):
    """What a class rests on, and how far its predictions were off where each model was left out in turn."""

    models: int = 0
    rows: int = 0
    sd: float


class Table(Noun, frozen=True, kw_only=True, eq=False):
    """Factors by constant and feature; support by phase and class ("" of devices of no class)."""

    factors: dict[str, dict[str, float]]
    support: dict[str, dict[str, Support]]
    flops_per_byte: dict[str, float]  # of a class, between the rates of its data sheets: where FLOP/s are not stated

    def constant(self, name: str, features: tuple[tuple[str, float], ...]) -> float:
        found = self.factors[name]
        return math.prod(math.pow(found.get(feature, 1.0), exponent) for feature, exponent in features)


class Constants(Noun, frozen=True, kw_only=True):
    """Of a place and a family.

    ``read_share`` of bandwidth, ``cache_share`` of that for the KV cache; ``weight_ops``: how many operations one
    weight takes to unpack and multiply; ``matrix_share`` of the matrix rate (of a processor: FLOP per cycle of a core),
    ``attention_share`` of that; seconds of a layer.
    """

    read_share: float
    cache_share: float
    weight_ops: float
    step_layer_s: float
    matrix_share: float
    attention_share: float
    prompt_layer_s: float


NAMES = Constants.__struct_fields__


@functools.cache
def shipped() -> Table:
    text = (Path(__file__).parent / "classes.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Table)


@functools.cache
def family(kernel: str) -> str:
    """Types whose kernels are alike: F16, Q8, Q4 (one scale a block), K (two levels of scales), IQ (codebooks)."""
    kind = kernel_type(kernel)
    if kind == KV:
        return "F16"
    if kind.startswith("IQ"):
        return "Q4" if kind.startswith("IQ4") else "IQ"
    if kind.endswith("_K"):
        return "K"
    return _FAMILIES.get(kind.partition("-")[0]) or (
        "Q8" if kind.startswith("Q8") else "Q4" if kind[0] == "Q" else "F16"
    )


def features(at: Place, family: str) -> tuple[tuple[str, float], ...]:
    """What a constant may depend on at a place, each with its exponent."""
    if at.is_cpu:
        found = ["processors", f"isa {at.isa}"]
    else:
        found = ["GPUs", f"api {at.api}", *([f"{at.vendor} on {at.api}"] if at.api in SHARED_APIS else [])]
    found += [f"class {at.device_class}", f"family {family}", f"family {family} on {at.vendor}"]
    return (*((one, 1.0) for one in found), *at.more)


@functools.lru_cache(maxsize=8192)
def constants(table: Table, at: Place, family: str) -> Constants:
    return Constants(**{name: table.constant(name, features(at, family)) for name in NAMES})


def support(table: Table, phase: Phase, at: Place) -> Support:
    """What a prediction there rests on: its class, else all classes; so does that of a part of a processor."""
    of = table.support[phase]
    return of[""] if at.is_part else of.get(at.device_class, of[""])


def ops_s(table: Table, at: Place, phase: Phase) -> float | None:
    """Operations per second; of a GPU that does not state them, by its bandwidth and what its class usually has.

    A processor's cores share their ways to memory: for a step, twice the cores unpack weights 1.6 times as fast.
    """
    if at.is_cpu:
        return _CORES * (at.ops_s / _CORES) ** _SHARED if at.ops_s and phase == "decode" else at.ops_s
    usual = table.flops_per_byte.get(at.device_class) or table.flops_per_byte[""]
    return at.ops_s or (at.read_bytes_s * usual if at.read_bytes_s and phase == "decode" else None)


def seconds(cost: Cost, at: Place, ops: float, of: dict[str, Constants]) -> dict[str, float]:
    """Of a step or a prompt by kernel, "fixed" among them. ``of``: constants by family. Arrays do as numbers do."""
    assert at.read_bytes_s is not None
    found, any_of = {}, of[family(KV)]
    for kernel, read in cost.bytes_by_type.items():
        flops = cost.flops_by_type.get(kernel, 0.0)
        if kernel_type(kernel) == KV:
            found[kernel] = _cache_s(cost.phase, read, flops, at.read_bytes_s, ops, any_of)
        else:
            c = of[family(kernel)]
            found[kernel] = _norm(read / (at.read_bytes_s * c.read_share), _compute_s(cost, flops, ops, c))
    layer_s = any_of.step_layer_s if cost.phase == "decode" else any_of.prompt_layer_s
    found[FIXED] = cost.layers * layer_s
    return found


def _compute_s(cost: Cost, flops: float, ops: float, c: Constants) -> float:
    """A prompt's products; a step unpacks every weight once, and multiplies it by each further sequence."""
    if cost.phase == "prefill":
        return flops / (ops * c.matrix_share)
    one = flops / cost.tokens
    return one / 2 * c.weight_ops / ops + (flops - one) / (ops * c.matrix_share)


def _cache_s(phase: Phase, read: float, flops: float, bytes_s: float, ops: float, c: Constants) -> float:
    if phase == "decode":
        return read / (bytes_s * c.read_share * c.cache_share)
    return flops / (ops * c.matrix_share * c.attention_share)


def _norm(a: float, b: float) -> float:
    power: float = (a**NORM + b**NORM) ** (1 / NORM)
    return power
