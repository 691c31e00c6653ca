"""A worker process and its lines: results as they come, and a reason for every one that does not.

After a failure the next workload gets a fresh worker. After two deaths of one kind in one phase the rest of a setup is
not tried: what kills an engine twice kills it again, and each try costs minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from phibench import backends, files, processes, worker
from phibench.nouns import Event, Failed, Job, Measured, Progress, Result, Workload
from phibench.probe import conditions
from phibench.processes import Child, End
from phibench.worker import now, shared

MOST_DEATHS = 2  # of one setup, of one kind in one phase
_EVENT = msgspec.json.Decoder(Event)
_WHAT_NEXT = {
    "signal": "phibench doctor tests this engine; -b takes another one",
    "hang": "PHIBENCH_SILENCE=1h waits longer, if it is only slow; phibench doctor tests this engine",
    "out_of_memory": "take a coarser -q, a smaller variant, a shorter test, or free memory",
    "exit": "phibench doctor tests this engine; -b takes another one",
    "closed": "phibench doctor tests this engine; -b takes another one",
    "wrong_numbers": "figures of wrong answers mean nothing; phibench doctor tests this engine",
}
_DOING = {"starting": "while its process started", "opening": "while it opened the model", "preparing": "preparing {}",
          "prefill": "in prefill of {}", "decode": "in decode of {}", "finishing": "after {}"}  # fmt: skip

Deaths = Counter[tuple[str, str, str]]  # (kind, signal, phase) -> how often, of one setup


def results(job: Job, tell: Callable[[Event], None], deaths: Deaths | None = None) -> Iterator[Result]:
    """Results of one job, a fresh worker after every failure. ``deaths``: of this setup so far, counted on."""
    owed, deaths = list(job.workloads), Counter() if deaths is None else deaths
    while owed:
        if last := _hopeless(deaths):
            yield from (_untried(job, workload, last) for workload in owed)
            return
        failed = None
        for event in _one_worker(job, owed[:1] if job.suite.fresh else owed):
            tell(event)
            if isinstance(event, Measured | Failed):
                owed.remove(event.workload)
                yield event
            failed = event if isinstance(event, Failed) else None
        if failed and failed.kind:
            deaths[failed.kind, failed.signal, failed.phase] += 1
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
        for line in child.lines(processes.silence_s(job.suite.timeout_s)):
            try:
                event = _EVENT.decode(line)
            except msgspec.DecodeError:
                continue  # no line of ours: an engine has written to a descriptor that it does not own
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
        reason = f"{_engine(job)} {_doing(phase, failed.workload)}: {reason}; {_WHAT_NEXT[failed.kind]}"
    return msgspec.structs.replace(failed, reason=files.scrub(reason), phase=phase, engine=_engine(job))


def _dead(job: Job, workload: Workload, end: End, phase: str) -> Failed:
    doing, options = _doing(phase, workload), "&".join(f"{key}={value}" for key, value in job.setup.options)
    reason = f"{_engine(job)}{f' with {options}' if options else ''} {_told(end, doing)}; {_WHAT_NEXT[end.kind]}"
    return Failed(
        setup=job.setup, workload=workload, reason=files.scrub(reason), kind=end.kind, phase=phase, signal=end.signal,
        engine=_engine(job), artifact=shared(job.artifact), threads=job.threads, at=now(),
    )  # fmt: skip


def _told(end: End, doing: str) -> str:
    """``died of SIGSEGV (a segmentation fault) in prefill of pp512: what it said``."""
    plain = msgspec.structs.replace(end, said="")
    return f"{plain} {doing}" + (f": {end.said}" if end.said else "")


def _doing(phase: str, workload: Workload) -> str:
    return _DOING[phase].format(workload)


def _engine(job: Job) -> str:
    name = job.setup.backend
    version = backends.load(name).installed()
    return f"{name} {version}" if version else name


def _hopeless(deaths: Deaths) -> tuple[str, str, str] | None:
    return next((death for death, count in deaths.items() if count >= MOST_DEATHS), None)


def _untried(job: Job, workload: Workload, death: tuple[str, str, str]) -> Failed:
    kind, signal, phase = death
    what = signal or kind.replace("_", " ")
    reason = f"not tried: {_engine(job)} has ended {MOST_DEATHS} times by {what} in the same phase ({phase}); "
    return Failed(
        setup=job.setup, workload=workload, reason=reason + _WHAT_NEXT[kind], kind=kind, phase=phase, signal=signal,  # type: ignore[arg-type]
        engine=_engine(job), artifact=shared(job.artifact), threads=job.threads, at=now(),
    )  # fmt: skip
