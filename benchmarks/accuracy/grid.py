"""The truth that predictions are scored against: whole models measured here, each in turns with an anchor slice.

    python benchmarks/accuracy/grid.py FOLDER [--only REGEX] [--launches 2]

A machine that others share wanders by 20 to 30 % over hours, so every cell is a run file of its own in FOLDER, in which
the cell and its engine's anchor took turns; score.py divides both by the anchor. A cell that has a file is skipped, so
that a grid that was cut off goes on. Files of the cell are removed from the cache afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
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
from phibench.core.nouns import Machine, Run, Setup, Suite, Warmup
from phibench.machine import inventory
from phibench.machine.software import software
from phibench.measure import run
from phibench.measure.tasks import Task, prepare
from phibench.verify import selftest

VARIANTS = ("phi-4-mini-instruct", "phi-3.5-mini-instruct", "phi-2", "phi-1.5")
BUILDS = {
    "llama_cpp": ("Q4_K_M", "Q8_0", "Q6_K", "IQ4_XS", "Q3_K_M", "Q5_K_M", "Q4_0", "Q2_K", "Q4_K_S", "IQ3_M"),
    "onnxruntime": ("int4", "int8", "int4-acc0"),
    "torch": ("bf16", "int8", "int4"),
}
MORE = (
    Setup(variant="phi-4", quantization="Q4_K_M", backend="llama_cpp"),
    Setup(variant="phi-4", quantization="Q3_K_M", backend="llama_cpp"),
    Setup(variant="phi-1.5", quantization="F16", backend="llama_cpp"),
    Setup(variant="phi-tiny-moe-instruct", quantization="Q4_K_M", backend="llama_cpp"),
)
ANCHORS = {"llama_cpp": ("Q4_K_M", 4), "onnxruntime": ("int4", 4), "torch": ("bf16", 4)}  # of Phi-4-mini, in layers
_PROMPT, _NEW = 512, 32
_METRICS = ("prefill_tps", "decode_tps")
WHOLE = Suite(
    name="accuracy", question="How fast is the whole model?", metrics=_METRICS, prompt_tokens=(_PROMPT,),
    new_tokens=(_NEW,), repetitions=1, look_s=0.3,
    warmup=Warmup(windows=1, max_windows=1, max_prompt_tokens=32),
)  # fmt: skip
# A slice's prompt is over in a second, of which fresh memory would be a tenth: warmed up by a whole one.
SLICE = Suite(
    name="accuracy", question="How fast is the anchor now?", metrics=_METRICS, prompt_tokens=(_PROMPT,),
    new_tokens=(_NEW,), repetitions=1, look_s=0.3, warmup=Warmup(windows=1, max_windows=1),
)  # fmt: skip


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
    parser.add_argument("--launches", type=int, default=2)
    parser.add_argument("--again", default="", help="a word for a second file of cells that were measured before")
    asked = parser.parse_args()
    machine = inventory.this_machine(matrix_too=True)
    machine = selftest.tested(machine, [(backend, "cpu") for backend in BUILDS], _note)
    for setup in cells():
        path = asked.folder / f"{re.sub('[^A-Za-z0-9.-]+', '_', str(setup))}{asked.again}.json"
        if asked.only.search(str(setup)) and not path.exists():
            began = time.monotonic()
            done = measured(setup, machine, asked.launches, asked.folder / "under_way")
            if done is not None:
                files.write_json(path, done)
            print(f"{time.monotonic() - began:6.1f} s  {setup}  {'' if done else 'FAILED'}", flush=True)
    return 0


def measured(setup: Setup, machine: Machine, launches: int, folder: Path) -> Run | None:
    tasks = [*_tasks(_anchor(setup), machine, SLICE, launches, ANCHORS[setup.backend][1])]
    tasks += _tasks(setup, machine, WHOLE, launches, None)
    if why := next((t.objection or (t.refused[0][1] if t.refused else None) for t in tasks), None):
        print(f"{setup}: {why}", file=sys.stderr)
        return None
    suite = _launched(WHOLE, launches)
    done, path = run.run(tasks, suite, machine, folder, software=software(), on_event=lambda *_: None)
    path.unlink()
    _forget(setup)
    return done


def _launched(suite: Suite, launches: int) -> Suite:
    return msgspec.structs.replace(suite, launches=launches)


def _tasks(setup: Setup, machine: Machine, suite: Suite, launches: int, layers: int | None) -> tuple[Task, ...]:
    safe, machine = selftest.ready((setup,), machine, _note)
    return prepare(safe, _launched(suite, launches), machine, layers=layers)


def _note(line: str) -> None:
    print(line, file=sys.stderr)


def _anchor(setup: Setup) -> Setup:
    return Setup(variant=VARIANTS[0], quantization=ANCHORS[setup.backend][0], backend=setup.backend)


def _forget(setup: Setup) -> None:
    """The cell's own file: a grid writes a hundred gigabytes."""
    fmt = backends.load(setup.backend).FORMATS[0]
    artifact = synth.ensure(catalog.variant(setup.variant), setup.quantization, fmt, None, None, lambda: None)
    with contextlib.suppress(OSError, PhibenchError):
        shutil.rmtree(artifact.path) if Path(artifact.path).is_dir() else Path(artifact.path).unlink()


if __name__ == "__main__":
    sys.exit(main())
