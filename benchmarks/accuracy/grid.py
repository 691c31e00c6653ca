"""The truth that predictions are scored against: whole models measured here, each in turns with an anchor slice.

    python benchmarks/accuracy/grid.py FOLDER [--only REGEX] [--rounds 4]

A machine that others share wanders by 20 to 30 % over hours, and changes from one second to the next. So every cell has
a process of its own that keeps both models open: anchor, cell, anchor, each a few seconds long; score.py divides the
cell by the anchor of its round. Prompts take long and wander little: every second round has one. A cell is a run file
in FOLDER, its rounds stand there as launches. A cell that has a file is skipped, so that a grid that was cut off goes
on. Files of the cell are removed from the cache afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from phibench import backends, catalog, synth
from phibench.core import files
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Job, Machine, Measured, Run, Setup, Suite, Warmup, Workload
from phibench.core.units import now
from phibench.machine import inventory
from phibench.machine.software import software
from phibench.measure import record, worker
from phibench.measure.tasks import Task, prepare
from phibench.measure.timing import measure as measured
from phibench.probe.other_programs import Others
from phibench.verify import selftest

VARIANTS = ("phi-4-mini-instruct", "phi-3.5-mini-instruct", "phi-2", "phi-1.5")
BUILDS = {
    "llama_cpp": ("Q4_K_M", "Q8_0", "Q6_K", "IQ4_XS", "Q3_K_M", "Q5_K_M", "Q4_0", "Q2_K", "Q4_K_S", "IQ3_M"),
    "onnxruntime": ("int4", "int4-acc0"),
    "torch": ("bf16", "int8", "int4"),
}
MORE = (
    Setup(variant="phi-4", quantization="Q4_K_M", backend="llama_cpp"),
    Setup(variant="phi-4", quantization="Q3_K_M", backend="llama_cpp"),
    Setup(variant="phi-1.5", quantization="F16", backend="llama_cpp"),
)
ANCHORS = {"llama_cpp": "Q4_K_M", "onnxruntime": "int4", "torch": "bf16"}  # of Phi-4-mini
# PyTorch's small types wait for arithmetic, and wander as it does; not their own type, whose error would cancel.
ANCHORS_OF = {("torch", "int8"): "int4", ("torch", "int4"): "int8"}
ANCHOR_LAYERS = 4
_METRICS = ("prefill_tps", "decode_tps")
PROMPT, ANSWER = Workload(prompt_tokens=512, new_tokens=0), Workload(prompt_tokens=0, new_tokens=32)
SUITE = Suite(
    name="accuracy", question="How fast is the whole model, and how fast its anchor just before and after?",
    metrics=_METRICS, prompt_tokens=(512,), new_tokens=(32,), repetitions=1, warmup=Warmup(windows=1, max_windows=1),
)  # fmt: skip
# A whole is warm after a few tokens. A slice's prompt is over in a second, of which fresh memory would be a tenth.
SHORT, NONE = Warmup(windows=1, max_windows=1, max_prompt_tokens=32), Warmup(windows=1, max_windows=0)


def cells() -> Iterator[Setup]:
    """The cells that are looked at first come first: the nine of a table that was measured once, then the rest."""
    first = [Setup(variant=v, quantization="Q4_K_M", backend="llama_cpp") for v in VARIANTS[:3]]
    first += [Setup(variant=VARIANTS[0], quantization=q, backend="llama_cpp") for q in BUILDS["llama_cpp"][1:5]]
    first += [Setup(variant="phi-1.5", quantization="Q8_0", backend="llama_cpp"), MORE[0]]
    everything = [
        Setup(variant=v, quantization=q, backend=b) for b, builds in BUILDS.items() for q in builds for v in VARIANTS
    ]
    # engines take turns, so that a grid that is cut off has cells of each
    others = [s for s in everything if s not in first]
    queues = [[s for s in others if s.backend == b] for b in BUILDS]
    mixed = [s for rank in range(max(map(len, queues))) for queue in queues for s in queue[rank : rank + 1]]
    yield from dict.fromkeys([*first, *mixed, *MORE])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", type=re.compile, default=re.compile(""), help="cells whose text has this")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--again", default="", help="a word for a second file of cells that were measured before")
    parser.add_argument("--answers", action="store_true", help="no prompts, which take most of the time")
    asked = parser.parse_args()
    machine = inventory.this_machine(matrix_too=True)
    machine = selftest.tested(machine, [(backend, "cpu") for backend in BUILDS], _note)
    for setup in cells():
        path = asked.folder / f"{re.sub('[^A-Za-z0-9.-]+', '_', str(setup))}{asked.again}.json"
        if asked.only.search(str(setup)) and not path.exists():
            began = time.monotonic()
            process = multiprocessing.get_context("spawn").Process(
                target=measure, args=(setup, machine, asked.rounds, path, asked.answers)
            )
            process.start()
            process.join()
            _forget(setup)
            print(f"{time.monotonic() - began:6.1f} s  {setup}  {'' if path.exists() else 'FAILED'}", flush=True)
    return 0


def measure(setup: Setup, machine: Machine, rounds: int, path: Path, alone: bool) -> None:
    """One cell, as a run file; its answers ``alone``."""
    tasks = _task(_anchor(setup), machine, ANCHOR_LAYERS), _task(setup, machine, None)
    if why := next((t.objection or (t.refused[0][1] if t.refused else None) for t in tasks), None):
        _note(f"{setup}: {why}")
        return
    started = now()
    with contextlib.ExitStack() as opened:
        anchor, cell = (Model(task, opened) for task in tasks)
        for number in range(rounds):
            for workload in (ANSWER,) if alone or number % 2 else (ANSWER, PROMPT):
                anchor.take(workload, number)
                cell.take(workload, number)
                anchor.take(workload, number)
    done = Run(
        id=path.stem, started=started, suite=msgspec.structs.replace(SUITE, launches=rounds),
        machine=record.of_places(machine, tasks), software=software(), results=(*anchor.results(), *cell.results()),
    )  # fmt: skip
    files.write_json(path, done)


class Model:
    """An open model, and what was measured of it."""

    def __init__(self, task: Task, opened: contextlib.ExitStack) -> None:
        assert task.plan is not None
        variant, fmt = catalog.variant(task.setup.variant), task.plan.format
        artifact = synth.ensure(variant, task.setup.quantization, fmt, task.layers)
        self._whole, workloads = task.layers is None, (PROMPT, ANSWER)
        self._job = Job(
            setup=task.setup, suite=SUITE, workloads=workloads, artifact=artifact, threads=task.threads
        )  # fmt: skip
        self._session = opened.enter_context(backends.load(task.setup.backend).session(self._job))
        self._seen: dict[tuple[Workload, int], Measured] = {}

    def take(self, workload: Workload, number: int) -> None:
        """Once, after a warm-up; two of one round are two samples of one launch. Answers need all of it but once."""
        warmup = SHORT if self._whole else SUITE.warmup
        if workload is ANSWER and number:  # its first step touches the new context
            warmup = NONE
            self._session.begin(workload)
            self._session.step()
        suite, others = msgspec.structs.replace(SUITE, warmup=warmup), Others()
        others.begin()
        timing = measured(self._session, workload, suite, lambda *_: None)
        before = self._seen.get((workload, number))
        shares = [share for share in (others.share(), before.busy_share if before else None) if share is not None]
        self._seen[workload, number] = Measured(
            setup=self._job.setup, workload=workload, artifact=worker.shared(self._job.artifact),
            threads=self._job.threads, engine=self._session.engine,
            samples=(*(before.samples if before else ()), *timing.samples), busy_share=max(shares, default=None),
            launch=number, at=now(),
        )  # fmt: skip

    def results(self) -> tuple[Measured, ...]:
        return tuple(self._seen.values())


def _task(setup: Setup, machine: Machine, layers: int | None) -> Task:
    safe, machine = selftest.ready((setup,), machine, _note)
    return prepare(safe, SUITE, machine, layers=layers)[0]


def _note(line: str) -> None:
    print(line, file=sys.stderr)


def _anchor(setup: Setup) -> Setup:
    usual = ANCHORS[setup.backend]
    build = ANCHORS_OF.get((setup.backend, setup.quantization), usual)
    return Setup(variant=VARIANTS[0], quantization=build, backend=setup.backend)


def _forget(setup: Setup) -> None:
    """The cell's own file: a grid writes a hundred gigabytes."""
    fmt = backends.load(setup.backend).FORMATS[0]
    with contextlib.suppress(OSError, PhibenchError):
        artifact = synth.ensure(catalog.variant(setup.variant), setup.quantization, fmt, None, None, lambda: None)
        shutil.rmtree(artifact.path) if Path(artifact.path).is_dir() else Path(artifact.path).unlink()


if __name__ == "__main__":
    sys.exit(main())
