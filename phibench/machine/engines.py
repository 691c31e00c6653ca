"""Which engines are installed here, in which build, and the line that installs the others.

Each installed engine is asked in a child process of its own, all at once: importing them takes seconds, and a broken
one must not take phibench along.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import time

import msgspec

from phibench import backends
from phibench.core import ends, text
from phibench.core.nouns import Installed, Noun, Problem

_LIMIT_S = 20.0
_LLAMA_CPP = """
import json, llama_cpp
print(json.dumps({"features": llama_cpp.llama_print_system_info().decode("utf-8", "replace")}))
"""
_ONNXRUNTIME = """
import json, onnxruntime as ort
devices = []
for found in getattr(ort, "get_ep_devices", list)():
    device = getattr(found, "device", None) or getattr(found, "hardware_device", None)
    kind = str(getattr(device, "type", "")).rpartition(".")[2]
    devices.append([str(found.ep_name), kind, str(getattr(device, "vendor", ""))])
print(json.dumps({"providers": list(ort.get_available_providers()), "devices": devices}))
"""
_TORCH = """
import json, torch
kinds = ["cuda" if torch.version.cuda else "rocm"] if torch.cuda.is_available() else []
kinds += ["mps"] if torch.backends.mps.is_available() else []
kinds += ["xpu"] if hasattr(torch, "xpu") and torch.xpu.is_available() else []
built = [f"CUDA {torch.version.cuda}"] if torch.version.cuda else []
built += [f"ROCm {torch.version.hip}"] if getattr(torch.version, "hip", None) else []
print(json.dumps({"kinds": kinds, "built": built or ["CPU only"]}))
"""
_CODE = {"llama_cpp": _LLAMA_CPP, "onnxruntime": _ONNXRUNTIME, "torch": _TORCH}
_PACKAGES = {"llama_cpp": "llama-cpp-python", "onnxruntime": "onnxruntime", "torch": "torch"}
_INSTALL = {
    "llama_cpp": "pip install 'phibench[llama-cpp]'",
    "onnxruntime": "pip install 'phibench[onnxruntime]'",
    "torch": "pip install 'phibench[torch]'",
}
_MISSING_NOTES = {
    "torch": "without a GPU first: pip install torch --index-url https://download.pytorch.org/whl/cpu; "
    "on Linux the usual package brings CUDA, some GB",
}
_BESIDE = {"onnxruntime": "onnxruntime-genai", "torch": "transformers"}  # what our backend needs, too
Provider = tuple[str, str, str]  # execution provider, kind of device, vendor


class _Answer(Noun, frozen=True, kw_only=True):
    """What a child printed."""

    features: str = ""
    providers: tuple[str, ...] = ()
    devices: tuple[Provider, ...] = ()
    kinds: tuple[str, ...] = ()
    built: tuple[str, ...] = ()


def ask(limit_s: float = _LIMIT_S) -> tuple[tuple[Installed, ...], tuple[Provider, ...]]:
    """Every engine with what its build can use, and what ONNX Runtime's providers can reach; never raises."""
    present = [name for name in _CODE if importlib.util.find_spec(name) is not None]
    answers = _ask({name: _CODE[name] for name in present}, limit_s)
    found = tuple(_installed(name, answers.get(name)) for name in _CODE)
    said = answers.get("onnxruntime")
    return found, said.devices if isinstance(said, _Answer) else ()


def _ask(codes: dict[str, str], limit_s: float) -> dict[str, _Answer | str]:
    """Answers by name; a text is the reason why there is none."""
    children: dict[str, subprocess.Popen[bytes]] = {}
    answers: dict[str, _Answer | str] = {}
    for name, code in codes.items():
        try:
            children[name] = subprocess.Popen(
                [sys.executable, "-P", "-c", code],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            answers[name] = str(error.strerror)
    end = time.monotonic() + limit_s
    for name, child in children.items():
        try:
            said, errors = child.communicate(timeout=max(0.1, end - time.monotonic()))
            answers[name] = msgspec.json.decode(said.splitlines()[-1], type=_Answer)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            answers[name] = f"it gave no answer in {limit_s:.0f} s"
        except (msgspec.DecodeError, IndexError, UnicodeDecodeError):
            how = ends.end(child.returncode, errors.decode("utf-8", "replace"))
            answers[name] = text.scrub(f"it cannot be imported: its process {how}")
    return answers


def _installed(name: str, answer: _Answer | str | None) -> Installed:
    owners = distributions(name)
    twice = _installed_twice(owners)
    notes = [f"{problem.evidence}: {problem.remedy}" for problem in twice]
    package = owners[0] if owners else _PACKAGES[name]
    plain = Installed(backend=name, package=package, install=_INSTALL[name], notes=tuple(notes), problems=twice)
    if answer is None:
        told = (_MISSING_NOTES[name],) if name in _MISSING_NOTES else ()
        return msgspec.structs.replace(plain, notes=(*notes, *told))
    version = _version(package) or "unknown"
    if isinstance(answer, str):
        broken = Problem(kind="broken", evidence=f"broken: {answer}", remedy=f"pip install --force-reinstall {package}")
        return msgspec.structs.replace(
            plain, version=version, install="", notes=(broken.evidence, *notes), problems=(broken, *twice)
        )
    devices, features = _abilities(name, answer)
    return msgspec.structs.replace(
        plain,
        version=version,
        install="",
        devices=devices,
        features=features,
        notes=tuple(notes + _more(name, package)),
    )


def _installed_twice(owners: tuple[str, ...]) -> tuple[Problem, ...]:
    if len(owners) < 2:
        return ()
    return (
        Problem(
            kind="installed_twice",
            evidence=f"{len(owners)} packages overwrite each other ({', '.join(owners)})",
            remedy=f"pip uninstall -y {' '.join(owners)}, then install one of them",
        ),
    )


def _abilities(name: str, answer: _Answer) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(kinds of devices that it can use, what it was built with)."""
    if name == "llama_cpp":
        return backends.load(name).devices(), features(answer.features)
    if name == "onnxruntime":
        kinds = dict.fromkeys(kind.lower() for _, kind, _ in answer.devices)
        return tuple(kinds) or ("cpu",), tuple(p.removesuffix("ExecutionProvider") for p in answer.providers)
    return ("cpu", *answer.kinds), answer.built


def features(system_info: str) -> tuple[str, ...]:
    """``CPU : AVX = 1 | AVX2 = 1 | AVX512 = 0`` are AVX and AVX2."""
    return tuple(dict.fromkeys(re.findall(r"([A-Z][A-Z0-9_]{1,30}) = 1\b", system_info)))


def distributions(module: str) -> tuple[str, ...]:
    """Installed packages that own a module of this name: two of them have overwritten each other."""
    try:
        owners = importlib.metadata.packages_distributions().get(module, [])
    except Exception:  # noqa: BLE001  one unreadable package must not hide the others
        return ()
    return tuple(sorted(set(owners)))


def _more(name: str, package: str) -> list[str]:
    """What the backend needs beside the engine: its version, or the line that installs it."""
    beside = _BESIDE.get(name)
    if beside is None:
        return []
    if backends.load(name).installed() is None:
        return [f"phibench needs {beside} beside it: {_beside(name, package)}"]
    version = _version(beside)
    return [f"{beside} {version}"] if version else []


def _beside(name: str, package: str) -> str:
    """The extra, unless it would put the cpu's build over another one."""
    if package == "onnxruntime-gpu":
        return "pip install --no-deps onnxruntime-genai-cuda"
    return _INSTALL[name] if package == _PACKAGES[name] else f"pip install --no-deps {_BESIDE[name]}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
