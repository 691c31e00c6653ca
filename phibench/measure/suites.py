"""Suites: by name or from a file, made shorter, changed by flags, and checked before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from phibench.core import files, folders, stats
from phibench.core.errors import PhibenchError, unknown
from phibench.core.metrics import CLAIMED, METRICS, TIMED, metered
from phibench.core.nouns import Suite
from phibench.measure.request import RunRequest

MISSION = ("latency", "throughput", "memory", "energy", "sustained")
_MOST_S = 86_400


def load(name: str) -> Suite:
    """A suite by name (``latency``) or by path. Raises PhibenchError for anything it cannot mean."""
    path = Path(name)
    if path.suffix != ".toml":
        known = sorted(p.stem for p in folders.data_dir("suites").glob("*.toml"))
        if name not in known:
            raise unknown("suite", name, known, f"there are: {', '.join(known)}, or give a .toml file")
        path = folders.data_dir("suites") / f"{name}.toml"
    return check(files.read_strict(path, Suite), name)


def check(suite: Suite, where: str) -> Suite:
    """A suite must ask for something, and claim only what is measured."""
    for metric in suite.metrics:
        if metric not in CLAIMED:
            raise unknown("metric", metric, CLAIMED, f"{where} may claim: {', '.join(CLAIMED)}")
    _check_axes(suite, where)
    if not suite.metrics:
        raise PhibenchError(f"{where} claims no metric; it may claim: {', '.join(CLAIMED)}")
    _check_protocol(suite, where)
    if not suite.workloads():
        raise PhibenchError(f"{where} measures nothing: -p 0 and -n 0 together; give one of them, or -pg")
    if min(suite.repetitions, suite.launches) < 1:
        raise PhibenchError(f"{where}: repetitions and launches start at 1")
    return suite


def _check_protocol(suite: Suite, where: str) -> None:
    """What a metric needs of the protocol must be there."""
    timed = [metric for metric in suite.metrics if metric in TIMED]
    if timed and metered(suite.metrics, "memory"):
        raise PhibenchError(f"{where} watches memory, which costs time: leave out {timed[0]}, or make two suites")
    if (metered(suite.metrics, "energy") or metered(suite.metrics, "window")) and not suite.window_s:
        raise PhibenchError(f"{where}: energy and sustained speed are measured over windows; give window_s")
    if any(METRICS[metric].net for metric in suite.metrics) and not suite.idle_s:
        raise PhibenchError(f"{where}: energy net of rest needs a rest; give idle_s, or leave the net metrics out")
    for kind in ("cold", "warm"):
        if f"load_{kind}_s" in suite.metrics and kind not in suite.page_cache:
            raise PhibenchError(f'{where}: load_{kind}_s needs "{kind}" in page_cache')
    once = suite.fresh and suite.repetitions == 1 and not (suite.warmup.max_windows or suite.window_s)
    prompts = not (any(suite.new_tokens) or suite.pairs or suite.walks)
    if suite.page_cache and not (once and prompts):
        raise PhibenchError(f"{where} times opening to first token: only prompts, one repetition, fresh, no warm-up")


def _check_axes(suite: Suite, where: str) -> None:
    numbers = (*suite.prompt_tokens, *suite.new_tokens, *suite.depths, *(n for pair in suite.pairs for n in pair))
    if any(n < 0 for n in numbers):
        raise PhibenchError(f"{where}: a number of tokens is negative")
    if any(n < 1 for pair in suite.pairs for n in pair):
        raise PhibenchError(f"{where}: a pair needs at least one prompt token and one new token")
    if bad := [walk for walk in suite.walks if not 0 <= walk[0] < walk[1]]:
        raise PhibenchError(f"{where}: a walk goes from its first token up to its last, not {bad[0][0]} to {bad[0][1]}")
    if min(suite.batches, default=0) < 1 or min(suite.contexts, default=-1) < 0:
        raise PhibenchError(f"{where}: batches start at 1, contexts at 0 (as long as the test)")


def requested(request: RunRequest, name: str) -> Suite:
    """The named suite as a request wants it: shortened, and with its axes; of all suites what suits another is left."""
    suite = _short(load(name), name) if request.quick else load(name)
    suite = in_turns(suite) if len(request.backends) > 1 else suite
    changes: dict[str, Any] = {**request.axes, "repetitions": request.repetitions, "launches": request.launches}
    changes["pairs"] = request.pairs or None
    if (seconds := request.seconds) is not None:
        if not 0 < seconds <= _MOST_S:
            raise PhibenchError(f"--seconds goes up to {_MOST_S}, not {seconds:g}")
        if not suite.window_s and not request.every_suite:
            raise PhibenchError(f"--seconds is for suites that run for a time; {suite.name} repeats with -r")
        changes["window_s"] = seconds if suite.window_s else 0.0
    given = {field: value for field, value in changes.items() if value is not None}
    return check(msgspec.structs.replace(suite, **given), name)


def _short(suite: Suite, where: str) -> Suite:
    if suite.quick is None:
        raise PhibenchError(f"{where} has no short form; leave out --quick")
    return suite.shortened()


def in_turns(suite: Suite) -> Suite:
    """For several backends: as many launches as a winner needs, one repetition in each, warmed up by a whole one.

    A first whole prompt takes memory from the system, which costs each engine another time. Left as they are: suites
    that time nothing, that go on for a time, that ask for several batches, or that were made short.
    """
    timed = any(metric in TIMED for metric in suite.metrics)
    if not timed or suite.window_s or suite.short or len(suite.batches) > 1:
        return suite
    warmup = msgspec.structs.replace(suite.warmup, max_prompt_tokens=None)
    return msgspec.structs.replace(suite, launches=stats.MIN_PAIRS, repetitions=1, warmup=warmup)
