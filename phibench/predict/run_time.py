"""How long a suite will take on a setup, before anything starts: from the predictor, as a range."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from phibench.core.metrics import metered
from phibench.core.nouns import Estimate, Machine, Setup, Suite, Warmup, Workload
from phibench.predict import basis, calibration, roofline, speed


def estimate_s(
    setup: Setup,
    suite: Suite,
    workloads: Sequence[Workload],
    layers: int | None,
    machine: Machine,
    seen: Sequence[calibration.CalibrationPoint],
) -> Estimate | None:
    """Seconds of depths, warm-up and repetitions of ``workloads`` in all launches; None where no speed is known.

    A depth is filled once, and at most anew for every repetition: where the KV cache is computed again on the way,
    that costs a filling too. Opening the model and writing its file come on top: they depend on a disk that nobody
    has measured yet.
    """
    if not workloads:  # all were refused
        return None
    low = high = 0.0
    parts: list[Estimate] = []
    for workload in workloads:
        once = _once(workload, setup, layers, machine, seen)
        cut = suite.warmup.max_prompt_tokens
        shorter = msgspec.structs.replace(workload, prompt_tokens=min(workload.prompt_tokens, cut or (1 << 40)))
        warm = _once(shorter, setup, layers, machine, seen)
        if once is None or warm is None:
            return None
        windows = _windows(suite.warmup, warm)
        window = suite.window_s  # is filled with whole tests
        repetitions = suite.repetitions + metered(suite.metrics, "memory")  # which looks at the test once more
        low += repetitions * max(window, once.low) + min(windows, 1) * warm.low + 2 * suite.idle_s
        high += repetitions * (window + once.high) + windows * warm.high + 2 * suite.idle_s
        if workload.depth:
            prompt = Workload(prompt_tokens=workload.depth, new_tokens=0, batch=workload.batch)
            filling = _once(prompt, setup, layers, machine, seen)
            if filling is None:
                return None
            low += filling.low
            anew = roofline.recomputes(setup, workload) or workload.batch > 1  # not every engine can cut a batch back
            again = 2 * (suite.repetitions + windows) if anew else 1
            high += filling.high * again
        parts.append(once)
    return Estimate(
        value=(low * high) ** 0.5 * suite.launches,
        low=low * suite.launches,
        high=high * suite.launches,
        basis=basis.worst(*(part.basis for part in parts)),
        because=parts[0].because,
    )


def _once(
    workload: Workload, setup: Setup, layers: int | None, machine: Machine, seen: Sequence[calibration.CalibrationPoint]
) -> Estimate | None:
    """Seconds of one repetition.

    A decode step of a batch reads the weights once: it takes at least as long as one of a single sequence, and at most
    as long as that and its tokens as a prompt, or as its sequences one after the other.
    """
    cost = roofline.token_cost(
        roofline.cost_sheet(setup, layers),
        prompt_tokens=max(workload.prompt_tokens, 1),
        prompt_depth=workload.depth,
        depth=workload.depth + workload.prompt_tokens + workload.new_tokens / 2,
    )
    decode = speed.estimate("decode_tps", setup, cost, machine, seen)
    if decode is None:
        return None
    prefill = speed.estimate("prefill_tps", setup, cost, machine, seen)
    batch, prompt, new = workload.batch, workload.prompt_tokens * workload.batch, workload.new_tokens
    single, others = 1 / decode.low, (1 / prefill.low if prefill else 1 / decode.low)
    step = min(batch * single, single + batch * others) if batch > 1 else single
    # a prompt token never takes longer than a decoded one: prefill reads the weights once for many tokens
    slow, fast = (prefill.low, prefill.high) if prefill else (decode.low, float("inf"))
    return Estimate(
        value=prompt / (prefill or decode).value + new / decode.value,
        low=prompt / fast + new / decode.high,
        high=prompt / slow + new * step,
        basis=basis.worst(decode.basis, prefill.basis) if prefill else decode.basis,
        because=decode.because,
    )


def _windows(rule: Warmup, once: Estimate) -> int:
    """The most warm-up repetitions: they stop at ``max_windows``, or after ``max_s``."""
    return min(rule.max_windows, int(rule.max_s / once.low) + 1 if once.low > 0 else rule.max_windows)
