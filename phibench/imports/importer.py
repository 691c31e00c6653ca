"""Old numbers become a run file, so that they can be shown, compared and used by the advisor beside new ones."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from phibench import __version__, backends, catalog
from phibench.core import files, run_files
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Machine, Measured, Run, Sample, Setup, Suite, Workload
from phibench.imports import whose
from phibench.imports.llama_bench import read
from phibench.imports.models import FORMAT
from phibench.imports.rows import Refused
from phibench.imports.translate import BACKEND, ImportRequest, Test, tests_of
from phibench.machine import inventory

OnNote = Callable[[str], None]
_METRICS = {
    "llama-bench": ("prefill_tps", "ttft_s", "decode_tps"),
    "llama-batched-bench": ("prefill_tps", "ttft_s", "decode_tps", "sequence_tps"),
}


def run_import(path: Path | None, request: ImportRequest, folder: Path, on_note: OnNote) -> tuple[Run, ...]:
    """Write the runs that the file holds, one for each build and machine in it, and return them.

    ``path`` None is standard input. ``on_note`` hears what was left out or assumed. Raises PhibenchError where nothing
    is left.
    """
    request = _checked(request)
    file = read(path)
    for note in file.odd:
        on_note(note)
    machine, described = request.machine or inventory.this_machine(bandwidth=False), request.machine is not None
    tests, refused = [], list(file.refused)
    for line in file.lines:
        try:
            tests += tests_of(line, request, machine)
        except PhibenchError as error:
            refused.append(Refused(line.number, str(error)))
    groups = []
    for group in _together(tests):
        if why := whose.elsewhere(group[0], machine, described):
            refused += [Refused(number, why) for number in dict.fromkeys(test.line for test in group)]
        else:
            groups.append(group)
    _say(refused, file.name, nothing_left=not groups, on_note=on_note)
    told = [note for group in groups for note in whose.taken_for(group[0], machine, described, file.name)]
    for note in dict.fromkeys(told):
        on_note(note)
    digest = _digest(file.content, machine, [test for group in groups for test in group])
    if before := sorted(folder.rglob(f"*-{digest}-*.json")):
        on_note(f"imported before, nothing is written: {', '.join(map(str, before))}")
        return tuple(run_files.read_run(old) for old in before)
    runs = []
    for number, group in enumerate(groups, start=1):
        run = _run(group, digest if number == 1 else f"{digest}-{number}", machine, _written(path))
        files.write_json(run_files.run_path(folder, run), run)
        on_note(f"results: {run_files.run_path(folder, run)}")
        runs.append(run)
    return tuple(runs)


def _say(refused: Sequence[Refused], name: str, *, nothing_left: bool, on_note: OnNote) -> None:
    """What was left out, a line for each reason. Raises PhibenchError, with the reason if it is one, where all was."""
    lines: dict[str, dict[int, None]] = defaultdict(dict)
    for one in sorted(refused):
        lines[one.why][one.line] = None
    if nothing_left and len(lines) == 1:
        ((why, numbers),) = lines.items()
        raise PhibenchError(f"nothing in {name} can be imported; {_numbered(tuple(numbers))}: {why}")
    for why, numbers in lines.items():
        on_note(f"{name}, {_numbered(tuple(numbers))} {'is' if len(numbers) == 1 else 'are'} left out: {why}")
    if nothing_left:
        raise PhibenchError(f"nothing in {name} can be imported")


def _numbered(lines: Sequence[int]) -> str:
    """``line 2``, ``lines 2, 5 and 9``, ``lines 2, 5, 9, 12, 15 and 40 more``."""
    first, rest = [str(line) for line in lines[:5]], len(lines) - 5
    last = f"{rest} more" if rest > 0 else first.pop()
    return f"line{'s' if first else ''} {' and '.join(filter(None, (', '.join(first), last)))}"


def _checked(request: ImportRequest) -> ImportRequest:
    """Names looked up before anything is read from the file."""
    changes: dict[str, str] = {}
    if request.variant is not None:
        variant = catalog.variant(request.variant)
        if why := backends.objection(backends.load(BACKEND), variant):
            raise PhibenchError(why)
        changes["variant"] = variant.id
    if request.quantization is not None:
        changes["quantization"] = catalog.quantization(request.quantization, FORMAT).id
    return msgspec.structs.replace(request, **changes)


def _digest(content: bytes, machine: Machine, tests: Sequence[Test]) -> str:
    """Of the file and of how it was understood: told otherwise (``-q``, ``--machine``), it is another run."""
    meant = "\n".join((machine.identity, *sorted({str(test.setup) for test in tests})))
    return hashlib.sha256(content + meant.encode()).hexdigest()[:8]


def _together(tests: Sequence[Test]) -> list[list[Test]]:
    groups: dict[tuple[str, str, str, tuple[str, ...]], list[Test]] = defaultdict(list)
    for test in tests:
        groups[test.engine.details["tool"], test.build, test.processor, test.gpus].append(test)
    return list(groups.values())


def _written(path: Path | None) -> str:
    """When the file was last written: all that a file without times says of its age. Standard input: now."""
    at = datetime.fromtimestamp(path.stat().st_mtime, UTC) if path else datetime.now(UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


# -------------------------------------------------------------------------------------------------- the run


def _run(tests: Sequence[Test], name: str, machine: Machine, written: str) -> Run:
    started = min((test.at for test in tests if test.at), default=written)
    tool = tests[0].engine.details["tool"]
    suite = Suite(
        name=tool,
        question=f"What {tool} measured, imported.",
        metrics=_METRICS[tool],
        repetitions=max(len(test.seconds) for test in tests),
    )
    return Run(
        id=f"{started.replace('-', '').replace(':', '')}-{name}",
        started=started,
        suite=suite,
        machine=machine,
        software={"phibench": __version__, BACKEND: tests[0].build or "unknown build"},
        results=_results(tests),
        imported=f"{tool} {tests[0].build}".strip(),
        imported_tool=tool,
    )


def _results(tests: Sequence[Test]) -> tuple[Measured, ...]:
    """One per test. The same test twice is more samples of it, not another launch: nothing says that it was one."""
    same: dict[tuple[Setup, Workload, str, int], list[Test]] = defaultdict(list)
    for test in tests:
        same[test.setup, test.workload, test.artifact.path, test.artifact.bytes].append(test)
    return tuple(
        Measured(
            setup=setup,
            workload=workload,
            artifact=group[0].artifact,
            threads=group[0].threads,
            engine=group[0].engine,
            samples=tuple(_sample(workload, s) for test in group for s in test.seconds),
            at=group[0].at,
            notes=tuple(dict.fromkeys(note for test in group for note in test.notes)),
        )
        for (setup, workload, *_), group in same.items()
    )


def _sample(workload: Workload, seconds: float) -> Sample:
    """Of a prompt the first token after it; of an answer only the last one, which ``ends_only`` says."""
    return Sample(arrivals_s=(seconds,), ends_only=workload.new_tokens > 1)
