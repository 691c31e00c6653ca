"""benchmarks/same_outputs.py: what it masks, what it must not, and two checkouts of a phibench that is not real."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# Answers as phibench does, writes a run file and measures what no one can measure twice
FAKE = """
import itertools, json, os, sys, time
from pathlib import Path

now = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
if "--save" in sys.argv:
    Path(sys.argv[-1]).write_text("name = 'here'")
    figures = {"method": METHOD, "at": 1.0, "bandwidth": {"read_bytes_s": time.time()}}
    Path(os.environ["PHIBENCH_CACHE"], "machine.json").write_text(json.dumps({"here": figures}))
elif "plan" in sys.argv:
    known = json.loads(Path(os.environ["PHIBENCH_CACHE"], "machine.json").read_text())["here"]
    assert known["method"] == METHOD and known["at"] > time.time()
    print(known["bandwidth"], Path("inputs/here.toml").read_text())
elif "run" in sys.argv:
    path = Path(os.environ["PHIBENCH_RESULTS"]) / f"{now}-latency.json"
    path.parent.mkdir(exist_ok=True)
    sample = {"arrivals_s": [time.perf_counter()]}
    path.write_text(json.dumps({"id": now, "tests": 4, "samples": [sample] * 2} | EXTRA))
    print(f"pp128   {time.perf_counter():.3f} tok/s [1..{time.perf_counter():.1f}], run {now}")
    print(f"results: {path}", file=sys.stderr)
else:
    print("SENTENCE", *sys.argv[1:])
    sys.exit(CODE)
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("same_outputs")
    monkeypatch.setattr(module, "COMMANDS", {"facts": ("models", "plan"), "measured": ("run latency",), "help": ("",)})
    return module


@pytest.fixture
def masked(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("masked")


def checkout(folder: Path, sentence: str = "The Phi family", code: int = 0, extra: str = "{}", method: int = 1) -> Path:
    text = FAKE.replace("SENTENCE", sentence).replace("CODE", str(code)).replace("EXTRA", extra)
    text = text.replace("METHOD", str(method))
    for name, content in {
        "phibench/__init__.py": "", "phibench/__main__.py": text, "docs/machines/laptop.toml": "",
        "results/example/one.json": json.dumps({"results": []}),
    }.items():  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.mark.parametrize(
    ("other", "shown"),
    [
        ({}, []),
        ({"method": 2}, []),  # NEW would measure anew: the figures are OLD's all the same
        ({"sentence": "The Phi kin"}, ["-The Phi family models", "+The Phi kin models"]),
        ({"code": 3}, ["exit code:", "-0", "+3"]),
        ({"extra": "{'kind': 'new'}"}, ['+ "kind": "new"']),
        ({"extra": "{'tests': 5}"}, ['- "tests": 4,', '+ "tests": 5,']),
        ({"extra": "{'samples': []}"}, ['- "samples": [']),
    ],
)
def test_what_another_checkout_does_otherwise_is_shown(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    other: dict[str, Any], shown: list[str],
) -> None:  # fmt: skip
    old, new = checkout(tmp_path / "old"), checkout(tmp_path / "new-and-longer", **other)
    monkeypatch.setattr("sys.argv", ["same_outputs.py", str(old), str(new), "--save", str(tmp_path / "saved")])
    code = script.main()
    said = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert code == bool(shown)
    assert (said[-1] == "3 commands, all the same") == (not shown)
    for line in shown:
        assert line in said
    assert len([*tmp_path.glob("saved/*/*")]) == 6


def test_a_key_that_is_new_by_intent_can_be_left_out(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = checkout(tmp_path / "old"), checkout(tmp_path / "new", extra="{'kind': 'new'}")
    monkeypatch.setattr("sys.argv", ["same_outputs.py", str(old), str(new), "--without", "kind"])
    assert script.main() == 0


def test_a_folder_without_phibench_is_no_checkout(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["same_outputs.py", str(checkout(tmp_path / "old")), str(tmp_path)])
    with pytest.raises(SystemExit, match="no checkout of phibench"):
        script.main()


def test_of_long_lines_the_part_that_differs_is_shown(script: Any) -> None:
    same = "word " * 99
    said = script.difference({"stdout": f"first\n{same}old end"}, {"stdout": f"first\n{same}new end"})
    assert said.splitlines()[-2:] == [
        f"    {sign}...{same[-40:]}{end} end" for sign, end in (("-", "old"), ("+", "new"))
    ]


def test_a_form_stands_for_a_command_each(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(script.COMMANDS, "facts", ("models -o {form}", "cache"))
    assert list(script.commands("facts")) == [*(f"models -o {form}" for form in script.FORMS), "cache"]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("run 20260102T030405Z, 2026-01-02 03:04 UTC", "run <now>, <now>"),
        ("at 2026-01-02T03:04:05.678+00:00, 20260103T000000Z-2-latency.json", "at <now>, <now>-latency.json"),
        ("run 20260102T030404Z of 2025-04-24T11:58:50Z", "run 20260102T030404Z of 2025-04-24T11:58:50Z"),
        ("memory (x), this process may use 21.6 GiB now", "memory (x), this process may use # GiB now"),
        ('"memory_bytes": 10, "memory_free_bytes": 10', '"memory_bytes": 10, "memory_free_bytes": #'),
    ],
)
def test_times_from_the_start_on_and_free_memory_are_masked(masked: Any, text: str, left: str) -> None:
    assert masked.since("20260102030405", text) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("pp128 @ d64   1,024 [9.1..1e+03]   0.5 ms", "pp128 @ d64 # [#] #\n"),
        ("phi-4:Q4_K_M in ~1 min 40 s (29 s–2 min)", "phi-4:Q4_K_M in ~# (#)\n"),
        ("tg4 · warm-up 1/5\ntg4 · warm-up 2/5\ntg4 · measuring 1/1", "tg4 · warm-up #\ntg4 · measuring #\n"),
        ("faster (+5%)\n────────", "faster (#%)\n─\n"),
        ("Intel, run\n  here\ndoubtful: busy\ntg4: 3 tok/s in the first 9 s\nend", "Intel, run here\nend\n"),
    ],
)
def test_of_measured_figures_the_words_are_left(masked: Any, text: str, left: str) -> None:
    assert masked.varying_text(text) == left


def test_in_a_run_file_only_what_was_measured_is_masked(masked: Any) -> None:
    sample = {"arrivals_s": [0.1, 2e-06], "gauges": {"cpu_hz": 1}, "ends_only": False}
    run = {"schema": 1, "busy_share": 0.5, "conditions": {"load": "0.3", "power": "AC"}, "samples": [sample] * 3}
    left = json.loads(masked.json_file(json.dumps(run), varying=True))
    kept = {"arrivals_s": ["#", "#"], "gauges": {"cpu_hz": "#"}, "ends_only": False}
    assert left == {"schema": 1, "conditions": {"load": "#", "power": "AC"}, "samples": [kept] * 3}
    assert json.loads(masked.json_file(json.dumps(run), varying=False)) == run
    assert len(json.loads(masked.json_file(json.dumps(run | {"samples": [sample] * 99}), varying=True))["samples"]) == 2
