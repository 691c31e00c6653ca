"""A worker process and its lines: results as they come, and a reason for every one that does not.

After a failure the next workload gets a fresh worker. After two deaths of one kind in one phase the rest of a setup is
not tried: what kills an engine twice kills it again, and each try costs minutes.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Self

import msgspec

from phibench import backends
from phibench.core import ends, processes, text
from phibench.core.ends import End
from phibench.core.nouns import Event, Failed, Job, Kind, Measured, Progress, Result, Setup, Workload
from phibench.core.processes import Child
from phibench.core.units import now
from phibench.measure import worker
from phibench.measure.worker import shared
from phibench.probe import conditions

MOST_DEATHS = 2  # of one setup, of one kind in one phase
_EVENT = msgspec.json.Decoder(Event)
_HAS: dict[Kind, str] = {
    "signal": "died of a signal", "hang": "hung", "out_of_memory": "run out of memory", "exit": "exited",
    "closed": "given no answer", "wrong_numbers": "given wrong numbers",
}  # fmt: skip
Deaths = Counter[tuple[Kind, str]]  # (kind, phase) -> how often, of one setup


def stays(setup: Setup) -> bool:
    """Whether its worker can: on a GPU what it still holds of the model before would be taken for the next one's."""
    return setup.device == "cpu"


class Workers:
    """Workers that stay for the next job of their engine: starting one takes longer than measuring a slice."""

    def __init__(self) -> None:
        self._waiting: dict[str, Child] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._waiting.values():
            child.close()

    def take(self, job: Job) -> Child:
        child = self._waiting.pop(job.setup.backend, None)
        if child and child.process.poll() is not None:
            child.close()
            child = None
        return child or _started()

    def leave(self, job: Job, child: Child) -> None:
        self._waiting[job.setup.backend] = child


def results(
    job: Job, on_event: Callable[[Event], None], deaths: Deaths | None = None, workers: Workers | None = None
) -> Iterator[Result]:
    """Results of one job, a fresh worker after every failure. ``deaths``: of this setup so far, counted on.

    ``workers``: where the job may find one, and leaves it.
    """
    owed, deaths = list(job.workloads), Counter() if deaths is None else deaths
    while owed:
        if last := _hopeless(deaths):
            yield from (_untried(job, workload, last) for workload in owed)
            return
        failed = None
        for event in _one_worker(job, owed[:1] if job.suite.fresh else owed, workers):
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


def _one_worker(job: Job, workloads: list[Workload], workers: Workers | None) -> Iterator[Event]:
    """Events of one worker, until it has measured all, or with a failure at the end."""
    left, failed = list(workloads), False
    current = left[0]
    kept = workers if stays(job.setup) and not job.suite.fresh else None
    with contextlib.ExitStack() as ended:
        child = ended.enter_context(kept.take(job) if kept else _started())
        child.tell(msgspec.json.encode(msgspec.structs.replace(job, workloads=tuple(left))))
        if not kept:
            child.tell(b"")
        for event in child.events(_EVENT, processes.silence_s(job.suite.timeout_s)):
            current = event.workload if isinstance(event, Progress) else current
            if isinstance(event, Measured | Failed):
                left.remove(event.workload)
                failed = isinstance(event, Failed)
                current = left[0] if left else current
            yield _placed(job, event, child.phase) if isinstance(event, Failed) else event
            if kept and not left and not failed:
                ended.pop_all()
                kept.leave(job, child)
                return
        if left and not failed:
            yield _dead(job, current, child.end(), child.phase)


def _started() -> Child:
    return Child(worker.__name__, oom_kills=conditions.oom_kills)


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
