"""The measured process: one job in on stdin, one line out for each event.

C libraries print on file descriptor 1 past ``sys.stdout``: so the worker keeps a private copy of it for its
lines, and points 1 at stderr. When the parent dies, stdin closes and the worker leaves.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from phibench import backends, meters
from phibench.errors import PhibenchError
from phibench.measure import measure, once
from phibench.nouns import Artifact, Event, Failed, Job, Measured, Opened, PageCache, Progress, Workload
from phibench.probe import gpu_use, pages, process
from phibench.probe.others import Others

Send = Callable[[Event], None]


def main() -> int:
    private = os.dup(1)
    os.dup2(2, 1)
    line = sys.stdin.buffer.readline()
    job = msgspec.json.decode(line, type=Job)
    leave_with_parent()
    _prefer_as_victim()
    with os.fdopen(private, "wb", buffering=0) as out:
        return work(job, lambda event: _write(out.fileno(), msgspec.json.encode(event) + b"\n"))


def work(job: Job, send: Send) -> int:
    """Open the session once and measure every workload; after a failure leave, the parent starts a fresh one."""
    current = job.workloads[0]
    others = Others()
    try:
        before = gpu_use.use(job.setup.device)
        cache = _page_cache(job)
        with meters.watching(job) as watch, contextlib.ExitStack() as opened:
            began = time.perf_counter()
            session = opened.enter_context(backends.load(job.setup.backend).session(job))
            load_s = time.perf_counter() - began
            send(Opened(engine=session.engine, load_s=load_s))
            for current in job.workloads:
                others.begin()
                taken = measure(session, current, job.suite, _reporter(current, send), watch)
                first_s = time.perf_counter() - began  # until the first token, where a suite asks for nothing else
                busy = others.share()
                seen = watch.finish(functools.partial(once, session, current))
                used = gpu_use.told(job.setup.device, before, gpu_use.use(job.setup.device))
                engine = session.engine
                send(
                    Measured(
                        setup=job.setup,
                        workload=current,
                        artifact=shared(job.artifact),
                        threads=job.threads,
                        engine=msgspec.structs.replace(engine, evidence=engine.evidence + used),
                        samples=taken.samples,
                        load_s=load_s,
                        warmup_s=taken.warmup_s,
                        readings={**readings(), **seen.readings, **({f"load_{cache}_s": first_s} if cache else {})},
                        windows=taken.windows,
                        memory=seen.memory,
                        notes=seen.notes,
                        busy_share=busy,
                        at=now(),
                    )
                )
    except (PhibenchError, MemoryError) as error:
        reason = str(error) or "the process ran out of memory"
        send(
            Failed(
                setup=job.setup,
                workload=current,
                reason=reason,
                artifact=shared(job.artifact),
                at=now(),
                threads=job.threads,
            )
        )
        return 1
    return 0


def _page_cache(job: Job) -> PageCache | None:
    """What the pages of the artifact are now, if the suite asks for a state of them. Raises PhibenchError if not."""
    turns = job.suite.page_cache
    if not turns:
        return None
    wanted = turns[job.launch % len(turns)]
    pages.prepare(Path(job.artifact.path) if job.artifact.path else None, wanted)
    return wanted


def _reporter(workload: Workload, send: Send) -> Callable[[str, int, int], None]:
    def report(stage: str, done: int, total: int) -> None:
        send(Progress(workload=workload, stage=stage, done=done, total=total))

    return report


def readings() -> dict[str, float]:
    """What the system has counted of this process so far; it costs nothing to read it."""
    peak = process.peak_bytes()
    return {} if peak is None else {"host_peak_bytes": float(peak)}


def shared(artifact: Artifact) -> Artifact:
    """What of an artifact may stand in a shared file: its name, not the folder it lies in."""
    return msgspec.structs.replace(artifact, path=Path(artifact.path).name)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def leave_with_parent() -> None:
    """Of a process whose stdin is a pipe that the parent holds: it closes when the parent is gone, however it went."""

    def wait() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(0, 4096):
                pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _prefer_as_victim() -> None:
    """If Linux runs out of memory it shall take the worker, not the parent that keeps the results."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


if __name__ == "__main__":
    sys.exit(main())
