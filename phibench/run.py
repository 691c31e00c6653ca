"""A suite over setups: a worker process per setup and launch; what a dead worker still owed becomes Failed.

The run file is written whole after every result, so a crash of anything costs at most the sample under way.
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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from phibench import backends, catalog, files, units
from phibench.errors import FAILED, PhibenchError
from phibench.nouns import (
    Artifact,
    Event,
    Failed,
    Job,
    Machine,
    Measured,
    Need,
    Noun,
    Opened,
    Progress,
    Result,
    Run,
    Setup,
    Suite,
    Workload,
)
from phibench.probe import conditions
from phibench.worker import now, shared

if TYPE_CHECKING:
    from phibench.catalog.plan import Plan

Tell = Callable[[Job, int, Event], None]
_EVENT = msgspec.json.Decoder(Event)
_NO_FILE = Artifact(path="", bytes=0, weights="synthetic")


class InterruptedRunError(PhibenchError):
    """Ctrl-C: what is done is kept in ``path``."""


class Task(Noun, frozen=True, kw_only=True):
    """One setup before anything starts: what it will occupy, and why it cannot run here (or None)."""

    setup: Setup
    suite: Suite
    threads: int
    need: Need
    plan: Plan | None = None  # None: the backend opens no file
    artifact: Artifact | None = None  # a real file that is already here
    layers: int | None = None
    write_bytes: int = 0  # of a synthetic file that is not in the cache yet
    objection: str | None = None


# ------------------------------------------------------------------------------------------------ before


def prepare(
    setups: Sequence[Setup],
    suite: Suite,
    machine: Machine,
    *,
    layers: int | None = None,
    real: Artifact | None = None,
    real_plan: Plan | None = None,
    force: bool = False,
) -> tuple[Task, ...]:
    """Plan every setup: tensors, memory, disk. Nothing is written or opened.

    Raises PhibenchError for an unknown name, a backend that is not installed, an impossible shape.
    """
    from phibench.catalog import plan as plans

    tasks = []
    for setup in setups:
        backend = backends.require(setup.backend)
        backends.check_options(setup)
        options = backends.effective(setup)
        threads = int(options.get("threads") or machine.limits.threads)
        if not backend.FORMATS:
            need = Need(weights_bytes=0, kv_bytes=0, compute_bytes=0, runtime_bytes=0, because="no model")
            tasks.append(Task(setup=setup, suite=suite, threads=threads, need=need))
            continue
        variant = catalog.variant(setup.variant)
        plan = real_plan or plans.plan(variant, setup.quantization, layers)
        context = max(w.context for w in suite.workloads())
        shape = variant.shape
        assert shape is not None, "a variant with a plan has a shape"
        _check_context(setup, context, variant.context_tokens)
        need = backend.need(plan, shape, context, options)
        write = 0 if real or _cached(plan, setup, layers) else plan.file_bytes
        objection = None if force else _too_big(setup, need, machine)
        tasks.append(
            Task(setup=setup, suite=suite, threads=threads, need=need, plan=plan, artifact=real,
                 layers=layers, write_bytes=write, objection=objection)
        )  # fmt: skip
    return tuple(tasks)


def _check_context(setup: Setup, context: int, largest: int | None) -> None:
    if largest is not None and context > largest:
        raise PhibenchError(
            f"{setup.variant} has a context of {units.context(largest)} tokens, the suite needs {context}; "
            "take shorter -p, -n or -d"
        )


def _cached(plan: Plan, setup: Setup, layers: int | None) -> bool:
    from phibench.synth import gguf

    return gguf.cached(catalog.variant(plan.variant), setup.quantization, layers) is not None


def _too_big(setup: Setup, need: Need, machine: Machine) -> str | None:
    """Refuse instead of swapping; only what the process may really use counts."""
    free = machine.limits.free_bytes
    if setup.device != "cpu" or need.total_bytes <= free:
        return None
    return (
        f"needs {units.gib(need.total_bytes)} of memory ({need.because}), this process may use "
        f"{units.gib(free)} now; take a smaller quantization or variant, free memory, or --force"
    )


# ------------------------------------------------------------------------------------------------ running


def run(
    tasks: Sequence[Task],
    suite: Suite,
    machine: Machine,
    folder: Path,
    *,
    software: dict[str, str],
    tell: Tell,
    write: Callable[[int, int], None] | None = None,
    resume: bool = False,
) -> tuple[Run, Path]:
    """Measure every task, launch by launch (A B A B), saving after every result.

    Returns the run and its file. Raises InterruptedRunError (exit 130) on Ctrl-C, PhibenchError (exit 1) when the
    results cannot be written.
    """
    done, path = _start(suite, machine, folder, software, resume)
    before = conditions.look()
    try:
        for launch in range(suite.launches):
            for task in tasks:
                owed = tuple(w for w in suite.workloads() if not _has(done, task.setup, w, launch))
                for result in _task(task, owed, launch, tell, write):
                    done = _with(done, result)
                    files.write_json(path, done)
    except KeyboardInterrupt:
        if done.results:
            files.write_json(path, done)
        kept = f"; results kept in {path}: {len(done.results)} (--resume goes on)" if done.results else ""
        raise InterruptedRunError(f"interrupted{kept}", 130) from None
    done = _judged(done, before, conditions.look())
    files.write_json(path, done)
    return done, path


def _judged(run: Run, before: dict[str, str], after: dict[str, str]) -> Run:
    """The run with the conditions around it, and what they say against it; a resumed run keeps old doubts."""
    seen = {f"before_{k}": v for k, v in before.items()} | {f"after_{k}": v for k, v in after.items()}
    doubts = dict.fromkeys((*run.warnings, *conditions.warnings(before, after)))
    return msgspec.structs.replace(run, conditions=seen, warnings=tuple(doubts))


def _start(suite: Suite, machine: Machine, folder: Path, software: dict[str, str], resume: bool) -> tuple[Run, Path]:
    """A fresh run, or with ``resume`` the newest one of the same suite on this machine."""
    if resume:
        for path in sorted((folder / machine.slug).glob("*.json"), reverse=True):
            with contextlib.suppress(PhibenchError):
                old = files.read_run(path)
                if old.suite == suite and old.machine.identity == machine.identity and not old.example:
                    return old, path
    started = now()
    fresh = Run(
        id=started.replace("-", "").replace(":", ""),
        started=started,
        suite=suite,
        machine=machine,
        software=software,
    )
    path = files.run_path(folder, fresh)
    count = 1
    while path.exists():
        count += 1
        fresh = msgspec.structs.replace(fresh, id=f"{started.replace('-', '').replace(':', '')}-{count}")
        path = files.run_path(folder, fresh)
    return fresh, path


def _has(run: Run, setup: Setup, workload: Workload, launch: int) -> bool:
    return any(
        isinstance(r, Measured) and (r.setup, r.workload, r.launch) == (setup, workload, launch) for r in run.results
    )


def _with(run: Run, result: Result) -> Run:
    """The run with one more result; a failure that was tried again is replaced."""
    key = (result.setup, result.workload, result.launch)
    kept = tuple(r for r in run.results if (r.setup, r.workload, r.launch) != key)
    return msgspec.structs.replace(run, results=(*kept, result))


def _task(
    task: Task,
    owed: Sequence[Workload],
    launch: int,
    tell: Tell,
    write: Callable[[int, int], None] | None,
) -> Iterator[Result]:
    """All results of one launch of one setup; never raises for what a worker did."""

    def fail(reason: str, artifact: Artifact | None = None) -> Iterator[Result]:
        for workload in owed:
            yield Failed(setup=task.setup, workload=workload, reason=files.scrub(reason), launch=launch,
                         artifact=artifact, threads=task.threads, at=now())  # fmt: skip

    if not owed:
        return
    if task.objection:
        yield from fail(task.objection)
        return
    try:
        artifact = task.artifact or _write(task, write)
    except PhibenchError as error:
        yield from fail(str(error))
        return
    job = Job(setup=task.setup, suite=task.suite, workloads=tuple(owed), artifact=artifact, threads=task.threads)
    for result in _results(job, lambda event: tell(job, launch, event)):
        yield msgspec.structs.replace(result, launch=launch)


def _write(task: Task, progress: Callable[[int, int], None] | None) -> Artifact:
    if task.plan is None:
        return _NO_FILE
    from phibench.synth import gguf

    return gguf.ensure(catalog.variant(task.setup.variant), task.setup.quantization, task.layers, progress)


def _results(job: Job, tell: Callable[[Event], None]) -> Iterator[Result]:
    """Results of one job, a fresh worker after every failure."""
    owed = list(job.workloads)
    while owed:
        current, opened, failed = owed[0], False, None
        worker = _Worker(msgspec.structs.replace(job, workloads=tuple(owed)))
        try:
            for event in worker.events(job.suite.timeout_s):
                tell(event)
                opened = opened or isinstance(event, Opened)
                if isinstance(event, Progress):
                    current = event.workload
                if isinstance(event, Measured | Failed):
                    owed.remove(event.workload)
                    current = owed[0] if owed else current
                    failed = event if isinstance(event, Failed) else None
                    yield event
        finally:
            worker.close()
        if owed and not failed:
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
            [sys.executable, "-m", "phibench.worker"],
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


def exit_code(run: Run) -> int:
    """1 when a requested measurement failed."""
    return FAILED if any(isinstance(r, Failed) for r in run.results) else 0
