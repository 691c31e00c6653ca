"""Seconds from opening a model to the first token of a short prompt: with its file on the disk, and in memory.

warm = what the engine starts with + bytes of each tensor type / how fast it is opened + the prompt
cold = warm + bytes of the file / what the disk reads
"""

from __future__ import annotations

import math

import msgspec

from phibench import backends
from phibench.backends.rates import Span
from phibench.core import units
from phibench.core.nouns import Basis, Device, Estimate, Grounds, Setup
from phibench.predict import costs, offload
from phibench.predict.basis import worst
from phibench.predict.costs import kernel_type
from phibench.predict.observed import LOADS, Load
from phibench.predict.speed import Knowledge

_PROMPT = 16  # tokens, as suites/load.toml
_OTHER = 2.0  # factor of an 80 % interval: how fast one machine opened, on another (assumed)
_HERE = 1.3  # the same where loads of this engine were timed here (assumed)
# Of what a disk reads in order past the page cache, one block after another, what opening a file gets: where 0.96 GB/s
# were probed, cold was slower than warm by 0.4 to 3.8 s for 0.76 to 4.1 GB of llama.cpp's files, 0.5 to 2.4 of that.
_DISK_SHARE: Span = (0.5, 2.5)


class _Seconds(msgspec.Struct, frozen=True):
    low: float
    value: float
    high: float
    basis: Basis
    because: str


def estimates(known: Knowledge, setup: Setup, device: Device) -> dict[str, Estimate]:
    """``load_cold_s`` and ``load_warm_s``; what nobody knows is left out."""
    found = {}
    models = _models(known, setup, device, None)
    for metric in LOADS:
        told = _measured(known, setup, metric)
        if told is None and metric in models:
            told = _reckoned(known, setup, device, metric, models[metric])
        if told:
            found[metric] = told
    return found


def _measured(known: Knowledge, setup: Setup, metric: str) -> Estimate | None:
    one = next((s for s in known.loads if (s.metric, s.setup, s.layers) == (metric, setup, None)), None)
    if one is None:
        return None
    told = f"measured: {one.seen}"
    return Estimate(value=one.seconds, low=one.seconds, high=one.seconds, basis="measured", because=told)


def _reckoned(known: Knowledge, setup: Setup, device: Device, metric: str, model: _Seconds) -> Estimate:
    same = [one for one in known.loads if one.metric == metric and _engine(one.setup) == _engine(setup)]
    ratios = [one.seconds / seconds for one in same if (seconds := _value(known, one, device))]
    if not ratios:
        return Estimate(value=model.value, low=model.low, high=model.high, basis=model.basis, because=model.because)
    factor = math.exp(math.fsum(map(math.log, ratios)) / len(ratios))
    value = model.value * factor
    return Estimate(
        value=value, low=value / _HERE, high=value * _HERE, basis="calibrated",
        because=f"{model.because}; {factor:.2g} of that in {len(ratios)} loads here",
        grounds=Grounds(anchors=len(ratios)),
    )  # fmt: skip


def _engine(setup: Setup) -> tuple[str, str]:
    return setup.backend, setup.device


def _value(known: Knowledge, one: Load, device: Device) -> float | None:
    model = _models(known, one.setup, device, one.layers).get(one.metric)
    return model.value if model else None


def _models(known: Knowledge, setup: Setup, device: Device, layers: int | None) -> dict[str, _Seconds]:
    """By metric; without those of which something is not known."""
    rates = backends.load(setup.backend).RATES
    sheet = costs.cost_sheet(setup, layers)
    if rates is None or rates.start_s is None:
        return {}
    first = _first_token(known, setup, layers)
    if first is None:
        return {}
    # what lies on a device keeps the file's layout
    kinds = [("" if device.kind != "cpu" else kernel_type(kernel), part.bytes) for kernel, part in sheet.parts]
    opened = rates.start_s + math.fsum(count / rates.opened_bytes_s(kind) for kind, count in kinds)
    spans = [(opened / _OTHER, opened, opened * _OTHER), (first.low, first.value, first.high)]
    told = f"opened in {units.duration(opened)}, first token in {units.duration(first.value)}"
    if device.kind != "cpu" and not device.shares_memory:
        spans.append(_span(sheet.plan.weights_bytes, *offload.LINK_BYTES_S))
        told += ", sent to the device"
    basis = worst("probed", first.basis)
    found = {"load_warm_s": _sum(spans, basis, told)}
    disk = known.machine.storage.read_bytes_s if known.machine.storage else None
    if disk:
        told += f", {units.gb(sheet.disk_bytes)} from a disk that reads {units.gb(disk)}/s"
        read = _span(sheet.disk_bytes, *(disk * share for share in _DISK_SHARE))
        found["load_cold_s"] = _sum([*spans, read], basis, told)
    return found


def _span(count: float, slow: float, fast: float) -> tuple[float, float, float]:
    return count / fast, count / math.sqrt(slow * fast), count / slow


def _sum(spans: list[tuple[float, float, float]], basis: Basis, because: str) -> _Seconds:
    low, value, high = (math.fsum(end) for end in zip(*spans, strict=True))
    return _Seconds(low, value, high, basis, because)


def _first_token(known: Knowledge, setup: Setup, layers: int | None) -> _Seconds | None:
    """Of a prompt that is so short that it may wait for memory, as a step does: of both the longer, end by end."""
    sheet = costs.cost_sheet(setup, layers)
    found = []
    for cost in (costs.prompt(sheet, _PROMPT), costs.step(sheet, _PROMPT)):
        speed = offload.tokens_s(known, setup, cost, layers)
        if speed is None:
            return None
        n = cost.tokens
        found.append(_Seconds(n / speed.high, n / speed.value, n / speed.low, speed.basis, speed.because))
    longer = max(found, key=lambda one: one.value)
    low, high = max(one.low for one in found), max(one.high for one in found)
    return msgspec.structs.replace(longer, low=low, high=high)
