"""A backend is one package: a copy of one under another name, in a copy of phibench with no other line changed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from phibench.backends.llama_cpp import facts

ROOT = Path(__file__).parents[2]
MACHINE = ROOT / "docs" / "machines" / "laptop.toml"
NAME = "demo"

pytestmark = pytest.mark.skipif(facts.installed() is None, reason="llama-cpp-python is not installed")


class Copy:
    """A folder with phibench and its suites; every command is a process that knows no other phibench."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.package = folder / "phibench"
        shutil.copytree(ROOT / "phibench", self.package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "suites", folder / "suites")

    def run(self, *words: str, code: int = 0) -> str:
        found = {key: value for key, value in os.environ.items() if not key.startswith("PHIBENCH_")}
        own = {"PYTHONPATH": str(self.folder), "PHIBENCH_CACHE": str(self.folder / "cache")}
        done = subprocess.run(
            [sys.executable, "-P", "-m", "phibench", *words], cwd=self.folder, env=found | own, capture_output=True,
            encoding="utf-8", check=False,
        )  # fmt: skip
        assert done.returncode == code, f"phibench {' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.run(*words, "-o", "json", code=code))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    made = Copy(tmp_path_factory.mktemp("copy"))
    own = made.package / "backends" / NAME
    shutil.copytree(made.package / "backends" / "llama_cpp", own)
    for path in own.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        text = text.replace('NAME = "llama_cpp"', f'NAME = "{NAME}"').replace("backends.llama_cpp", f"backends.{NAME}")
        path.write_text(text, encoding="utf-8")
    return made


def backends_of(rows: list[dict[str, Any]]) -> set[str]:
    return {row["backend"] for row in rows}


def test_it_is_listed_where_the_machine_is(copy: Copy) -> None:
    assert "\n  demo " in copy.run("probe", "--quick")
    found = copy.json("probe", "--quick")["backends"]
    demo, llama = (next(one for one in found if one["backend"] == name) for name in (NAME, "llama_cpp"))
    assert demo | {"backend": "llama_cpp"} == llama


def test_the_default_still_stands_for_its_format(copy: Copy) -> None:
    rows = [row for row in copy.json("models", "phi-4-mini") if row["format"] == "gguf"]
    assert all(row["needed_bytes"] for row in rows)
    assert "llama_cpp" in copy.run("models", "phi-4-mini")


def test_it_is_predicted_and_recommended(copy: Copy) -> None:
    rows = copy.json("recommend", "--machine", str(MACHINE), "--top", "100000")
    demo, llama = ([row for row in rows if row["backend"] == name] for name in (NAME, "llama_cpp"))
    assert [row | {"backend": ""} for row in demo] == [row | {"backend": ""} for row in llama]
    assert any(row["verdict"] != "no" for row in demo)


def test_it_runs_and_its_run_is_told(copy: Copy) -> None:
    small = ("-m", "phi-1", "--layers", "1", "-p", "8", "-n", "4", "-r", "1")
    assert "demo" in copy.run("run", "quick", "-b", NAME, *small, "--dry-run")
    rows = copy.json("run", "quick", "-b", NAME, *small)
    assert {(row["backend"], row["status"]) for row in rows} == {(NAME, "ok")}
    assert all(row["predicted"] for row in rows)
    assert backends_of(copy.json("results", "latest")) == {NAME}
    (known,) = json.loads((copy.folder / "cache" / "selftests.json").read_text(encoding="utf-8"))
    assert (known["backend"], known["usable"], known["reason"]) == (NAME, True, "")


def test_it_is_advised_about(copy: Copy) -> None:
    assert f"- {NAME} " in copy.run("doctor")


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="verify compares with torch")
def test_it_is_verified(copy: Copy) -> None:
    (row,) = copy.json("verify", "phi-4-mini", "-b", NAME, "-q", "Q8_0")
    assert (row["backend"], row["verdict"]) == (NAME, "same")


def test_numbers_of_others_are_still_imported(copy: Copy) -> None:
    batched = {"n_kv_max": 4096, "n_batch": 2048, "n_ubatch": 512, "flash_attn": -1, "is_pp_shared": 0,
               "n_gpu_layers": -1, "n_threads": 2, "n_threads_batch": 2, "pp": 128, "tg": 32, "pl": 4, "n_kv": 640,
               "t_pp": 12.8, "speed_pp": 40.0, "t_tg": 4.0, "speed_tg": 32.0, "t": 16.8, "speed": 38.1}  # fmt: skip
    (copy.folder / "old.jsonl").write_text(json.dumps(batched) + "\n", encoding="utf-8")
    words = ("import", "old.jsonl", "-m", "phi-4-mini", "-q", "Q4_K_M", "-dev", "cpu", "--machine", str(MACHINE))
    assert backends_of(copy.json(*words)) == {"llama_cpp"}  # whose programs these are


def test_removed_it_is_gone(copy: Copy) -> None:
    """The last test of this file: what it left in the cache and in runs breaks nothing."""
    shutil.rmtree(copy.package / "backends" / NAME)
    assert NAME not in {one["backend"] for one in copy.json("probe", "--quick")["backends"]}
    assert NAME not in backends_of(copy.json("recommend", "--machine", str(MACHINE), "--top", "100000"))
    copy.run("run", "quick", "-b", NAME, "--dry-run", code=2)
    copy.run("results", "latest")
