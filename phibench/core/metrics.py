"""THE table of metrics: unit, direction, resolution and the formula from a raw sample.

Labels, axes, sorting and limits all read this table. Names follow the field: prefill, decode, TTFT, TPOT,
ITL. TPOT is (end to end - TTFT) / (n - 1). A formula answers None where the sample cannot say.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from phibench.core import stats
from phibench.core.nouns import Sample, Workload

Formula = Callable[[Workload, Sample], float | None]
_CLOCK_S = 1e-9  # no clock that Python offers resolves less


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """``resolution``: values closer than this tie. On a ``log`` grid it is a ratio, else an amount.

    Of energy: ``phase`` is what a token of it is for, ``net`` leaves out what the machine takes at rest, ``inverse`` is
    tokens per joule. ``binary``: of memory, so it is told in GiB; files are in GB.
    """

    name: str
    title: str
    unit: str
    better: Literal["higher", "lower"]
    resolution: float
    log: bool = False
    meter: str | None = None  # what must watch the run; None is the clock
    formula: Formula | None = None
    phase: Literal["prefill", "decode"] | None = None
    net: bool = False
    inverse: bool = False
    binary: bool = False

    def rank(self, value: float) -> float:
        """The value on the metric's grid, signed so that smaller is better. Ties are transitive."""
        if self.log:
            step = round(math.log(max(value, 1e-12)) / math.log(1 + self.resolution))
        else:
            step = round(value / self.resolution)
        return -step if self.better == "higher" else step


def complete(w: Workload, s: Sample) -> bool:
    """One arrival per new token (or the first token after the prompt), in order and after time zero; of an imported
    sample those that it has.

    Only a damaged file or a clock coarser than the work has others; no rate can be made of them.
    """
    arrivals = s.arrivals_s
    count = min(w.new_tokens, 1 + bool(w.prompt_tokens)) if s.ends_only else w.new_tokens
    return (
        len(arrivals) == max(count, 1)
        and arrivals[0] >= _CLOCK_S
        and all(a <= b for a, b in itertools.pairwise(arrivals))
    )


def _prefill_tps(w: Workload, s: Sample) -> float | None:
    return w.prompt_tokens * w.batch / s.arrivals_s[0] if w.prompt_tokens else None


def _decode_tps(w: Workload, s: Sample) -> float | None:
    """With no prompt every token is a decode step (as llama-bench's tg); else the first is prefill's."""
    if not w.new_tokens:
        return None
    if not w.prompt_tokens:
        return w.new_tokens * w.batch / s.arrivals_s[-1]
    elapsed = s.arrivals_s[-1] - s.arrivals_s[0]
    return (w.new_tokens - 1) * w.batch / elapsed if elapsed >= _CLOCK_S else None


def _sequence_tps(w: Workload, s: Sample) -> float | None:
    """What one of several sequences gets."""
    total = _decode_tps(w, s)
    return None if total is None else total / w.batch


def _total_tps(w: Workload, s: Sample) -> float | None:
    return (w.prompt_tokens + w.new_tokens) * w.batch / s.arrivals_s[-1]


def _ttft_s(w: Workload, s: Sample) -> float | None:
    return s.arrivals_s[0] if w.prompt_tokens else None


def _tpot_s(w: Workload, s: Sample) -> float | None:
    known = w.new_tokens > 1 and (w.prompt_tokens or not s.ends_only)
    return (s.arrivals_s[-1] - s.arrivals_s[0]) / (w.new_tokens - 1) if known else None


def _answer_s(w: Workload, s: Sample) -> float | None:
    return s.arrivals_s[-1] if w.prompt_tokens and w.new_tokens else None


def _itl(quantile: float) -> Formula:
    def formula(w: Workload, s: Sample) -> float | None:
        gaps = [b - a for a, b in itertools.pairwise(s.arrivals_s)]
        return stats.percentile(gaps, quantile) if w.new_tokens > 1 and not s.ends_only else None

    return formula


def _metric(name: str, title: str, unit: str, better: Literal["higher", "lower"], resolution: float,
            *, log: bool = False, meter: str | None = None, formula: Formula | None = None,
            phase: Literal["prefill", "decode"] | None = None, net: bool = False, inverse: bool = False,
            binary: bool = False) -> Metric:  # fmt: skip
    return Metric(name=name, title=title, unit=unit, better=better, resolution=resolution, log=log, meter=meter,
                  formula=formula, phase=phase, net=net, inverse=inverse, binary=binary)  # fmt: skip


# fmt: off
METRICS: dict[str, Metric] = {m.name: m for m in (
    _metric("prefill_tps", "Prefill", "tok/s", "higher", 0.10, log=True, formula=_prefill_tps),
    _metric("decode_tps", "Decode", "tok/s", "higher", 0.10, log=True, formula=_decode_tps),
    _metric("sequence_tps", "Decode per sequence", "tok/s", "higher", 0.10, log=True, formula=_sequence_tps),
    _metric("total_tps", "Total", "tok/s", "higher", 0.10, log=True, formula=_total_tps),
    _metric("ttft_s", "TTFT", "s", "lower", 0.10, log=True, formula=_ttft_s),
    _metric("tpot_s", "TPOT", "s", "lower", 0.10, log=True, formula=_tpot_s),
    _metric("itl_p50_s", "ITL p50", "s", "lower", 0.10, log=True, formula=_itl(0.50)),
    _metric("itl_p90_s", "ITL p90", "s", "lower", 0.10, log=True, formula=_itl(0.90)),
    _metric("itl_p99_s", "ITL p99", "s", "lower", 0.10, log=True, formula=_itl(0.99)),
    _metric("answer_s", "Answer", "s", "lower", 0.10, log=True, formula=_answer_s),
    _metric("sustained_tps", "Sustained decode", "tok/s", "higher", 0.10, log=True, meter="window"),
    _metric("load_cold_s", "Load (cold)", "s", "lower", 0.10, log=True, meter="load"),
    _metric("load_warm_s", "Load (warm)", "s", "lower", 0.10, log=True, meter="load"),
    _metric("prefill_j_per_token", "Prefill energy", "J/tok", "lower", 0.10, log=True, meter="energy", phase="prefill"),
    _metric("decode_j_per_token", "Decode energy", "J/tok", "lower", 0.10, log=True, meter="energy", phase="decode"),
    _metric("prefill_net_j_per_token", "Prefill energy, net", "J/tok", "lower", 0.10, log=True, meter="energy",
            phase="prefill", net=True),
    _metric("decode_net_j_per_token", "Decode energy, net", "J/tok", "lower", 0.10, log=True, meter="energy",
            phase="decode", net=True),
    _metric("decode_tokens_per_j", "Decode per joule", "tok/J", "higher", 0.10, log=True, meter="energy",
            phase="decode", inverse=True),
    _metric("host_peak_bytes", "Peak memory", "B", "lower", 0.10, log=True, meter="process", binary=True),
    _metric("host_needed_bytes", "Memory needed", "B", "lower", 0.10, log=True, meter="memory", binary=True),
    _metric("device_peak_bytes", "Device memory", "B", "lower", 0.10, log=True, meter="memory", binary=True),
    _metric("weights_bytes", "Weights", "B", "lower", 0.10, log=True, meter="plan"),
    _metric("kv_bytes", "KV cache", "B", "lower", 0.10, log=True, meter="plan"),
    _metric("disk_bytes", "File", "B", "lower", 0.10, log=True, meter="plan"),
    _metric("max_context_tokens", "Largest context", "tok", "higher", 0.10, log=True, meter="memory"),
    _metric("image_tokens", "Image tokens", "tok", "lower", 0.10, log=True, meter="plan"),
    _metric("audio_tokens", "Audio tokens", "tok", "lower", 0.10, log=True, meter="plan"),
    _metric("preprocess_s", "Preprocess", "s", "lower", 0.10, log=True, meter="encoder"),
    _metric("image_encode_s", "Image encode", "s", "lower", 0.10, log=True, meter="encoder"),
    _metric("audio_encode_s", "Audio encode", "s", "lower", 0.10, log=True, meter="encoder"),
    _metric("rtf", "RTF", "s/s", "lower", 0.10, log=True, meter="encoder"),
    _metric("quality", "Quality", "points", "higher", 1.0, meter="published"),
    _metric("quant_kld", "Quantization loss (KLD)", "nat", "lower", 0.1, meter="published"),
)}
# fmt: on

TIMED = tuple(name for name, metric in METRICS.items() if metric.formula)
_WATCHED = ("process", "memory", "window", "load", "energy")
CLAIMED = (*TIMED, *(name for name, metric in METRICS.items() if metric.meter in _WATCHED))  # what a suite may claim


def metered(names: Iterable[str], meter: str) -> bool:
    """Whether one of these metrics needs the meter."""
    return any(METRICS[name].meter == meter for name in names if name in METRICS)


def values(name: str, workload: Workload, samples: tuple[Sample, ...]) -> list[float]:
    """The metric of every complete sample, without those that cannot say."""
    formula = METRICS[name].formula
    if formula is None:
        return []
    whole = (s for s in samples if complete(workload, s))
    return [v for s in whole if (v := formula(workload, s)) is not None]
