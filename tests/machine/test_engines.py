"""Which engines are installed: the real llama.cpp, and packages made for the occasion, each asked in a real child."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from phibench import backends
from phibench.backends.onnxruntime import providers
from phibench.core import extras
from phibench.core.nouns import Installed
from phibench.machine import engines

ORT = """
class Kind:
    def __init__(self, name): self.name = name
    def __str__(self): return "OrtHardwareDeviceType." + self.name
class Device:
    type, vendor = Kind("NPU"), "Intel"
class Found:
    ep_name = "OpenVINOExecutionProvider"
    {attribute} = Device()
def get_available_providers(): return ["OpenVINOExecutionProvider", "CPUExecutionProvider"]
def get_ep_devices(): return [Found()]
"""
OLD_ORT = "def get_available_providers(): return ['CPUExecutionProvider']\n"
TORCH = """
class version: cuda, hip = "12.8", None
class cuda:
    @staticmethod
    def is_available(): return True
class backends:
    class mps:
        @staticmethod
        def is_available(): return False
"""


class Site:
    """A folder of packages that this process and its children import from; no other engine is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []

    def owners(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for one in importlib.metadata.distributions(path=[str(self.folder)]):
            found.setdefault((one.read_text("top_level.txt") or "").strip(), []).append(one.metadata["Name"])
        return found

    def add(self, module: str, code: str, *distributions: str) -> None:
        self.asked.append(module)
        (self.folder / module).mkdir(exist_ok=True)
        (self.folder / module / "__init__.py").write_text(code, encoding="utf-8")
        for name in distributions or (module,):
            info = self.folder / f"{name.replace('-', '_')}-1.2.3.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2.3\n", encoding="utf-8")
            (info / "top_level.txt").write_text(f"{module}\n", encoding="utf-8")
            (info / "RECORD").write_text(f"{module}/__init__.py,,\n", encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    for module in ("onnxruntime", "torch"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    made = Site(folder)
    monkeypatch.setattr(backends, "names", lambda: tuple(made.asked))
    monkeypatch.setattr(importlib.metadata, "packages_distributions", made.owners)
    return made


def found(name: str, limit_s: float = 30.0) -> Installed:
    installed, _ = engines.ask(limit_s)
    (one,) = [engine for engine in installed if engine.backend == name]
    return one


@pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="llama_cpp is not installed")
def test_the_real_llama_cpp_says_what_it_was_built_with() -> None:
    one = found("llama_cpp")
    assert one.version == backends.load("llama_cpp").installed()
    assert "cpu" in one.devices
    assert one.features
    assert all(name.isupper() for name in one.features)
    assert one.install == ""


def test_what_is_missing_comes_with_its_line() -> None:
    missing = [e for e in engines.ask()[0] if e.version is None]
    assert {e.backend for e in missing} <= {"llama_cpp", "onnxruntime", "torch"}
    for engine in missing:
        assert engine.install == backends.install_line(backends.load(engine.backend), "quickstart")


def test_a_missing_torch_can_be_had_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "names", lambda: ("torch", "llama_cpp"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(engines, "distributions", lambda _: ())
    torch, llama = engines.ask()[0]
    assert (torch.version, torch.install) == (None, extras.line("torch"))
    assert "--index-url https://download.pytorch.org/whl/cpu" in torch.notes[0]
    assert (llama.version, llama.install, llama.notes) == (None, extras.line("llama-cpp"), ("takes a C++ compiler",))


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("onnxruntime", extras.line("onnxruntime")),
        ("onnxruntime-gpu", "pip install --no-deps onnxruntime-genai-cuda"),
        ("onnxruntime-openvino", "pip install --no-deps onnxruntime-genai"),
    ],
)
def test_onnxruntime_without_genai_is_not_enough(
    package: str, line: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add("onnxruntime", OLD_ORT, package)
    monkeypatch.setattr(providers, "_MODULES", ("onnxruntime", "no_such_module"))
    assert found("onnxruntime").notes[-1] == f"phibench needs onnxruntime-genai beside it: {line}"


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime_genai") is None, reason="onnxruntime_genai is not installed")
def test_what_is_beside_an_engine_is_told(site: Site) -> None:
    site.add("onnxruntime", OLD_ORT)
    assert found("onnxruntime").notes[-1].startswith("onnxruntime-genai ")


@pytest.mark.parametrize("attribute", ["device", "hardware_device"])
def test_onnxruntime_tells_providers_and_devices(site: Site, attribute: str) -> None:
    site.add("onnxruntime", ORT.format(attribute=attribute), "onnxruntime-openvino")
    installed, providers = engines.ask()
    one = next(e for e in installed if e.backend == "onnxruntime")
    assert (one.package, one.version) == ("onnxruntime-openvino", "1.2.3")
    assert one.features == ("OpenVINO", "CPU")
    assert one.devices == ("npu",)
    assert providers == (("OpenVINOExecutionProvider", "NPU", "Intel"),)


def test_an_onnxruntime_without_a_list_of_devices(site: Site) -> None:
    site.add("onnxruntime", OLD_ORT)
    assert found("onnxruntime").devices == ("cpu",)
    assert engines.ask()[1] == ()


def test_two_packages_that_overwrite_each_other(site: Site) -> None:
    site.add("onnxruntime", OLD_ORT, "onnxruntime", "onnxruntime-gpu")
    one = found("onnxruntime")
    (problem,) = one.problems
    assert problem.kind == "installed_twice"
    assert problem.evidence == "2 packages overwrite each other (onnxruntime, onnxruntime-gpu)"
    assert problem.remedy == "pip uninstall -y onnxruntime onnxruntime-gpu, then install one of them"
    assert one.notes[0] == f"{problem.evidence}: {problem.remedy}"


def test_one_that_is_broken_and_installed_twice(site: Site) -> None:
    site.add("torch", "raise ImportError", "torch", "torch-nightly")
    one = found("torch")
    assert [problem.kind for problem in one.problems] == ["broken", "installed_twice"]
    assert [note.partition(" ")[0] for note in one.notes] == ["broken:", "2"]
    assert one.problems[0].remedy == "pip install --force-reinstall torch"


def test_torch_with_cuda(site: Site) -> None:
    site.add("torch", TORCH)
    one = found("torch")
    assert one.devices == ("cpu", "cuda")
    assert one.features == ("CUDA 12.8",)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("raise ImportError('libcudart')", "cannot be imported"),
        ("import os; os.abort()", "cannot be imported"),
        ("print('hello')\nraise SystemExit", "cannot be imported"),
        ("import time; time.sleep(60)", "no answer in 1 s"),
    ],
)
def test_a_broken_engine_is_installed_and_says_so(site: Site, code: str, why: str) -> None:
    site.add("torch", code)
    one = found("torch", limit_s=1.0)
    assert one.version == "1.2.3"
    assert one.devices == ()
    assert one.notes[0].startswith("broken: ")
    assert why in one.notes[0]
    assert [(problem.kind, problem.evidence) for problem in one.problems] == [("broken", one.notes[0])]


def test_features_of_a_system_info() -> None:
    text = "CPU : SSE3 = 1 | AVX2 = 1 | AVX512 = 0 | LLAMAFILE = 1 | CUDA : ARCHS = 890 | USE_GRAPHS = 1 | "
    abilities = backends.load("llama_cpp").abilities
    assert abilities(json.dumps({"features": text}).encode()).features == ("SSE3", "AVX2", "LLAMAFILE", "USE_GRAPHS")
    assert abilities(b"{}").features == ()
