"""The sections of the report's page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from phibench.core import stats, units
from phibench.core.metrics import METRICS
from phibench.core.nouns import Energy, Machine, Row, Run, Suite, Warmup
from phibench.core.nouns.conditions import Unit, lines
from phibench.core.text import number
from phibench.show import charts, results
from phibench.show.svg import shown
from phibench.show.tables import UNKNOWN, Cell, Column, R, Record

_FEW = 3  # tests that are named beside a note


def hardware(machine: Machine) -> str:
    """What it is made of, never what somebody called it."""
    return " and ".join(dict.fromkeys(device.name for device in machine.devices)) or machine.arch


def run_section(run: Run) -> str:
    rows = results.rows([run])
    parts = [f"<h2>{shown(run.suite.name.capitalize())}</h2>", f"<p>{shown(run.suite.question)}</p>", _tags(run, rows)]
    if run.warnings:
        parts.append(f'<div class="doubt"><strong>Doubtful</strong>{bullets(run.warnings)}</div>')
    if rows:
        caption, subject, measures = results.layout(rows)
        good = [row for row in rows if row.status == "ok"]
        parts += [charts.charts(run, rows), "<h3>Results</h3>"]
        parts += [f'<p class="soft">{shown(line)}</p>' for line in caption.splitlines()]
        parts += [table(good, (*subject, *measures))] if good else ["<p>Nothing could be measured.</p>"]
        parts += [_failures(rows, subject), _energy(rows, subject), _notes(rows, subject)]
    else:
        parts.append("<p>It holds no results.</p>")
    parts += ["<h3>How it was measured</h3>", bullets([*_protocol(run), *_places(rows)]), _conditions(run.conditions)]
    return "<section>\n" + "\n".join(filter(None, parts)) + "\n</section>"


def _tags(run: Run, rows: Sequence[Row]) -> str:
    """Where the figures come from and what they may be used for."""
    weights = sorted({row.weights for row in rows if row.weights})
    layers = sorted({row.layers for row in rows if row.layers})
    plain = [run.started.replace("T", " ").replace("Z", " UTC"), f"run {run.id}", *(f"{w} weights" for w in weights)]
    warn = [f"a slice of {count} layers" for count in layers]
    warn += ["short: a first look"] if run.suite.short else []
    warn += [f"imported from {run.imported}"] if run.imported else []
    warn += ["an example that comes with phibench"] if run.example else []
    warn += ["doubtful"] if run.warnings else []
    items = [f"<li>{shown(text)}</li>" for text in plain] + [f'<li class="warn">{shown(text)}</li>' for text in warn]
    return f'<ul class="tags">{"".join(items)}</ul>'


def table(rows: Sequence[R], columns: Sequence[Column[R]], below: Sequence[str] = ()) -> str:
    """``below``: what stands under each row, in sight also where the table is wider than the screen."""

    def cells(tag: str, texts: Iterable[str]) -> str:
        return "".join(
            f"<{tag}{' class=r' if c.right else ''}>{shown(text)}</{tag}>"
            for c, text in zip(columns, texts, strict=True)
        )

    cells_of = [cells("td", (UNKNOWN if (text := c.cell(row)) is None else text for c in columns)) for row in rows]
    lines = [f"<tr>{line}</tr>" for line in cells_of]
    under = f'<tr class="why"><td></td><td colspan="{len(columns) - 1}"><span>'
    if below:
        said = (f"{under}{shown(words)}</span></td></tr>" for words in below)
        lines = [line for pair in zip(lines, said, strict=True) for line in pair]
    head, body = cells("th", (c.title for c in columns)), "\n".join(lines)
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _failures(rows: Sequence[Row], subject: Sequence[Column[Row]]) -> str:
    """Tests without a figure, and those of which some launches have none."""
    found = [row for row in rows if row.reason]
    if not found:
        return ""
    columns = (*subject, Column(title="why", cell=lambda row: row.reason))
    return f"<h3>Not measured</h3>\n{table(found, columns)}"


def _energy(rows: Sequence[Row], subject: Sequence[Column[Row]]) -> str:
    """What was read, of which part of the machine, and how."""
    read = [(row, part) for row in rows for part in row.energy]
    columns: list[Column[tuple[Row, Energy]]] = [
        *map(_of_row, subject),
        Column(title="source", cell=lambda line: line[1].name),
        Column(title="of", cell=lambda line: line[1].scope.replace("_", " ")),
        Column(title="read as", cell=lambda line: line[1].method.replace("_", " ")),
        Column(title="joules", cell=_joules, right=True),
        Column(title="seconds", cell=lambda line: number(line[1].seconds), right=True),
    ]
    if any(part.note for _, part in read):
        columns.append(Column(title="remark", cell=lambda line: line[1].note))
    return f"<h3>Energy as it was read</h3>\n{table(read, columns)}" if read else ""


def _of_row(column: Column[Row]) -> Column[tuple[Row, Energy]]:
    return Column(title=column.title, cell=lambda line: column.cell(line[0]), right=column.right)


def _joules(line: tuple[Row, Energy]) -> str | None:
    joules = line[1].joules
    return None if joules is None else number(joules)


def _notes(rows: Sequence[Row], subject: Sequence[Column[Row]]) -> str:
    said: dict[str, list[str]] = {}
    for row in rows:
        for note in row.notes:
            said.setdefault(note.text, []).append(charts.name(row, subject))
    told = list(dict.fromkeys(text for row in rows for text in row.contest))
    told += [f"{_names(names, len(rows))}{text}" for text, names in said.items()]
    return f"<h3>Notes</h3>\n{bullets(told)}" if told else ""


def _names(names: Sequence[str], of: int) -> str:
    """Of which tests something is said; nothing where it is said of all."""
    few = list(dict.fromkeys(names))
    if len(few) == of:
        return ""
    return f"{', '.join(few)}: " if len(few) <= _FEW else f"{', '.join(few[:_FEW])} and {len(few) - _FEW} more: "


def _protocol(run: Run) -> list[str]:
    """What was done, so that it can be done again."""
    suite = run.suite
    if run.imported:
        return [
            f"Measured by {run.imported}; phibench took the figures over and saw neither the run nor its conditions."
        ]
    launches = f", in {suite.launches} worker processes each" if suite.launches > 1 else ""
    times = "once" if suite.repetitions == 1 else f"{suite.repetitions} times"
    long = f"Each test runs for {units.duration(suite.window_s)}{launches}."
    lines = [
        long if suite.window_s else f"Each test is timed {times}{launches}; setups take turns.",
        _warm_up(suite.warmup),
        *_more(suite),
        "Weights marked synthetic have the true shapes, types and layout, and made-up values.",
    ]
    claimed = [METRICS[name].title for name in suite.metrics if name in METRICS]
    return [*lines, f"Claimed: {', '.join(claimed)}."]


def _warm_up(warmup: Warmup) -> str:
    if not warmup.max_windows:
        return "There is no warm-up run before it."
    most = "once" if warmup.max_windows == 1 else f"at most {warmup.max_windows} times"
    agree = f" until {warmup.windows} agree within {warmup.tolerance:.0%}" if warmup.max_windows > 1 else ""
    return f"Before it, the test runs untimed{agree}, {most} and for at most {units.duration(warmup.max_s)}."


def _places(rows: Sequence[Row]) -> list[str]:
    """Where it really ran, in the engine's words."""
    known = [(row.setup, row.engine) for row in rows if row.engine and row.engine.placement]
    return list(dict.fromkeys(f"{setup}, {engine.version}: {engine.placement}" for setup, engine in known))


def _more(suite: Suite) -> list[str]:
    rests = f"The machine rests {units.duration(suite.idle_s)} before and after, with the model open."
    cached = f"The model's file is {' and then '.join(suite.page_cache)} in the page cache."
    return [
        *([rests] if suite.idle_s else []),
        *(["Every test has its own worker process."] if suite.fresh else []),
        *([cached] if suite.page_cache else []),
        f"Intervals are 95 %, from {stats.MIN_LAUNCHES} launches on; below that brackets are lowest and highest.",
    ]


def _conditions(conditions: dict[str, str]) -> str:
    """Before and after, side by side; folded, as there are many."""
    rows = [
        {"what": line.what, "before": _reading(line.before, line.unit), "after": _reading(line.after, line.unit)}
        for line in lines(conditions)
    ]
    columns = [Column(title=title, cell=_cell(title)) for title in ("what", "before", "after")]
    if not rows:
        return "<p>Conditions were not recorded.</p>"
    return f"<details><summary>Conditions before and after</summary>\n{table(rows, columns)}</details>"


def _reading(value: float | str | None, unit: Unit | None) -> str | None:
    if isinstance(value, float):
        return units.gib(value) if unit == "bytes" else f"{value:.1%}"
    return value


def _cell(key: str) -> Cell[Record]:
    return lambda row: row[key]


def machine_section(machine: Machine) -> str:
    speeds = [
        (f"{d.kind} reads", f"{units.gb(d.read_bytes_s)}/s ({d.because or d.basis})")
        for d in machine.devices
        if d.read_bytes_s
    ]
    facts = [
        *((device.kind, device.name) for device in machine.devices),
        ("system", f"{machine.os}, {machine.arch}"),
        ("cores", f"{machine.physical_cores} physical, {machine.logical_cores} logical"),
        ("memory", units.gib(machine.memory_bytes)),
        ("a process may use", f"{machine.limits.cpus:g} cpus, {units.gib(machine.limits.memory_bytes)}"),
        *speeds,
        *([("power", machine.power)] if machine.power else []),
    ]
    return f"<h2>Machine</h2>\n{_facts(facts)}"


def software_section(runs: Sequence[Run]) -> str:
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, version in run.software.items():
            found.setdefault(name, {})[version] = None
    return f"<h2>Software</h2>\n{_facts((name, ', '.join(versions)) for name, versions in found.items())}"


def _facts(pairs: Iterable[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<dt>{shown(key)}</dt><dd>{shown(value)}</dd>' for key, value in pairs)}</dl>"


def bullets(texts: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{shown(text)}</li>' for text in texts)}</ul>"
