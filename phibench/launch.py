"""A worker process and its lines: results as they come, and a reason for every one that does not.

After a failure the next workload gets a fresh worker.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import IO

import msgspec

from phibench import files, units
from phibench.nouns import Event, Failed, Job, Measured, Opened, Progress, Result
from phibench.probe import conditions
from phibench.worker import now, shared

_EVENT = msgspec.json.Decoder(Event)


def results(job: Job, tell: Callable[[Event], None]) -> Iterator[Result]:
    """Results of one job, a fresh worker after every failure."""
    owed = list(job.workloads)
    while owed:
        current, opened, failed = owed[0], False, None
        turn = owed[:1] if job.suite.fresh else owed[:]  # what this worker is to measure
        worker = _Worker(msgspec.structs.replace(job, workloads=tuple(turn)))
        try:
            for event in worker.events(job.suite.timeout_s):
                tell(event)
                opened = opened or isinstance(event, Opened)
                if isinstance(event, Progress):
                    current = event.workload
                if isinstance(event, Measured | Failed):
                    turn.remove(event.workload)
                    owed.remove(event.workload)
                    current = turn[0] if turn else current
                if isinstance(event, Measured):
                    yield event
                if isinstance(event, Failed):
                    failed = msgspec.structs.replace(event, reason=files.scrub(event.reason))
                    yield failed
        finally:
            worker.close()
        if turn and not failed:
            owed.remove(current)
            failed = Failed(setup=job.setup, workload=current, reason=files.scrub(worker.reason()), at=now(),
                            artifact=shared(job.artifact), threads=job.threads)  # fmt: skip
            yield failed
        if failed and not opened:  # what cannot be opened once cannot be opened again
            for workload in owed:
                yield msgspec.structs.replace(failed, workload=workload)
            return


class _Worker:
    """The worker process and its lines."""

    def __init__(self, job: Job) -> None:
        self._oom_kills = conditions.oom_kills()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed in close()
        detached = (
            {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
            if os.name == "nt"
            else {"start_new_session": True}  # Ctrl-C is for the parent, which keeps the results
        )
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "phibench.worker"],  # -P: no module from the current folder
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            **detached,
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(msgspec.json.encode(job) + b"\n")
            self._process.stdin.flush()
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._hung: float | None = None
        self._tail = ""  # last line of stderr, known after close()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def events(self, timeout_s: float) -> Iterator[Event]:
        """Events until the worker ends; it is killed when none comes for ``timeout_s``."""
        while True:
            try:
                line = self._lines.get(timeout=timeout_s)
            except queue.Empty:
                self._hung = timeout_s
                return
            if line is None:
                self._process.wait()
                return
            yield _EVENT.decode(line)

    def reason(self) -> str:
        """Why there is no result, in words: a timeout, a signal's name, or the last line of stderr."""
        if self._hung is not None:
            return f"no sign of life for {units.duration(self._hung)}; killed"
        code, last = self._process.returncode, self._tail
        if code >= 0:
            return f"the worker left with code {code}" + (f": {last}" if last else "")
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        if name != "SIGKILL":  # what an engine says before it aborts is the reason
            return f"the worker was ended by {name}" + (f": {last}" if last else "")
        if (conditions.oom_kills() or 0) > (self._oom_kills or 0):
            return "the system ran out of memory and ended the worker (SIGKILL)"
        return "the worker was ended by SIGKILL, from outside"

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError, AttributeError):
                pipe.close()  # type: ignore[union-attr]
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - 4096))
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        self._tail = lines[-1].strip()[:300] if lines else ""
        self._errors.close()
