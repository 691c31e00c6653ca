"""No program reads back a sentence that was written for people: what it must know is a field beside it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import text_protocol

_ROOT = Path(__file__).parents[1]
# (file, source of the place) -> why it may stay: no product code writes what it reads.
ALLOWED = {
    ("run_files.py", "result.reason.startswith(beginning)"): "older run files say the cause of a failure in this text",
    (
        "run_files.py",
        "result.reason.removeprefix(beginning)",
    ): "older run files say the cause of a failure in this text",
    ("run_files.py", "run.imported.split()"): "older run files of imports name the tool in this text alone",
    ("conditions.py", "name.endswith('_bytes')"): "conditions in run files are texts, each with its unit in its name",
    ("conditions.py", "name.endswith('_share')"): "conditions in run files are texts, each with its unit in its name",
}

# The field, and the place that read a sentence instead, as it stood.
READ = {
    "Device.doubt, of the doctor": """
        def reads_slowly(cpu):
            return bool(cpu and cpu.because.partition("; ")[2])
        """,
    "Device.doubt, of the card": """
        def lines(device):
            if doubt := device.because.partition("; ")[2]:
                yield "", doubt
        """,
    "Limits.restrictions": """
        def is_limited(machine):
            for note in machine.limits.notes:
                if "performance cores" not in note:
                    yield note
        """,
    "Device.divided": """
        def shares(device):
            for note in device.notes:
                if note.startswith("MIG"):
                    yield note
        """,
    "Device.problems": """
        def lists_an_npu_only(device):
            for note in device.notes:
                if note.startswith("in sysfs but not usable"):
                    what, remedy = note.split("; ", 1)
        """,
    "Installed.problems, installed twice": """
        def has_sound_engines(engine):
            for one in engine.notes:
                if "overwrite each other" in one:
                    what, remedy = one.split("): ", 1)
        """,
    "Installed.problems, broken": """
        def has_sound_engines(engine):
            return any(note.startswith("broken") for note in engine.notes)
        """,
    "Processor.is_wsl": """
        def is_translated(machine):
            if hypervisor := processor(machine).hypervisor:
                return hypervisor.startswith("WSL")
        """,
    "Source.grant": """
        def hides_energy(machine):
            return [s for s in machine.energy if not s.readable and "needs" in s.because]
        """,
    "Source.overlaps": """
        def why_not(place):
            return place.source.because.partition("; overlaps")[0]
        """,
    "Conditions, a number": """
        def number(conditions, key):
            text = conditions.get(key, "")
            return float(text) if re.fullmatch(r"[0-9]{1,19}", text) else None
        """,
    "Conditions, in a report": """
        def reading(key, text):
            return f"{float(text):.1%}" if key.endswith("_share") else text
        """,
    "Conditions, names in a report": """
        def what(key):
            return re.sub("_(bytes|share)$", "", key).replace("_", " ")
        """,
    "Conditions, before and after": """
        def first(run):
            return {k: v for k, v in run.conditions.items() if k.startswith("before_")}
        """,
    "Throttle.by_heat": """
        def gpu(seen):
            reasons = dict.fromkeys(r for r in seen.get("gpu_throttle", "").split(", "))
            return [reason for reason in reasons if any(word in reason.lower() for word in ("therm", "heat"))]
        """,
    "Failed.kind, of the exit code": """
        def exit_code(failed):
            return [r for r in failed if not r.reason.startswith("unavailable: ")]
        """,
    "Failed.kind, of a row": """
        def failed(row):
            return (row["reason"] or "").startswith("unavailable: ")
        """,
    "Failed.kind, of a page": """
        def why(reason):
            return reason.removeprefix(UNAVAILABLE)
        """,
    "Failed.kind, a fallback": """
        def fell_back(result):
            return "fallback: " in result.reason
        """,
    "Run.disturbed": """
        def earlier(done):
            return tuple(line for line in done.warnings if line not in disturbed(done))
        """,
    "Estimate.benchmark": """
        def benchmark(estimate):
            return estimate.because.split(": ", 1)[0]
        """,
    "Verdict.unsettled": """
        def why(verdict, command):
            texts = [text.removesuffix(command) for text in verdict.unknowns]
        """,
    "Task.refusals": """
        def obstacle(task):
            if why := task.objection or next((why for _, why in task.refused), None):
                return why.split(";")[0]
        """,
    "row energy_sources": """
        def sources(row):
            said = (note.removeprefix(ENERGY) for note in row["notes"] if note.startswith(ENERGY))
        """,
    "Note.kind, the knee": """
        def notes(lines, words):
            return [[note for note in line["notes"] if words in note] for line in lines]
        """,
    "Run.imported_tool": """
        def kind(row):
            return f"from {row['imported'].split()[0]}" if row["imported"] else ""
        """,
    "RunRequest.backends, of a suite": """
        def from_flags(flags):
            return "," in flags["backend"]
        """,
    "RunRequest.backends, of the quickstart": """
        def plan(flags):
            for name in flags["backend"].split(","):
                yield name
        """,
    "Metric.net, of a suite": """
        def check(suite):
            return any("_net_" in metric for metric in suite.metrics)
        """,
    "Metric.net, of a figure": """
        def values(name, result):
            return rest(result) if "_net_" in name else {}
        """,
    "Metric.inverse": """
        def values(name, each):
            return 1 / each if name.endswith("_per_j") else each
        """,
    "Metric.phase": """
        def tokens(name, prompt, new):
            return prompt if name.startswith("prefill") else new
        """,
    "Metric.unit": """
        def amount(metric, value):
            return gib(value) if metric.endswith("_bytes") else duration(value) if metric.endswith("_s") else value
        """,
    "Metric.binary": """
        def amount(metric, value):
            return gib(value) if metric.endswith(("needed_bytes", "peak_bytes")) else gb(value)
        """,
    "Progress.stage": """
        def share(event):
            return event.done / event.total if event.stage == "measuring" else 0.0
        """,
    "Workload, without its batch": """
        def name(found):
            return str(found[0]["test"]).replace(f" x{found[0]['batch']}", "")
        """,
    "Setup, without its end": """
        def shortened(rows):
            return {row["setup"].partition("@")[2] for row in rows}
        """,
    "Setup, without its device": """
        def short(row):
            return str(row["setup"]).removesuffix(f"/{row['device']}")
        """,
    "a size, without its context": """
        def kv(row) -> str | None:
            return None if row is None else f"{row.size} at {row.context}"

        def overview():
            return column(short=lambda r: (kv(r) or UNKNOWN).split(" at ")[0])
        """,
    "a bound, without its unit": """
        def amount(metric, value) -> str:
            return f"{value:g} s"

        def shown(metric, estimate):
            low, high = (amount(metric, v) for v in (estimate.low, estimate.high))
            number, _, unit = low.partition(" ")
        """,
    "Engine.context_tokens": """
        def factors(engine):
            context = engine.options.get("n_ctx", "")
            return context.isdigit()
        """,
}  # fmt: skip
# What the same would look like in another dress.
ALSO = {
    "a regular expression": "def f(x):\n    return re.search('heat', x.because)",
    "a compiled one": "def f(x):\n    return _HEAT.search(x.message)",
    "for all of them": "def f(x):\n    return list(map(_HEAT.search, x.notes))",
    "a slice": "def f(x):\n    return x.evidence[3:]",
    "a character": "def f(x):\n    return x.title[0]",
    "a comparison": "def f(x):\n    return x.title != 'engine'",
    "with a constant": "def f(x):\n    return _KNOWN == x.title",
    "with one of several": "def f(x):\n    return x.title in ('run', 'test')",
    "the other way round": "def f(x):\n    return 'MIG' in x.remedy",
    "a whole sentence": "def f(x):\n    return 'broken' in x.notes",
    "a place": "def f(x):\n    return x.notes.index('broken')",
    "a table": "def f(x):\n    return {'a': 1}[x.reason]",
    "a named table": "def f(x):\n    return KINDS.get(x.reason)",
    "match": "def f(x):\n    match x.reason:\n        case 'a':\n            return 1",
    "a number": "def f(x):\n    return int(x.text)",
    "a function of str": "def f(x):\n    return str.lower(x.message)",
    "a column": "def f(frame):\n    return frame['reason'].str.contains('unavailable')",
    "by way of a variable": "def f(v):\n    text = v.because\n    told = text or ''\n    return told.split(', ')",
    "by way of a loop": "def f(x):\n    for n, line in enumerate(sorted(x.notes)):\n        line.find('MIG')",
    "by way of a function": "def f(x):\n    return g(x.because)\n\ndef g(said):\n    return said.split(': ')",
    "by way of a list": "def f(x, y):\n    return [one.strip('.') for one in (*x.notes, y)]",
    "in a module": "KNOWN = [note for note in DEVICE.notes if 'MIG' in note]",
}
INNOCENT = {
    "shown": "def f(x):\n    return f'{x.name}: {x.because}' + x.remedy + '; '.join(x.notes)",
    "shown if there is one": "def f(x):\n    return x.because or (x.notes[0] if x.notes else '-') or x.reason != ''",
    "some of them": "def f(x):\n    return [*x.notes[:3], *(note for note in x.warnings)]",
    "said once": "def f(x, said):\n    return [n for n in dict.fromkeys(x.notes) if n not in said]",
    "no text": "def f(st, name):\n    st.title('Which Phi?')\n    return name.title()",
    "text of others": "def f(text, found):\n    return text.split(',') + [found.group('text')]",
    "a word of a Literal": "class P:\n    stage: Literal['a', 'b']\n\ndef f(p):\n    return p.stage == 'a'",
    "a word of a named Literal": "S = Literal['a']\n\nclass P:\n    stage: S\n\ndef f(p):\n    return p.stage == 'a'",
    "a mark escaped": "def f(x):\n    return x.note.replace('|', '\\\\|')",
    "a pair": "def f(x):\n    if why := absent(x):\n        return why[1]",
    "a name": "def f(x):\n    return x.device.partition(':')[0], x.setup == y, x.backend in ('torch', 'null')",
    "a hypervisor as a whole": "def f(x):\n    return x.hypervisor in ('WSL1', 'WSL2')",
    "a width": "def f(x):\n    return max(len(n) for n in x.notes)",
}  # fmt: skip


def _matches(snippet: str) -> list[text_protocol.Match]:
    lines = snippet.splitlines()
    cut = len(lines[1]) - len(lines[1].lstrip()) if not lines[0] else 0
    return text_protocol.matches(ast.parse("\n".join(line[cut:] for line in lines)))


def test_no_product_code_reads_a_sentence_back() -> None:
    found = [
        (path, place)
        for path, places in text_protocol.scan([_ROOT / "phibench", _ROOT / "dashboard"]).items()
        for place in places
    ]
    assert not [
        f"{path.relative_to(_ROOT)}:{place.line}: {place.source}"
        for path, place in found
        if (path.name, place.source) not in ALLOWED
    ]
    assert {(path.name, place.source) for path, place in found} == ALLOWED.keys()  # none is allowed that is gone


@pytest.mark.parametrize("snippet", READ.values(), ids=READ)
def test_each_place_that_once_read_a_sentence_would_be_found_again(snippet: str) -> None:
    assert _matches(snippet)


@pytest.mark.parametrize("snippet", ALSO.values(), ids=ALSO)
def test_a_sentence_read_in_another_way_is_found(snippet: str) -> None:
    assert _matches(snippet)


@pytest.mark.parametrize("snippet", INNOCENT.values(), ids=INNOCENT)
def test_a_sentence_that_is_only_shown_is_not_found(snippet: str) -> None:
    assert _matches(snippet) == []


def test_the_program_names_each_place_and_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text("def f(x):\n    return x.because.split(': ')\n")
    done = subprocess.run(
        [sys.executable, text_protocol.__file__, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"{path}:2: split: x.because.split(': ')\n1 matches in 1 files\n"
    assert done.returncode == 1
    path.write_text("def f(x):\n    return x.because\n")
    assert text_protocol.main([str(tmp_path)]) == 0
