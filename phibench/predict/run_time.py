"""How long a suite will take on a setup, before anything starts: from the predictor, as a range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from phibench.core.metrics import metered
from phibench.core.nouns import Estimate, Setup, Suite, Warmup, Workload
from phibench.predict import basis, costs, offload
from phibench.predict.speed import Knowledge


def estimate_s(
    setup: Setup,
    suite: Suite,
    workloads: Sequence[Workload],
    layers: int | None,
    known: Knowledge,
) -> Estimate | None:
    """Seconds of depths, warm-up and repetitions of ``workloads`` in all launches; None where no speed is known.

    A depth is filled once, and at most anew for every repetition: where the KV cache is computed again on the way,
    that costs a filling too. Opening the model and writing its file come on top: they depend on a disk that nobody
    has measured yet.
    """
    if not workloads:  # all were refused
        return None
    low = high = 0.0
    of_tests: list[Estimate] = []
    for workload in workloads:
        parts = [_once(part, setup, layers, known) for part in _parts(workload, suite)]
        told = [part for part in parts if part is not None]
        if len(told) < len(parts):
            return None
        once, warm, *fillings = told
        windows = _windows(suite.warmup, warm)
        window = suite.window_s  # is filled with whole tests
        repetitions = suite.repetitions + metered(suite.metrics, "memory")  # which looks at the test once more
        low += repetitions * max(window, once.low) + min(windows, 1) * warm.low + 2 * suite.idle_s
        high += repetitions * (window + once.high) + windows * warm.high + 2 * suite.idle_s
        for filling in fillings:
            low += filling.low
            anew = costs.recomputes(setup, workload) or workload.batch > 1  # not every engine can cut a batch back
            high += filling.high * (2 * (suite.repetitions + windows) if anew else 1)
        of_tests.append(once)
    value, of_all = (low * high) ** 0.5 * suite.launches, basis.worst(*(once.basis for once in of_tests))
    low, high = low * suite.launches, high * suite.launches
    return Estimate(value=value, low=low, high=high, basis=of_all, because=of_tests[0].because)


def _parts(workload: Workload, suite: Suite) -> Iterator[Workload]:
    """The test, its warm-up, and the prompt that fills its depth, if it has one."""
    yield workload
    most = suite.warmup.max_prompt_tokens or (1 << 40)
    yield msgspec.structs.replace(workload, prompt_tokens=min(workload.prompt_tokens, most))
    if workload.depth:
        yield Workload(prompt_tokens=workload.depth, new_tokens=0, batch=workload.batch)


def _once(workload: Workload, setup: Setup, layers: int | None, known: Knowledge) -> Estimate | None:
    """Seconds of one repetition."""
    sheet, w = costs.cost_sheet(setup, layers), workload
    step = costs.step(sheet, w.depth + w.prompt_tokens + w.new_tokens / 2, w.batch)
    decode = offload.tokens_s(known, setup, step, layers)
    if decode is None:
        return None
    prefill = offload.tokens_s(known, setup, costs.prompt(sheet, max(w.prompt_tokens, 1), w.depth, w.batch), layers)
    prompt, new = w.prompt_tokens * w.batch, w.new_tokens * w.batch
    # a prompt token never takes longer than a decoded one: prefill reads the weights once for many tokens
    slow, fast = (prefill.low, prefill.high) if prefill else (decode.low, float("inf"))
    return Estimate(
        value=prompt / (prefill or decode).value + new / decode.value,
        low=prompt / fast + new / decode.high,
        high=prompt / slow + new / decode.low,
        basis=basis.worst(decode.basis, prefill.basis) if prefill else decode.basis,
        because=decode.because,
    )


def _windows(rule: Warmup, once: Estimate) -> int:
    """The most warm-up repetitions: they stop at ``max_windows``, or after ``max_s``."""
    return min(rule.max_windows, int(rule.max_s / once.low) + 1 if once.low > 0 else rule.max_windows)
