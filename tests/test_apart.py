"""No engine is loaded by a command's own process, and no process loads two: what one does harms neither.

Every Python process that a command starts notes which engines' libraries it loads, at the moment when it does: so one
that is killed has told, too.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

LIBRARIES = {"llama_cpp": r"libggml|libllama|ggml-base|llama_cpp[/\\]", "onnxruntime": r"onnxruntime",
             "torch": r"site-packages[/\\]torch[/\\]"}  # fmt: skip
EXAMPLE = next((Path(__file__).parents[1] / "results" / "example").glob("*.json"))
INSTALLED = {name for name in LIBRARIES if importlib.util.find_spec(name)}
NOTES = f"""
import atexit, os, re, sys
LIBRARIES = {LIBRARIES!r}

def note(text):
    with open(os.path.join(os.environ["LOADED"], str(os.getpid())), "a") as file:
        file.write(text + "\\n")

def look(path):
    for name, pattern in LIBRARIES.items():
        if re.search(pattern, str(path)):
            note(name)

def heard(event, words):
    if event == "ctypes.dlopen" or (event == "import" and words[1]):  # a file only where it is a native module
        look(words[0] if event == "ctypes.dlopen" else words[1])

def at_exit():
    if os.path.exists("/proc/self/maps"):
        with open("/proc/self/maps") as maps:
            for line in maps:
                look(line.partition("/")[2])

note(" ".join(sys.orig_argv[1:]).replace("\\n", " "))
sys.addaudithook(heard)
atexit.register(at_exit)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of every command here: the notes, and one cache with the machine's slow figures in it, so none measures them.

    Other tests may keep the machine busy, and what is doubted would be measured again: so nothing is doubted here.
    """
    folder = tmp_path_factory.mktemp("apart")
    (folder / "sitecustomize.py").write_text(NOTES)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    found = os.environ | {
        "PYTHONPATH": path,
        "PHIBENCH_CACHE": str(folder / "cache"),
        "PHIBENCH_RESULTS": str(folder / "results"),
    }
    loaded("probe", found, folder / "probe")
    file = folder / "cache" / "machine.json"
    file.write_text(json.dumps(json.loads(file.read_text(), object_hook=_sure)))
    return found


def _sure(known: dict[str, object]) -> dict[str, object]:
    return {**known, "doubt": ""} if "doubt" in known else known


def loaded(words: str, environment: dict[str, str], folder: Path, codes: Sequence[int] = (0,)) -> dict[str, set[str]]:
    """Command line of every process that ``phibench WORDS`` started -> engines that it loaded; "" is the command."""
    folder.mkdir()
    command = [sys.executable, "-m", "phibench", *words.split()]
    process = subprocess.Popen(
        command, env=environment | {"LOADED": str(folder)}, cwd=folder.parent,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    _, said = process.communicate(timeout=300)
    assert process.returncode in codes, said
    found = {}
    for file in folder.iterdir():
        line, *engines = file.read_text().splitlines()
        found["" if file.name == str(process.pid) else f"{file.name} {line}"] = set(engines)
    return found


@pytest.mark.parametrize(
    ("words", "engines"),
    [
        ("models", set()),
        ("cache", set()),
        ("recommend", set()),
        ("run quick -m phi-1 --layers 1 -b all --dry-run", set()),
        ("run quick -m phi-1 --layers 1 -b all -p 8 -n 2 -r 1 --launches 1", INSTALLED),
        ("run memory -m phi-1 --layers 1 -b llama_cpp --quick -p 8", INSTALLED & {"llama_cpp"}),
        ("results", set()),
        (f"report {EXAMPLE}", set()),
        ("verify phi-2 -q Q8_0,int8", INSTALLED),
        ("doctor", INSTALLED),
        ("probe", INSTALLED),
        ("quickstart --before", set()),
    ],
    ids=lambda value: value.partition(" -")[0] if isinstance(value, str) else "",
)
def test_each_engine_is_alone_in_a_process(
    environment: dict[str, str], tmp_path: Path, words: str, engines: set[str]
) -> None:
    codes = (0, 3, 5) if words == "recommend" else (0,)  # 3: no Phi is fast enough here, 5: others are busy
    found = loaded(words, environment, tmp_path / "loaded", codes)
    assert found[""] == set(), f"the command's own process loaded {found['']}"
    shared = {line: of_it for line, of_it in found.items() if len(of_it) > 1}
    assert not shared, "engines share a process"
    assert set().union(*found.values()) == engines
