"""A worker process and its lines: results as they come, and a reason for every one that does not.

After a failure the next workload gets a fresh worker. After two deaths of one kind in one phase the rest of a setup is
not tried: what kills an engine twice kills it again, and each try costs minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from phibench import backends
from phibench.core import ends, processes, text
from phibench.core.ends import End
from phibench.core.nouns import Event, Failed, Job, Kind, Measured, Progress, Result, Workload
from phibench.core.processes import Child
from phibench.core.units import now
from phibench.measure import worker
from phibench.measure.worker import shared
from phibench.probe import conditions

MOST_DEATHS = 2  # of one setup, of one kind in one phase
_EVENT = msgspec.json.Decoder(Event)
_HAS: dict[Kind, str] = {
    "signal": "died of a signal", "hang": "hung", "out_of_memory": "run out of memory", "exit": "left",
    "closed": "given no answer", "wrong_numbers": "given wrong numbers",
}  # fmt: skip
Deaths = Counter[tuple[Kind, str]]  # (kind, phase) -> how often, of one setup


def results(job: Job, on_event: Callable[[Event], None], deaths: Deaths | None = None) -> Iterator[Result]:
    """Results of one job, a fresh worker after every failure. ``deaths``: of this setup so far, counted on."""
    owed, deaths = list(job.workloads), Counter() if deaths is None else deaths
    while owed:
        if last := _hopeless(deaths):
            yield from (_untried(job, workload, last) for workload in owed)
            return
        failed = None
        for event in _one_worker(job, owed[:1] if job.suite.fresh else owed):
            on_event(event)
            if isinstance(event, Measured | Failed):
                owed.remove(event.workload)
                yield event
            failed = event if isinstance(event, Failed) else None
        if failed and failed.kind:
            deaths[failed.kind, failed.phase] += 1
        elif failed and failed.phase in ("starting", "opening"):  # what an engine refuses to open it refuses again
            for workload in owed:
                yield msgspec.structs.replace(failed, workload=workload)
            return


def _one_worker(job: Job, workloads: list[Workload]) -> Iterator[Event]:
    """Events of one worker, until it has measured all, or with a failure at the end."""
    left, failed = list(workloads), False
    current = left[0]
    with Child(worker.__name__, oom_kills=conditions.oom_kills) as child:
        child.tell(msgspec.json.encode(msgspec.structs.replace(job, workloads=tuple(left))))
        for event in child.events(_EVENT, processes.silence_s(job.suite.timeout_s)):
            current = event.workload if isinstance(event, Progress) else current
            if isinstance(event, Measured | Failed):
                left.remove(event.workload)
                failed = isinstance(event, Failed)
                current = left[0] if left else current
            yield _placed(job, event, child.phase) if isinstance(event, Failed) else event
        if left and not failed:
            yield _dead(job, current, child.end(), child.phase)


def _placed(job: Job, failed: Failed, phase: str) -> Failed:
    """A failure that the worker told itself, with what it was doing."""
    reason = failed.reason
    if failed.kind:
        reason = f"{_with_options(job)} {_doing(phase, failed.workload)}: {reason}; {ends.NEXT[failed.kind]}"
    return msgspec.structs.replace(failed, reason=text.scrub(reason), phase=phase, engine=_engine(job))


def _dead(job: Job, workload: Workload, end: End, phase: str) -> Failed:
    reason = ends.sentence(_with_options(job), end, _doing(phase, workload), ends.NEXT[end.kind])
    return msgspec.structs.replace(_failed(job, workload, reason), kind=end.kind, phase=phase, signal=end.signal)


def _hopeless(deaths: Deaths) -> tuple[Kind, str] | None:
    return next((death for death, count in deaths.items() if count >= MOST_DEATHS), None)


def _untried(job: Job, workload: Workload, death: tuple[Kind, str]) -> Failed:
    """Nothing ran, so nothing died: the reason alone tells of the deaths before."""
    kind, phase = death
    before = f"{_engine(job)} has {_HAS[kind]} {MOST_DEATHS} times {_doing(phase, 'a test')}"
    return _failed(job, workload, f"not tried: {before}; {ends.NEXT[kind]}")


def _failed(job: Job, workload: Workload, reason: str) -> Failed:
    return Failed(
        setup=job.setup, workload=workload, reason=text.scrub(reason), engine=_engine(job),
        artifact=shared(job.artifact), threads=job.threads, at=now(),
    )  # fmt: skip


def _doing(phase: str, what: Workload | str) -> str:
    return ends.DOING[phase].format(what)


def _with_options(job: Job) -> str:
    options = "&".join(f"{key}={value}" for key, value in job.setup.options)
    return f"{_engine(job)} with {options}" if options else _engine(job)


def _engine(job: Job) -> str:
    name = job.setup.backend
    version = backends.load(name).installed()
    return f"{name} {version}" if version else name
