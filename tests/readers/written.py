"""What people write and phibench has written: machines, suites, goals, runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakes
import msgspec
import tomli_w
from mutate import Tree

from phibench.advise import recalled
from phibench.core import advice_files, files, run_files
from phibench.core.nouns import Answer, Estimate, Goal, Machine, Measured, Question, Run, Suite, Verdict
from phibench.machine import list_file, listed, ram
from phibench.measure import suites
from phibench.show import machine as show_machine
from phibench.show import recalled as shown
from phibench.show import report, results
from phibench.show.outputs import DATA_FORMATS
from readers.oracles import Reader, follows, noun, numbers, told

ROOT = Path(__file__).parents[2]


def _first(folder: Path) -> Path:
    """The one file of a sample, under whatever name it has now."""
    return next(iter(sorted(folder.iterdir())), folder / "nothing.toml")


# ------------------------------------------------------------------------------------------------- machines


def _machines() -> list[Tree]:
    whole = json.loads((ROOT / "results/example/20261124T153803Z-quick.json").read_text(encoding="utf-8"))["machine"]
    laptop = (ROOT / "docs/machines/laptop.toml").read_bytes()
    return [{"m.toml": laptop}, {"m.json": json.dumps(whole, indent=1).encode()},
            {"m.toml": tomli_w.dumps(whole).encode()}]  # fmt: skip


def _machine(folder: Path) -> Machine:
    machine = files.read_strict(_first(folder), Machine)
    assert machine.slug
    show_machine.text(machine, 100)
    return machine


def _same_numbers(tree: Tree, found: Any) -> Iterator[str]:
    """What people write is taken as it is: every number stands in the file, or is a default of ours."""
    yield from noun(found, math.inf)
    known = told(tree) | _DEFAULTS
    for path, number in numbers(msgspec.to_builtins(found)):
        yield from follows(path, abs(number), known)


_DEFAULTS = frozenset({0.0, 1.0, *(abs(n) for _, n in numbers(msgspec.to_builtins(fakes.run().suite)))}) | frozenset(
    abs(float(n)) for n in (3, 0.03, 5, 10.0, 1800.0))  # fmt: skip

# ------------------------------------------------------------------------------------------------- lists


def _lists() -> list[Tree]:
    office = (ROOT / "docs/machines/office.csv").read_text(encoding="utf-8")
    semicolons = "\r\n".join(line.replace(",", ";") for line in office.splitlines())
    return [{"l.csv": office.encode()}, {"l.csv": semicolons.encode("utf-16")}, {"l.csv": semicolons.encode("cp1252")}]


def _list(folder: Path) -> list[listed.Listed]:
    return [listed.understood(row) for row in list_file.read(_first(folder))]


def _of_list(_: Tree, found: Any) -> Iterator[str]:
    for one in found:
        if (one.described is None) != bool(one.why):
            yield "a row that is neither known nor says why"
        if one.described:
            yield from noun(one.described.machine)
            if not ram.LEAST_BYTES <= one.described.machine.memory_bytes <= ram.MOST_BYTES:
                yield "memory that no machine has"


# ------------------------------------------------------------------------------------------------- runs


def _runs() -> list[Tree]:
    example = (ROOT / "results/example/20261124T153803Z-quick.json").read_bytes()
    prompt, answer, both = fakes.workload(512, 0), fakes.workload(0, 8), fakes.workload(128, 4, batch=2)
    made = fakes.run(fakes.measured(prompt, (0.1, 0.11)), fakes.measured(answer, (0.2, 0.21, 0.19)),
                     fakes.measured(both), fakes.failed(fakes.workload(0, 64)))  # fmt: skip
    return [{"r.json": example}, {"r.json": msgspec.json.format(msgspec.json.encode(made), indent=1)}]


def _run(folder: Path) -> Any:
    run = run_files.read_run(_first(folder))
    rows = results.rows((run,))
    forms = [results.for_programs(rows, form) for form in DATA_FORMATS]
    return run, rows, [results.table(rows, 100), results.markdown_table(rows), report.page((run,))], forms


def _of_run(tree: Tree, answer: Any) -> Iterator[str]:
    run, rows, _, _ = answer
    assert isinstance(run, Run)
    yield from noun(run, math.inf)
    known = told(tree) | _DEFAULTS
    for path, number in numbers(msgspec.to_builtins(run)):
        yield from follows(path.split(".")[0], abs(number), known)
    for row in rows:
        for name, spread in row.metrics.items():
            for number in (spread.median, spread.low, spread.high) if spread else ():
                if not 0 < number < 1e30:
                    yield f"{name} is no figure"
    for result in run.results:
        if isinstance(result, Measured) and result.threads < 1:
            yield "no threads"


# ------------------------------------------------------------------------------------------------- last answers

_ASKED = Question(goal="chat", told={"min_tps": 5.0}, variants=("phi-4",))


def _pick(decode_tps: float) -> Verdict:
    speed = Estimate(value=decode_tps, low=decode_tps, high=decode_tps, basis="measured", because="measured: tg8")
    return Verdict(setup=fakes.SETUP, estimates={"decode_tps": speed, "ttft_s": speed})


def _answers() -> list[Tree]:
    answer = Answer(
        at="2026-07-01T10:00:00Z", phibench="0.0.9", catalog="c0ffee", question=_ASKED, machine=fakes.machine(),
        runs=recalled.used(fakes.machine(), (fakes.run(),)), rows=(recalled.row_of(_pick(9.5)),),
    )  # fmt: skip
    return [{"chat.advice": msgspec.json.format(msgspec.json.encode(answer), indent=1)}]


def _answer(folder: Path) -> Answer | None:
    """Compared with an answer of now, and told."""
    here, pick = fakes.machine(), _pick(2.5)
    found = advice_files.read(_first(folder), here, _ASKED)
    changed = found and recalled.changed(found, here, (fakes.run(),), pick, "0.1.0", "c0ffee", lambda *_: pick)
    if changed:
        assert shown.sentence(changed) == shown.to_json(changed)["text"]
    return found


READERS = (
    Reader("machine-file", _machines, _machine, _same_numbers,
           harmless=frozenset({"keys reordered", "written on one line", "crlf"})),
    Reader("machine-list", _lists, _list, _of_list),
    Reader("suite-file", lambda: [{"s.toml": path.read_bytes()} for path in sorted((ROOT / "suites").glob("*.toml"))],
           lambda folder: suites.check(files.read_strict(_first(folder), Suite), "s.toml"), _same_numbers,
           harmless=frozenset({"crlf"})),
    Reader("goal-file", lambda: [{"g.toml": path.read_bytes()} for path in
                                 sorted((ROOT / "phibench/catalog/goals").glob("*.toml"))],
           lambda folder: files.read_strict(_first(folder), Goal), _same_numbers, harmless=frozenset({"crlf"})),
    Reader("advice-file", _answers, _answer, _same_numbers, harmless=frozenset({"written on one line"})),
    Reader("run-file", _runs, _run, _of_run, harmless=frozenset({"written on one line"})),
)  # fmt: skip
