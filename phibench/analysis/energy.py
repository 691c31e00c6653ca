"""Joules of a token: energy of windows, gross and net of what the machine takes at rest. Pure functions.

Gross is what is paid; net, without the power of the idle windows before and after, is for comparing kernels.
A figure is the sum of its sources only where all are counters: otherwise it is the first source's, the device's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from phibench.core.metrics import METRICS, Metric
from phibench.core.nouns import Energy, Measured, Window, Workload

MOST_PAUSES = 0.10  # of a window between its tests: more, and it has no figure


def values(name: str, result: Measured) -> list[float]:
    """The metric of every work window that can tell it: J/token, or tokens/J.

    A window of prompts alone tells prefill, one of new tokens alone decode; none tells a token's share of both.
    """
    metric = METRICS[name]
    tokens = _tokens(metric, result.workload)
    rest_w = rest_w_of(result) if metric.net else {}
    found = []
    for window, busy in work_windows(result):
        joules = joules_of(window, rest_w) if rest_w is not None and busy >= 1 - MOST_PAUSES else None
        if tokens and joules is not None and joules > 0:
            each = joules / (tokens * window.done)
            found.append(1 / each if metric.inverse else each)
    return found


def _tokens(metric: Metric, workload: Workload) -> int:
    """Tokens of one test that the metric is about; 0 where it is not about such a test."""
    prompt, new = workload.prompt_tokens * workload.batch, workload.new_tokens * workload.batch
    if prompt and new:
        return 0
    return prompt if metric.phase == "prefill" else new


def work_windows(result: Measured) -> Iterator[tuple[Window, float]]:
    """Work windows with energy, each with the share of its time that lies inside tests."""
    first = 0
    for window in result.windows:
        if window.kind == "work":
            inside = result.samples[first : first + window.tests]
            first += window.tests
            if window.energy and inside and window.seconds > 0:
                seconds = sum(sample.arrivals_s[-1] for sample in inside if sample.arrivals_s)
                yield window, seconds * window.done / len(inside) / window.seconds


def counted(energy: Sequence[Energy]) -> Sequence[Energy]:
    """What makes up the figure of a window."""
    return energy if all(part.method == "counter" for part in energy) else energy[:1]


def joules_of(window: Window, rest_w: Mapping[str, float]) -> float | None:
    """Of all parts, less what each takes at rest; None where one is not known. ``rest_w`` is empty for gross."""
    total = 0.0
    for part in counted(window.energy):
        if part.joules is None or (rest_w and part.name not in rest_w):
            return None
        total += part.joules - rest_w.get(part.name, 0.0) * part.seconds
    return total


def rest_w_of(result: Measured) -> dict[str, float] | None:
    """Power at rest by source, of all idle windows together; None where none can tell it."""
    joules: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for part in (part for window in result.windows if window.kind == "idle" for part in window.energy):
        if part.joules is not None and part.seconds > 0:
            joules[part.name] = joules.get(part.name, 0.0) + part.joules
            seconds[part.name] = seconds.get(part.name, 0.0) + part.seconds
    return {name: joules[name] / seconds[name] for name in joules} or None


# ------------------------------------------------------------------------------------------------- in words
