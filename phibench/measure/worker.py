"""The measured process: jobs in on stdin, one line out for each event, and one byte that says what it is doing.

An empty line is the last: it leaves then, and after a failure.

C libraries print on file descriptor 1 past ``sys.stdout``: so the worker keeps a private copy of it for its
lines, and points 1 at stderr. When the parent dies, stdin closes and the worker leaves.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from phibench import backends, meters
from phibench.core.errors import FallbackError, NotMeasurableError, OutOfMemoryError, PhibenchError, WrongNumbersError
from phibench.core.nouns import (
    Artifact,
    Cause,
    Engine,
    Event,
    Failed,
    Job,
    Kind,
    Measured,
    Opened,
    PageCache,
    Progress,
    Stage,
    Workload,
)
from phibench.core.processes import Board, leave_with_parent, private_output
from phibench.core.units import now
from phibench.measure.timing import Report, Timing, measure, once
from phibench.meters.contract import MeterReadings
from phibench.probe.devices import gpu_use
from phibench.probe.other_programs import Others
from phibench.probe.system import page_cache, process

Send = Callable[[Event], None]


def main() -> int:
    private, board = private_output(), Board()
    lines = leave_with_parent()
    _prefer_as_victim()
    failed, count = 0, 0
    while not failed and (line := lines.get()):
        job = msgspec.json.decode(line, type=Job)
        failed = work(job, lambda event: _write(private, msgspec.json.encode(event) + b"\n"), board.show, count)
        count += 1
    return failed


def work(job: Job, send: Send, show: Callable[[str], None] = lambda _: None, done: int = 0) -> int:
    """Open the session once and measure every workload; after a failure leave, the parent starts a fresh one.

    ``show`` hears what is being done: one of ``ends.PHASES``. ``done``: jobs that this process has done, whose peak
    of memory would be taken for this one's.
    """
    current = job.workloads[0]
    others = Others()
    try:
        before = gpu_use.use(job.setup.device)
        cache = _page_cache(job)
        with meters.watching(job) as watch, contextlib.ExitStack() as opened:
            show("opening")
            began = time.perf_counter()
            session = opened.enter_context(backends.load(job.setup.backend).session(job))
            load_s = time.perf_counter() - began
            send(Opened(engine=session.engine, load_s=load_s))
            for current in job.workloads:
                others.begin()
                timing = measure(session, current, job.suite, _reporter(current, send), watch, show)
                first_s = time.perf_counter() - began  # until the first token, where a suite asks for nothing else
                busy = others.share()
                seen = watch.finish(functools.partial(once, session, current))
                used = gpu_use.told(job.setup.device, before, gpu_use.use(job.setup.device))
                engine = msgspec.structs.replace(session.engine, evidence=session.engine.evidence + used)
                told = _measured(job, current, engine, timing, seen, {} if done else readings())
                more = {f"load_{cache}_s": first_s} if cache else {}
                told = msgspec.structs.replace(told, load_s=load_s, readings=told.readings | more, busy_share=busy)
                send(told)
    except (PhibenchError, MemoryError) as error:
        send(_failed(job, current, error))
        return 1
    return 0


def _measured(
    job: Job, workload: Workload, engine: Engine, timing: Timing, seen: MeterReadings, counted: dict[str, float]
) -> Measured:
    return Measured(
        setup=job.setup, workload=workload, artifact=shared(job.artifact), threads=job.threads, engine=engine,
        samples=timing.samples, warmup_s=timing.warmup_s, windows=timing.windows,
        readings=counted | seen.readings, memory=seen.memory, notes=seen.notes, at=now(),
    )  # fmt: skip


def _failed(job: Job, workload: Workload, error: Exception) -> Failed:
    """What the engine or a rule said no to, in its words; ``launch`` adds what was done then."""
    kind: Kind | None = "out_of_memory" if isinstance(error, MemoryError | OutOfMemoryError) else None
    kind = "wrong_numbers" if isinstance(error, WrongNumbersError) else kind
    cause: Cause = "unavailable" if isinstance(error, NotMeasurableError) else "failed"
    cause = "fallback" if isinstance(error, FallbackError) else cause
    why = error.why if isinstance(error, NotMeasurableError) else ""
    return Failed(
        setup=job.setup, workload=workload, reason=str(error) or "the process ran out of memory", cause=cause, why=why,
        kind=kind, artifact=shared(job.artifact), at=now(), threads=job.threads,
    )  # fmt: skip


def _page_cache(job: Job) -> PageCache | None:
    """What the pages of the artifact are now, if the suite asks for a state of them. Raises PhibenchError if not."""
    turns = job.suite.page_cache
    if not turns:
        return None
    wanted = turns[job.launch % len(turns)]
    page_cache.prepare(Path(job.artifact.path) if job.artifact.path else None, wanted)
    return wanted


def _reporter(workload: Workload, send: Send) -> Report:
    def report(stage: Stage, done: int, total: int) -> None:
        send(Progress(workload=workload, stage=stage, done=done, total=total))

    return report


def readings() -> dict[str, float]:
    """What the system has counted of this process so far; it costs nothing to read it."""
    peak = process.peak_bytes()
    return {} if peak is None else {"host_peak_bytes": float(peak)}


def shared(artifact: Artifact) -> Artifact:
    """What of an artifact may stand in a shared file: its name, not the folder it lies in."""
    return msgspec.structs.replace(artifact, path=Path(artifact.path).name)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _prefer_as_victim() -> None:
    """If Linux runs out of memory it shall take the worker, not the parent that keeps the results."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


if __name__ == "__main__":
    sys.exit(main())
