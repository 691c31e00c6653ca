"""CONTRIBUTING's "What one more thing costs": what a row names is added to a copy of the package, and is there."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from one_more import CHECKOUT, Copy
from trees import plant, x86

pytestmark = pytest.mark.usefixtures("probed")
LAPTOP = str(CHECKOUT / "docs" / "machines" / "laptop.toml")

SUITE = """
name = "glance"
question = "How fast is the first glance?"
metrics = ["prefill_tps", "decode_tps"]
prompt_tokens = [16]
new_tokens = [4]
repetitions = 2
look_s = 0.1
"""

DEVICES = """
from phibench.core.nouns import Device
from phibench.probe.system import text_files

def devices(root, _providers=()):
    cards = sorted((root / "sys/class/tpu").glob("tpu*"))
    return tuple(
        Device(kind=f"tpu:{i}", name=text_files.text(card / "name", 80).strip(), because="nobody told",
               memory_bytes=text_files.number(card / "bytes")) for i, card in enumerate(cards)
    )
"""
JOULES = """
name = "joules"
question = "How many joules does a token cost?"
metrics = ["decode_j_per_token"]
prompt_tokens = []
new_tokens = [4]
repetitions = 1
window_s = 1.0
look_s = 0.1
"""
PLACES = """
from phibench.probe.energy.place import one_place, read

def found(root):
    file = root / "sys/class/plug/milliwatts"
    if file.exists():
        yield one_place("plug", file, "the plug", "system_ac", "power", read(file, "/sys/class/plug").access)
"""
COUNTERS = """
from phibench.meters.counters import Counter, number

def counters(place, root, stack):
    return [Counter(name=place.source.name, scope=place.source.scope, method="integrated_power", every_s=0.1,
                    read=lambda: number(place.at) / 1e3, min_window_s=0.5)]
"""

TOOL = """
title = "phichat"
order = 9
needs = "llama.cpp"
formats = ["gguf"]
run = [["phichat", "--from", "{repository}", "{settings}", "{question}"]]
[settings]
context = ["--room", "{context}"]
[help]
version = "an example, no program"
address = "https://example.com"
"""

YAML = """
def _yaml(rows, *_):
    return "".join("- " + "\\n  ".join(f"{key}: {value}" for key, value in row.items()) + "\\n" for row in rows)


"""

# What the command doctor does with a machine, without probing this one and testing its engines first
FINDINGS = """
import sys
from pathlib import Path
from phibench.core import files
from phibench.core.nouns import Conditions, Machine
from phibench.machine import doctor
found = doctor.findings(files.read_strict(Path(sys.argv[1]), Machine), Conditions())
print(*(f"{one.title}: {one.evidence}" for one in found), sep="\\n")
"""

# The dashboard's page with the goals to choose from, in a process that has the copy alone
GOALS = """
from pathlib import Path
from streamlit.testing.v1 import AppTest
app = AppTest.from_file(Path(__file__).with_name("dashboard") / "app.py", default_timeout=120).run()
assert not app.exception
print(next(box.options for box in app.selectbox if box.label == "Goal"))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path / "copy")


def test_a_suite_is_one_file(copy: Copy) -> None:
    assert "unknown suite 'glance'" in copy.phibench("run", "glance", "-b", "null", code=2).err
    copy.add("suites/glance.toml", SUITE)
    assert "null" in copy.phibench("run", "glance", "-b", "null", "--dry-run").out
    rows = copy.phibench("run", "glance", "-b", "null", "-o", "json").json()
    assert [(row["suite"], row["test"], row["status"]) for row in rows] == [
        ("glance", "pp16", "ok"),
        ("glance", "tg4", "ok"),
    ]
    assert "glance, latency" in copy.phibench("run", "glans", "-b", "null", code=2).err


def test_a_goal_is_one_file(copy: Copy) -> None:
    assert "unknown goal 'poems'" in copy.phibench("recommend", "--goal", "poems", code=2).err
    title = "Poems: slowly read, never long"
    goals = "phibench/catalog/goals"
    copy.add_copy(f"{goals}/poems.toml", f"{goals}/chat.toml", id='"poems"', title=f'"{title}"')
    found = copy.phibench("recommend", "--goal", "poems", "--machine", LAPTOP, "-o", "json").json()
    assert found["goal"] == "poems"
    assert "yes" in [one["verdict"] for one in found["candidates"]]
    assert "poems" in copy.phibench("recommend", "--goal", "poem", code=2).err
    if find_spec("streamlit"):
        copy.folder.joinpath("page.py").write_text(GOALS)
        assert title in copy.python(str(copy.folder / "page.py")).out


def test_a_tool_is_one_file(copy: Copy) -> None:
    assert "unknown tool 'phichat'" in copy.phibench("recommend", "--machine", LAPTOP, "--run", "phichat", code=2).err
    copy.add("phibench/catalog/tools/phichat.toml", TOOL)
    printed = copy.phibench("recommend", "--machine", LAPTOP, "--run", "phichat").out
    assert (
        printed.splitlines()[-1] == 'phichat --from unsloth/Phi-4-mini-instruct-GGUF --room 8192 "Why is the sky blue?"'
    )


def test_a_variant_is_one_file(copy: Copy) -> None:
    assert "unknown variant 'phi-5'" in copy.phibench("models", "phi-5", code=2).err
    variants, names = "phibench/catalog/variants", {"id": '"phi-5"', "title": '"Phi-5"', "hf_repo": '"example/Phi-5"'}
    copy.add_copy(f"{variants}/phi-5.toml", f"{variants}/phi-4-mini-instruct.toml", **names, aliases='["Phi-V"]')
    rows = copy.phibench("models", "-o", "json").json()
    formats = {row["format"] for row in rows if row["variant"] == "phi-5" and row["disk_bytes"]}
    assert formats == {"gguf", "onnx", "torch"}
    assert "phi-5" in copy.phibench("models").out
    assert "example/Phi-5" in copy.phibench("models", "Phi-V").out
    advised = copy.phibench("recommend", "--machine", LAPTOP, "--top", "all", "--any-build", "-o", "jsonl").out
    assert "yes" in {row["verdict"] for row in map(json.loads, advised.splitlines()) if row["variant"] == "phi-5"}
    assert "phi-5" in copy.phibench("run", "quick", "-b", "null", "-m", "phi-v", "--dry-run").out
    rows = copy.phibench("run", "quick", "-b", "null", "-m", "phi-5", "-o", "json").json()
    assert {(row["variant"], row["status"]) for row in rows} == {("phi-5", "ok")}


def test_a_device_is_one_row(copy: Copy) -> None:
    assert "unknown hardware 'RTX 6090'" in copy.phibench("hardware", "RTX 6090", code=2).err
    row = 'RTX 6090,gpu-desktop,NVIDIA,blackwell,48,2400,300,1200,600,,"an example, no card: https://example.com"\n'
    copy.insert("phibench/catalog/hardware/cards.csv", row)
    (found,) = copy.phibench("hardware", "NVIDIA GeForce RTX 6090", "-o", "json").json()
    assert (found["name"], found["memory_bytes"], found["read_bytes_s"]) == ("RTX 6090", 48 << 30, 2.4e12)
    assert "https://example.com" in copy.phibench("hardware", "rtx6090").out


def test_a_kind_of_accelerator_is_one_file(tmp_path: Path) -> None:
    tree = plant(
        tmp_path / "tree", x86() | {"sys/class/tpu/tpu0/name": "Coral\n", "sys/class/tpu/tpu0/bytes": "8388608\n"}
    )
    copy = Copy(tmp_path / "copy", machine=tree)
    copy.add("phibench/probe/devices/tpu.py", DEVICES)
    found = copy.phibench("probe", "--quick", "-o", "json").json()
    assert [(device["kind"], device["memory_bytes"]) for device in found["devices"]] == [
        ("cpu", 32 << 30),
        ("tpu:0", 8 << 20),
    ]
    copy.remove("phibench/probe/devices/tpu.py")
    assert "tpu" not in copy.phibench("probe", "--quick").out


def test_a_meter_is_a_file_that_finds_it_and_one_that_reads_it(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", x86() | {"sys/class/plug/milliwatts": "5000\n"})
    copy = Copy(tmp_path / "copy", machine=tree)
    copy.add("suites/joules.toml", JOULES)
    assert "no energy counter" in copy.phibench("run", "joules", "-b", "null", code=1).out
    copy.add("phibench/probe/energy/plug.py", PLACES)
    copy.add("phibench/meters/sources/plug.py", COUNTERS)
    assert "the plug" in copy.phibench("probe", "--quick").out
    takes = ("--backend-option", "token_us=20000")
    (row,) = copy.phibench("run", "joules", "-b", "null", *takes, "-o", "json").json()
    assert [part["name"] for part in row["energy"]] == ["the plug"]
    assert row["decode_j_per_token"] > 0


def test_an_output_format_is_one_function_and_one_entry(copy: Copy) -> None:
    assert "yaml" not in copy.phibench("results", "--help").out
    outputs = "phibench/show/outputs.py"
    copy.insert(outputs, YAML, before="DATA_FORMATS")
    copy.insert(outputs, '    "yaml": _yaml,\n', before='    "csv"')
    assert copy.phibench("run", "quick", "-b", "null", "-o", "yaml").out.startswith("- setup: phi-4-mini-instruct")
    copy.phibench("run", "quick", "-b", "null")
    first, second = dict.fromkeys(row["run"] for row in copy.phibench("results", "-o", "json").json())
    for words in (
        ("results",), ("run", "quick", "-b", "null", "--dry-run"), ("compare", first, second), ("models",),
        ("recommend", "--machine", LAPTOP),
    ):  # fmt: skip
        assert copy.phibench(*words, "-o", "yaml").out.startswith("- "), words
    for command in ("cache", "import", "verify"):
        assert "yaml" in copy.phibench(command, "--help").out


QUANTIZATIONS = "phibench/catalog/quantizations"


def rows_of(copy: Copy, fmt: str) -> str:
    """The file with a format's quantizations."""
    file = f"{QUANTIZATIONS}/{fmt}.toml"
    return file if (copy.folder / file).exists() else f"{QUANTIZATIONS}.toml"


def check_quantization(copy: Copy, name: str, backend: str) -> None:
    """It is listed, planned, measured and advised about."""
    (row,) = [r for r in copy.phibench("models", "phi-4", "-o", "json").json() if r["quantization"] == name]
    assert row["disk_bytes"]
    assert name in copy.phibench("models", "phi-4").out
    rows = copy.phibench("run", "quick", "-b", "null", "-q", name, "-o", "json").json()
    assert {(row["quantization"], row["status"]) for row in rows} == {(name, "ok")}
    dry = copy.phibench("run", "quick", "-b", backend, "-q", name, "-m", "phi-1", "--force", "--dry-run", "-o", "json")
    assert [row["setup"] for row in dry.json()] == [f"phi-1:{name}@{backend}/cpu"]
    advised = copy.phibench("recommend", "--machine", LAPTOP, "--top", "all", "--any-build", "-o", "jsonl").out
    assert any(row["decode_tps"] for row in map(json.loads, advised.splitlines()) if row["quantization"] == name)


@pytest.mark.skipif(not find_spec("onnxruntime_genai"), reason="needs pip install 'phibench[onnx]'")
def test_a_quantization_of_onnx_is_one_row(copy: Copy) -> None:
    row = '[[quantization]]\nid = "int8-acc0"\nformat = "onnx"\nbits = 8.0\nmatrices = "int8"\naccuracy_level = 0\n'
    copy.insert(rows_of(copy, "onnx"), f"\n{row}")
    check_quantization(copy, "int8-acc0", "onnxruntime")


@pytest.mark.skipif(not find_spec("llama_cpp"), reason="needs pip install 'phibench[llama-cpp]'")
def test_a_quantization_of_gguf_is_one_row_and_what_make_types_writes(copy: Copy) -> None:
    copy.insert(rows_of(copy, "gguf"), '\n[[quantization]]\nid = "TQ2_0"\nformat = "gguf"\nbits = 2.0625\nftype = 37\n')
    copy.python("-m", "phibench.synth.gguf_types")
    check_quantization(copy, "TQ2_0", "llama_cpp")


def test_a_metric_is_one_row(copy: Copy) -> None:
    row = '_metric("second_s", "Second token", "s", "lower", 0.1, log=True, formula=lambda w, s: s.arrivals_s[1]),\n'
    copy.insert("phibench/core/metrics.py", f"    {row}", before='    _metric("answer_s"')
    copy.add("suites/glance.toml", SUITE.replace('"decode_tps"', '"second_s"').replace("prompt_tokens = [16]", ""))
    (found,) = copy.phibench("run", "glance", "-b", "null", "-o", "json").json()
    assert found["second_s_low"] <= found["second_s"] <= found["second_s_high"]
    assert "Second token" in copy.phibench("results", "-o", "md").out


def test_a_rule_is_one_function_and_its_name(copy: Copy) -> None:
    rule = 'def is_new(case: Case) -> Answer:\n    return No("of 2023") if case.variant.id == "phi-1" else None\n\n\n'
    copy.insert("phibench/advise/rules.py", rule, before="OF_THE_KIND")
    copy.insert("phibench/advise/rules.py", "    is_new,\n", before="    runs_the_variant,")
    found = copy.phibench("recommend", "--machine", LAPTOP, "--top", "all", "-o", "json").json()["candidates"]
    assert {"phi-1"} == {one["variant"] for one in found if "of 2023" in one["objections"]}


def test_a_finding_of_the_doctor_is_one_function_and_its_name(copy: Copy) -> None:
    rule = 'def is_far(machine, _):\n    yield _slow("far away", f"it is {machine.name}", "go there")\n\n\n'
    copy.insert("phibench/machine/doctor.py", rule, before="RULES")
    copy.insert("phibench/machine/doctor.py", "    is_far,\n", before="    has_sound_engines,")
    assert "far away: it is Laptop with an RTX 4060" in copy.python("-c", FINDINGS, LAPTOP).out
