"""PyTorch as it is installed here: which build, and for what."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import msgspec

from phibench.backends.contract import Abilities, EnginePackage
from phibench.core import extras
from phibench.core.nouns import Noun

PACKAGE = "torch"
ENGINE = EnginePackage(
    title="PyTorch",
    module="torch",
    package=PACKAGE,
    imports=(f"{__package__}.build", "transformers.models.phi3.modeling_phi3", "safetensors.numpy"),
    question="""
import json, torch
kinds = ["cuda" if torch.version.cuda else "rocm"] if torch.cuda.is_available() else []
kinds += ["mps"] if torch.backends.mps.is_available() else []
kinds += ["xpu"] if hasattr(torch, "xpu") and torch.xpu.is_available() else []
built = [f"CUDA {torch.version.cuda}"] if torch.version.cuda else []
built += [f"ROCm {torch.version.hip}"] if getattr(torch.version, "hip", None) else []
print(json.dumps({"kinds": kinds, "built": built or ["CPU only"]}))
""",
    beside="transformers",
    hint="on Linux the usual package brings CUDA, some GB; without a GPU first: pip install torch "
    "--index-url https://download.pytorch.org/whl/cpu, or with uv: --torch-backend cpu",
)


class _Answer(Noun, frozen=True, kw_only=True):
    kinds: tuple[str, ...] = ()
    built: tuple[str, ...] = ()


def installed() -> str | None:
    return extras.version(PACKAGE) if extras.version("transformers") else None


def devices() -> tuple[str, ...]:
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return ()
    try:
        text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        text = ""
    return built(text, apple=sys.platform == "darwin")


def built(version_py: str, *, apple: bool) -> tuple[str, ...]:
    """What a wheel was built for, as its ``torch/version.py`` says; Apple's GPU is in every wheel for macOS."""
    found = dict(re.findall(r"^(cuda|hip|xpu)\b[^=\n]*= *'([^']+)'", version_py, re.MULTILINE))
    names = {"cuda": "cuda:0", "hip": "rocm:0", "xpu": "xpu:0"}
    return ("cpu", *(text for key, text in names.items() if key in found), *(("mps",) if apple else ()))


def abilities(answer: bytes) -> Abilities:
    said = msgspec.json.decode(answer, type=_Answer)
    return Abilities(devices=("cpu", *said.kinds), features=said.built)
