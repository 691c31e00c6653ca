"""Every table that a command prints can be had in every form, and programs can read it."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from conftest import Phibench
from fakes import LATENCY, SETUP, failed, machine, measured, run, workload
from hypothesis import given
from hypothesis import strategies as st

from phibench.core import files, run_files
from phibench.core.text import plain as text_plain
from phibench.show import formats, verification
from phibench.verify.outcomes import Outcome

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "models": (),
    "models phi-4": (),
    "recommend": ("--machine", str(ROOT / "docs" / "machines" / "laptop.toml")),
    "cache": (),
    "results": (),
    "run latency": ("-b", "null", "-p", "8", "-n", "8"),
    "run latency --dry-run": ("-b", "null"),
}
TABLES = {"models": "phibench_models", "recommend": "phibench_recommend", "cache": "phibench_cache",
          "results": "phibench", "run": "phibench"}  # fmt: skip
HOSTILE = '\'); DROP TABLE "phibench"; --\n\x00=1+1'


def read(text: str, form: str) -> list[dict[str, Any]]:
    """Rows as a program reads them."""
    if form == "sql":
        base = sqlite3.connect(":memory:")
        base.row_factory = sqlite3.Row
        base.executescript(text)
        (name,) = base.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchone()
        return [dict(row) for row in base.execute(f"SELECT * FROM {formats._name(name)}")]
    if form == "csv":
        return list(csv.DictReader(io.StringIO(text)))
    if form == "jsonl":
        return [json.loads(line) for line in text.splitlines()]
    found = json.loads(text)
    lines: list[dict[str, Any]] = found["candidates"] if isinstance(found, dict) else found
    return lines


@pytest.fixture
def stored(tmp_path: Path) -> None:
    """A run with a failure in it, and a file in the cache."""
    whole = run(measured(workload(512, 0)), failed(workload(0, 4)), metrics=LATENCY)
    files.write_json(run_files.run_path(tmp_path / "results", whole), whole)
    (tmp_path / "cache" / "gguf").mkdir(parents=True)
    (tmp_path / "cache" / "gguf" / "phi-4-Q4_K_M-0123456789.gguf").write_bytes(b"GGUF")


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_every_form(phibench: Phibench, command: str) -> None:
    words = (*command.split(), *COMMANDS[command])
    found = {form: phibench(*words, "-o", form) for form in ("json", "jsonl", "csv", "sql", "md")}
    assert {done.code for done in found.values()} == {0}, found
    rows = {form: read(found[form].out, form) for form in ("json", "jsonl", "csv", "sql")}
    assert len(rows["json"]) > 0
    assert {len(each) for each in rows.values()} == {len(rows["json"])}
    assert set(rows["csv"][0]) == set(rows["jsonl"][0])
    assert set(rows["jsonl"][0]) <= set(rows["sql"][0])
    assert all(line.startswith(("|", "#", "-")) for line in found["md"].out.splitlines() if "|" in line)
    name = "phibench_dry_run" if "--dry-run" in command else TABLES[words[0]]
    assert f'INSERT INTO "{name}"' in found["sql"].out


def test_verify_has_every_form() -> None:
    outcomes = [Outcome(setup=SETUP, verdict="same"), Outcome(setup=SETUP, verdict="failed", reason=HOSTILE)]
    for form in ("json", "jsonl", "csv", "sql"):
        rows = read(verification.text(outcomes, form, None, ""), form)
        assert [row["verdict"] for row in rows] == ["same", "failed"]
        assert rows[0]["kl_mean"] in (None, "")
    assert 'INTO "phibench_verify"' in verification.text(outcomes, "sql", None, "")


def test_a_candidates_estimates_stand_flat_beside_their_bounds(phibench: Phibench) -> None:
    words = ("recommend", "--machine", COMMANDS["recommend"][1])
    document = json.loads(phibench(*words, "-o", "json").out)
    rows = read(phibench(*words, "-o", "jsonl").out, "jsonl")
    for rank, (row, candidate) in enumerate(zip(rows, document["candidates"], strict=True), start=1):
        assert (row["rank"], row["goal"], row["context"]) == (rank, "chat", 8192)
        assert (row["setup"], row["verdict"]) == (candidate["setup"], candidate["verdict"])
        for metric, estimate in candidate["estimates"].items():
            for part, key in (("value", metric), ("low", f"{metric}_low"), ("basis", f"{metric}_basis")):
                assert row[key] == (estimate[part] if estimate else None)


def test_two_outputs_of_one_command_fit_into_one_table(phibench: Phibench, tmp_path: Path) -> None:
    base = sqlite3.connect(tmp_path / "all.db")
    for goal in ("chat", "math"):
        for where in ("laptop", None):
            path = COMMANDS["recommend"][1] if where else str(tmp_path / "there.json")
            files.write_json(tmp_path / "there.json", machine())
            base.executescript(phibench("recommend", "--goal", goal, "--machine", path, "-o", "sql").out)
    assert base.execute("SELECT COUNT(DISTINCT goal || machine) FROM phibench_recommend").fetchone() == (4,)


VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(max_size=20)


@given(
    st.lists(st.dictionaries(TEXTS, VALUES | TEXTS | st.lists(st.integers(), max_size=3), max_size=4), max_size=4),
    TEXTS,
)
def test_no_name_and_no_value_breaks_the_sql(rows: list[dict[str, Any]], table: str) -> None:
    plain = [{text_plain(f"c{i}").lower(): value for i, value in enumerate(row.values())} for row in rows]
    base = sqlite3.connect(":memory:")
    base.executescript(formats.sql_text(plain, f"t{table}"))
    if formats.keys(plain):
        (count,) = base.execute(f"SELECT COUNT(*) FROM {formats._name(f't{table}')}").fetchone()
        assert count == len(plain)


@given(VALUES | TEXTS)
def test_a_value_comes_back_from_sql_as_it_was(value: Any) -> None:
    (row,) = read(formats.sql_text([{"x": value}]), "sql")
    if isinstance(value, float):  # SQLite's own reading of decimals may miss the last bit
        assert row["x"] == pytest.approx(value, rel=1e-12, abs=1e-300)
    else:
        assert row["x"] == (text_plain(value) if isinstance(value, str) else value)


def test_numbers_stay_numbers_where_some_are_whole_and_a_column_without_values_has_no_type() -> None:
    rows = read(formats.sql_text([{"x": 1, "y": None}, {"x": 2.5, "y": None}]), "sql")
    assert [row["x"] for row in rows] == [1.0, 2.5]
    assert '"y"\n' in formats.sql_text([{"x": 1, "y": None}])


def test_hostile_names_are_only_names() -> None:
    (row,) = read(formats.sql_text([{HOSTILE: HOSTILE}], HOSTILE), "sql")
    assert row == {text_plain(HOSTILE): text_plain(HOSTILE)}
