"""Old numbers become a run file, so that they can be shown, compared and used by the advisor beside new ones."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from phibench import __version__, backends, catalog
from phibench.core import files, run_files
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Machine, Measured, Run, Sample, Setup, Suite, Workload
from phibench.imports.llama_bench import read
from phibench.imports.translate import BACKEND, FORMAT, ImportRequest, OnNote, Test, tests_of
from phibench.machine import inventory

_METRICS = {
    "llama-bench": ("prefill_tps", "ttft_s", "decode_tps"),
    "llama-batched-bench": ("prefill_tps", "ttft_s", "decode_tps", "sequence_tps"),
}


def run_import(path: Path, request: ImportRequest, folder: Path, on_note: OnNote) -> tuple[Run, ...]:
    """Write the runs that the file holds, one for each build and machine in it, and return them.

    Raises PhibenchError for a file or a row that cannot be understood; ``on_note`` hears what was left out or assumed.
    """
    request = _checked(request)
    content, lines, odd = read(path)
    for line in odd:
        on_note(line)
    machine = request.machine or inventory.this_machine(bandwidth=False)
    tests = [test for row in lines for test in tests_of(row, request, machine, path.name, on_note)]
    if not tests:
        raise PhibenchError(f"nothing in {path.name} can be imported")
    groups = _together(tests)
    for group in groups:
        _check_machine(group[0], machine, request.machine is not None, path.name, on_note)
    digest = _digest(content, machine, tests)
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
    groups: dict[tuple[str, str, str], list[Test]] = defaultdict(list)
    for test in tests:
        groups[test.build, test.processor, test.others].append(test)
    return list(groups.values())


def _written(path: Path) -> str:
    """When the file was last written: all that a file without times says of its age."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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


def _check_machine(test: Test, machine: Machine, described: bool, name: str, on_note: OnNote) -> None:
    """A described machine is taken as it is; this one only where the file names its processor and accelerator."""
    if described:
        cpu = machine.device("cpu")
        if test.processor and cpu and _key(cpu.name) != _key(test.processor):
            on_note(f"{name} was measured on {test.processor}, --machine describes {cpu.name}: taken for the same")
        return
    how = "describe that machine with --machine FILE; on it, 'phibench probe --save FILE' writes one"
    if not test.processor:
        raise PhibenchError(f"{name} does not say which machine it was measured on; {how}")
    here = {_key(device.name) for device in machine.devices}
    gpus = re.split(r", | \+ ", test.others) if test.setup.device != "cpu" else []
    if missing := [device for device in (test.processor, *gpus) if _key(device) not in here]:
        raise PhibenchError(f"{name} was measured on {missing[0]}, which is not here; {how}")
    on_note(f"taken for this machine: {name} names its {test.processor}")


def _key(device: str) -> str:
    """``AMD EPYC 9B14 96-Core Processor`` and ``AMD EPYC 9B14`` are one."""
    text = re.sub(r"\((r|tm|c)\)|@.*|\b\d+-core\b|\b(processor|cpu)\b", " ", device.lower())
    return re.sub(r"[^a-z0-9]", "", text)
