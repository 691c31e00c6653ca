"""Every reader of what phibench did not write, with mutated samples: a right value, a named refusal, or unknown.

Each reader is asked in a process of its own, with bounded memory and an alarm. What fails is shown again by
``python tests/mutated.py READER --show SEED``; ``make proof-mutations`` reads 10,000 of each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import mutate
import mutated
import pytest
import readers
from mutate import Folder, Link, Tree
from readers.oracles import Reader, follows, told

from phibench.core.errors import PhibenchError

ROOT = Path(__file__).parent.parent
COUNT = 200


@pytest.mark.parametrize("name", readers.READERS)
def test_no_mutant_is_read_wrongly(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "mutated.py"), name, "--count", str(COUNT)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["faults"] == {}, f"python tests/mutated.py {name} --show SEED, the numbers behind the first of each"
    counts = said["counts"]
    assert sum(counts.values()) == COUNT
    assert counts.get("right", 0) + counts.get("unknown", 0) > 0  # not all were damaged beyond use


# ------------------------------------------------------------------------------------------------- the engine


def _trees() -> list[Tree]:
    return [dict(sample) for reader in readers.READERS.values() for sample in reader.samples()[:1]]


def test_a_mutant_is_made_by_its_tree_and_seed_alone() -> None:
    for tree in _trees():
        one, again = (mutate.mutant(tree, "seed 7") for _ in range(2))
        assert one == again
        assert one.steps
        assert one.tree != tree


def test_every_step_is_taken_somewhere() -> None:
    tree: Tree = {"a.json": b'{"a": 1,\n "b": [2.5, "x"]}', "b.toml": b"a = 1\nb = 2\n", "c.bin": bytes(range(64)),
                  "d3/e.txt": b"one 1\ntwo 2\n", "f.jsonl": b'{"a": 1}\n{"b": 2}\n'}  # fmt: skip
    seen = set().union(*(mutate.mutant(tree, str(seed)).kinds for seed in range(3000)))
    assert seen == {*mutate._BYTES, *mutate._BINARY, *mutate._TEXT, *mutate._JSON, *mutate._TREE}


def test_what_is_planted_is_what_was_asked_for(tmp_path: Path) -> None:
    planted = mutated.Planted(tmp_path)
    assert planted.plant({"a/b": b"1", "c": mutate.Sparse(b"x", 1000), "d": Folder(), "e": Link("")})
    assert (tmp_path / "a/b").read_bytes() == b"1"
    assert (tmp_path / "c").stat().st_size == 1000
    assert (tmp_path / "d").is_dir()
    assert (tmp_path / "e").is_symlink()
    assert planted.plant({"a/b": Folder(), "c": b"2"})
    assert sorted(one.name for one in tmp_path.rglob("*")) == ["a", "b", "c"]
    assert not planted.plant({"c": b"2", "c/d": b"3"})
    assert planted.plant({"c": b"2"})


# ------------------------------------------------------------------------------------------------- it can fail


def _numbered(read: Any, check: Any = lambda *_: ()) -> list[str]:
    """What is found wrong with a reader of one number in a file."""
    sample: Tree = {"n.txt": b"42\n"}
    reader = Reader("n", lambda: [sample], read, check)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mutated, "HANG_S", 1)
        planted = mutated.Planted(Path(tempfile.mkdtemp(dir=Path(os.environ["PHIBENCH_CACHE"]).parent)))
        for seed in range(60):
            name, problems = mutated.outcome(reader, planted, sample, 42, seed)
            found += [*problems, name]
            if problems:
                break
    return found


def _text(folder: Path) -> str:
    file = folder / "n.txt"
    return file.read_bytes().decode("utf-8", "replace") if file.is_file() else ""


def test_a_traceback_is_a_fault() -> None:
    assert any(one.startswith("ValueError at ") for one in _numbered(lambda folder: int(_text(folder))))


def test_a_number_that_stands_nowhere_is_a_fault() -> None:
    def digits(folder: Path) -> int:
        return int("".join(one for one in _text(folder)[:9] if one in "0123456789") or "7")

    assert "n is a number that stands nowhere" in _numbered(digits, lambda tree, n: follows("n", n, told(tree)))


def test_a_refusal_of_several_lines_or_of_any_length_is_a_fault() -> None:
    def refuse(text: str) -> Any:
        def read(folder: Path) -> int:
            raise PhibenchError(text)

        return read

    assert any("several lines" in one for one in _numbered(refuse("one\ntwo")))
    assert any("without bound" in one for one in _numbered(refuse("a" * 5000)))
    assert _numbered(refuse("this is no number")) == ["refused"] * 60


@pytest.mark.skipif(not hasattr(os, "fork"), reason="an alarm")
def test_an_endless_loop_is_a_fault() -> None:
    def endless(folder: Path) -> int:
        known = _text(folder) == "42\n"
        while not known:
            pass
        return 42

    assert "does not end" in _numbered(endless)
