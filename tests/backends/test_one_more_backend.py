"""A backend is one package: what it takes for another one, shown in copies of phibench with no other line changed.

``demo`` is llama_cpp under another name. ``toy``, in the folder one_more, is written against the contract alone, with a
format of files of its own.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from one_more import CHECKOUT, Copy

from phibench.backends.llama_cpp import facts

MACHINE = CHECKOUT / "docs" / "machines" / "laptop.toml"
NAME = "demo"

OWN = {  # of toy -> where they go; nothing else is touched
    "toy_backend.py": "backends/toy/__init__.py",
    "npz_quantizations.toml": "catalog/quantizations/npz.toml",
    "npz_plan.py": "catalog/plans/npz.py",
    "npz_synth.py": "synth/npz.py",
    "npz_verify.py": "verify/formats/npz.py",
    "npz_limits.toml": "verify/formats/npz.toml",
}

pytestmark = pytest.mark.skipif(facts.installed() is None, reason="llama-cpp-python is not installed")
PREDICTED = """
import json, pathlib, sys
from phibench import catalog
from phibench.advise import recommend
from phibench.advise.candidates import Narrowed
from phibench.core import files
from phibench.core.nouns import Machine
machine, everything = files.read_strict(pathlib.Path(sys.argv[1]), Machine), Narrowed(any_build=True)
found = recommend.advise(machine, catalog.goal("chat"), [], only=everything)
toys = {one.setup.quantization for one in found if one.setup.backend == "toy" and "decode_tps" in one.estimates}
print(json.dumps(sorted(toys)))
"""
needs_torch = pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="verify compares with torch")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, machine_json: Path) -> Copy:
    made = Copy(tmp_path_factory.mktemp("copy"), known=machine_json)
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
    assert "\n  demo " in copy.phibench("probe", "--quick").out
    found = copy.rows("probe", "--quick")["backends"]
    demo, llama = (next(one for one in found if one["backend"] == name) for name in (NAME, "llama_cpp"))
    assert demo | {"backend": "llama_cpp"} == llama


def test_the_default_still_stands_for_its_format(copy: Copy) -> None:
    rows = [row for row in copy.rows("models", "phi-4-mini") if row["format"] == "gguf"]
    assert all(row["needed_bytes"] for row in rows)
    assert "llama_cpp" in copy.phibench("models", "phi-4-mini").out


def test_it_is_predicted_and_recommended(copy: Copy) -> None:
    """As llama_cpp is without it: of equals the first by name stands for a variant."""
    words = ("recommend", "--machine", str(MACHINE), "--top", "100000", "-o", "json")
    told = copy.phibench(*words).out
    assert "demo" in told
    assert json.loads(re.sub(r"\bdemo\b", "llama_cpp", told)) == json.loads(copy.phibench(*words, of=CHECKOUT).out)


def test_it_runs_and_its_run_is_told(copy: Copy) -> None:
    small = ("-m", "phi-1", "--layers", "1", "-p", "8", "-n", "4", "-r", "1")
    assert "demo" in copy.phibench("run", "quick", "-b", NAME, *small, "--dry-run").out
    rows = copy.rows("run", "quick", "-b", NAME, *small)
    assert {(row["backend"], row["status"]) for row in rows} == {(NAME, "ok")}
    assert all(row["predicted"] for row in rows)
    (run,) = (copy.folder / "results").rglob("*-quick.json")
    assert backends_of(copy.rows("results", str(run))) == {NAME}
    (known,) = json.loads((copy.folder / "cache" / "selftests.json").read_text(encoding="utf-8"))
    assert (known["backend"], known["usable"], known.get("reason")) == (NAME, True, None)


def test_it_is_advised_about(copy: Copy) -> None:
    assert f"  {NAME} " in copy.phibench("doctor").out


@needs_torch
def test_it_is_verified(copy: Copy) -> None:
    (row,) = copy.rows("verify", "phi-4-mini", "-b", NAME, "-q", "Q8_0")
    assert (row["backend"], row["verdict"]) == (NAME, "same")


def test_numbers_of_others_are_still_imported(copy: Copy) -> None:
    batched = {"n_kv_max": 4096, "n_batch": 2048, "n_ubatch": 512, "flash_attn": -1, "is_pp_shared": 0,
               "n_gpu_layers": -1, "n_threads": 2, "n_threads_batch": 2, "pp": 128, "tg": 32, "pl": 4, "n_kv": 640,
               "t_pp": 12.8, "speed_pp": 40.0, "t_tg": 4.0, "speed_tg": 32.0, "t": 16.8, "speed": 38.1}  # fmt: skip
    (copy.folder / "old.jsonl").write_text(json.dumps(batched) + "\n", encoding="utf-8")
    words = ("import", "old.jsonl", "-m", "phi-4-mini", "-q", "Q4_K_M", "-dev", "cpu", "--machine", str(MACHINE))
    assert backends_of(copy.rows(*words)) == {"llama_cpp"}  # whose programs these are


def test_removed_it_is_gone(copy: Copy) -> None:
    """The last test of this file: what it left in the cache and in runs breaks nothing."""
    shutil.rmtree(copy.package / "backends" / NAME)
    assert NAME not in {one["backend"] for one in copy.rows("probe", "--quick")["backends"]}
    assert NAME not in copy.phibench("recommend", "--machine", str(MACHINE)).out
    copy.phibench("run", "quick", "-b", NAME, "--dry-run", code=2)
    for run in (copy.folder / "results").rglob("*-quick.json"):
        copy.phibench("results", str(run))


# ------------------------------------------------------------------------------------------ a format of its own


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, machine_json: Path) -> Copy:
    made = Copy(tmp_path_factory.mktemp("toy"), known=machine_json)
    for name, place in OWN.items():
        path = made.package / place
        assert not path.exists()
        path.parent.mkdir(exist_ok=True)
        shutil.copy(Path(__file__).with_name("one_more") / name, path)
    return made


def test_a_new_backend_is_short() -> None:
    source = Path(__file__).with_name("one_more") / "toy_backend.py"
    assert len(source.read_text(encoding="utf-8").splitlines()) < 150


def test_a_new_format_is_listed_and_its_backend_predicted(toy: Copy) -> None:
    sizes = {row["variant"]: row for row in toy.rows("models") if row["format"] == "npz"}
    assert sizes["phi-4-mini-instruct"]["needed_bytes"] > sizes["phi-4-mini-instruct"]["weights_bytes"] > 0
    assert sizes["phi-4-mini-instruct"]["runs"] is True
    assert sizes["phi-2"]["reason"] == "phi-2 is no Phi-3; use -b llama_cpp"
    assert " toy " in toy.phibench("models", "phi-4-mini").out
    assert toy.python("-c", PREDICTED, str(MACHINE)).json() == ["half"]
    assert any(one["backend"] == "toy" for one in toy.rows("probe", "--quick")["backends"])
    assert "  toy " in toy.phibench("doctor").out


def test_a_new_format_is_written_measured_and_cleared(toy: Copy) -> None:
    small = ("-m", "phi-3-mini-4k", "--layers", "1", "-p", "4", "-n", "2", "-r", "1")
    assert "toy" in toy.phibench("run", "quick", "-b", "toys", *small, "--dry-run").out
    rows = toy.rows("run", "quick", "-b", "toy", *small)
    assert {(row["backend"], row["quantization"], row["status"]) for row in rows} == {("toy", "half", "ok")}
    assert "npz" in toy.phibench("cache").out
    toy.phibench("cache", "--clear")
    assert not list((toy.folder / "cache" / "npz").iterdir())


@needs_torch
def test_a_new_backend_gives_the_same_answer(toy: Copy) -> None:
    (row,) = toy.rows("verify", "phi-4-mini", "-b", "toy")
    assert (row["quantization"], row["verdict"]) == ("half", "same")
    assert "phi-2 is no Phi-3" in json.dumps(toy.rows("verify", "-b", "toy"))


def test_a_new_backend_is_gone_with_its_files(toy: Copy) -> None:
    """The last test with it."""
    for place in OWN.values():
        (toy.package / place).unlink()
    shutil.rmtree(toy.package / "backends" / "toy")
    assert "npz" not in {row["format"] for row in toy.rows("models")}
    toy.phibench("run", "quick", "-b", "toy", "--dry-run", code=2)
