"""``recommend`` for machines that are only described: by flags, and in a list."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import Outcome, Phibench

from phibench.core.errors import BAD_INPUT, NOTHING_FITS

LIST = """Hostname;Processor;Graphics;RAM;Operating System
nb-1;12th Gen Intel(R) Core(TM) i7-1260P;Intel(R) Iris(R) Xe Graphics;15,7 GB;Microsoft Windows 11 Pro
nb-2;Intel Core i7-1260P;;16;Windows 11
=HYPERLINK("x");Apple M2;;16 GB;macOS 14.5
old;Intel(R) Core(TM)2 Duo CPU E8400 @ 3.00GHz;;4 GB;Windows 7
small;i7-1260P;;1 GB;Windows 11
"""


@pytest.fixture
def machines(tmp_path: Path) -> str:
    path = tmp_path / "list.csv"
    path.write_text(LIST, encoding="utf-8")
    return str(path)


def document(done: Outcome) -> Any:
    assert done.code == 0, done.err
    return json.loads(done.out)


# ----------------------------------------------------------------------------------------------------- flags


def test_a_gpu_alone_is_enough_and_what_was_assumed_is_listed(phibench: Phibench) -> None:
    done = phibench("recommend", "--gpu", "RTX 3060", "--top", "1")
    assert done.code == 0, done.err
    text = " ".join(done.out.split())
    assert "Assumed: RTX 3060 12 GB, not RTX 3060 8 GB: launched first" in text
    assert "processor: Ryzen 5 5600; 16 GiB memory; Linux" in text
    assert "phibench calibrate" not in text, "this machine is not meant"


def test_what_was_told_reaches_the_machine(phibench: Phibench) -> None:
    words = ("--cpu", "Ryzen 9 5950X", "--gpu", "2x rtx 3090", "--ram", "64", "--os", "Windows", "--power", "battery")
    found = document(phibench("recommend", *words, "--top", "1", "-o", "json"))
    machine = found["machine"]
    assert [device["kind"] for device in machine["devices"]] == ["cpu", "cuda:0", "cuda:1"]
    assert (machine["os"], machine["power"], machine["memory_bytes"]) == ("windows", "battery", 64 << 30)
    assert "on mains power" in found["assumed"][-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--ram", "16GiB"), "--ram alone describes no machine: add --gpu NAME or --cpu NAME"),
        (("--os", "linux", "--power", "battery"), "--os, --power alone describes no machine"),
        (("--gpu", "RTX 4060", "--machine", "x.toml"), "leave out --machine or --gpu"),
        (("--cpu", "Apple M2", "--ram", "8", "--machines", "x.csv"), "leave out --machines or --cpu, --ram"),
        (("--machine", "x.toml", "--machines", "x.csv"), "--machine is one machine and --machines a list"),
        (("--machines", "x.csv", "--top", "3"), "leave out --top"),
        (("--machines", "none.csv"), "there is no file none.csv"),
        (("--gpu", "RTX 4061"), "unknown hardware 'RTX 4061'; nearest: '"),
        (("--gpu", "none"), "needs the name of its processor"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_one_line(phibench: Phibench, words: tuple[str, ...], said: str) -> None:
    done = phibench("recommend", *words)
    assert (done.code, done.out) == (BAD_INPUT, "")
    assert said in done.err
    assert done.err.count("\n") == 1


# ----------------------------------------------------------------------------------------------------- lists


def test_every_row_has_an_answer_or_says_why_not(phibench: Phibench, machines: str) -> None:
    found = document(phibench("recommend", "--machines", machines, "-o", "json"))
    rows = {row["name"]: row for row in found["machines"]}
    assert list(rows) == ["nb-1", "nb-2", '=HYPERLINK("x")', "old", "small"]
    first = rows["nb-1"]
    assert first["machine"] == "Core i7-1260P, 16 GiB, Windows"
    assert first["variant"] == "phi-4-mini-instruct"
    assert first["decode_tps_low"] <= first["decode_tps"] <= first["decode_tps_high"]
    assert {**first, "name": "", "line": 0} == {**rows["nb-2"], "name": "", "line": 0}
    assert (rows["old"]["level"], rows["old"]["setup"]) == ("not known", None)
    assert "unknown hardware" in rows["old"]["why"]
    assert "nearest" in rows["old"]["why"]
    assert (rows["small"]["level"], rows["small"]["setup"]) == ("no", None)
    assert rows["small"]["why"]
    assert sum(row["machines"] for row in found["summary"]) == 5
    assert found["summary"][0]["machines"] == 2


def test_one_machine_of_a_list_has_the_answer_that_it_has_alone(phibench: Phibench, machines: str) -> None:
    rows = document(phibench("recommend", "--machines", machines, "--goal", "code", "-o", "json"))["machines"]
    words = ("--cpu", "Core i7-1260P", "--ram", "16", "--os", "windows", "--goal", "code")
    alone = document(phibench("recommend", *words, "--top", "1", "-o", "json"))
    assert rows[0]["setup"] == alone["candidates"][0]["setup"]
    assert rows[0]["decode_tps"] == alone["candidates"][0]["estimates"]["decode_tps"]["value"]


@pytest.mark.parametrize("columns", ["80", "120"])
def test_the_table_has_reasons_and_a_summary(
    phibench: Phibench, machines: str, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    done = phibench("recommend", "--machines", machines)
    assert done.code == 0, done.err
    assert max(map(len, done.out.splitlines())) <= int(columns)
    assert "phi-4-mini-instruct:" in done.out
    assert "old: not known: unknown hardware" in " ".join(done.out.split())
    summary = done.out[done.out.index("In all: 3 of 5 machines have an answer") :].splitlines()
    assert [(cell[0].strip(), cell[1]) for line in summary[3:] if (cell := line.strip().split("   "))] == [
        ("3", "phi-4-mini-instruct"), ("1", "nothing fits"), ("1", "no answer"),
    ]  # fmt: skip


def test_a_name_is_no_formula_in_what_is_written(phibench: Phibench, machines: str) -> None:
    done = phibench("recommend", "--machines", machines, "-o", "csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert rows[2]["name"] == '\'=HYPERLINK("x")'
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())
    lines = phibench("recommend", "--machines", machines, "-o", "jsonl").out.splitlines()
    assert [json.loads(line)["name"] for line in lines][:2] == ["nb-1", "nb-2"]
    assert "| nb-1 " in phibench("recommend", "--machines", machines, "-o", "md").out


def test_a_list_in_which_nothing_is_known_is_no_answer(phibench: Phibench, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("name,cpu\na,abacus\nb,\n", encoding="utf-8")
    done = phibench("recommend", "--machines", str(path), "-o", "json")
    assert done.code == NOTHING_FITS
    assert [row["level"] for row in json.loads(done.out)["machines"]] == ["not known", "not known"]
    assert done.err.count("\n") == 1


def test_names_of_rows_are_stored_nowhere(phibench: Phibench, machines: str, tmp_path: Path) -> None:
    phibench("recommend", "--machines", machines)
    for folder, _, names in os.walk(tmp_path):
        for name in names:
            path = Path(folder, name)
            assert path.name == "list.csv" or b"nb-1" not in path.read_bytes()
