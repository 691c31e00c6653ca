"""ONNX Runtime as it is installed here: which build, and for what."""

from __future__ import annotations

import msgspec

from phibench.backends.contract import Abilities, EnginePackage
from phibench.backends.onnxruntime import providers
from phibench.core.nouns import Noun

ENGINE = EnginePackage(
    title="ONNX Runtime",
    module="onnxruntime",
    package="onnxruntime",
    imports=("onnxruntime_genai", "onnxruntime.capi._pybind_state", "onnx"),
    question="""
import json, onnxruntime as ort
devices = []
for found in getattr(ort, "get_ep_devices", list)():
    device = getattr(found, "device", None) or getattr(found, "hardware_device", None)
    kind = str(getattr(device, "type", "")).rpartition(".")[2]
    devices.append([str(found.ep_name), kind, str(getattr(device, "vendor", ""))])
print(json.dumps({"providers": list(ort.get_available_providers()), "devices": devices}))
""",
    beside="onnxruntime-genai",
    beside_of={"onnxruntime-gpu": "onnxruntime-genai-cuda"},
)
_NUMBERED = ("cuda", "xpu")  # kinds whose device texts carry a number


class _Answer(Noun, frozen=True, kw_only=True):
    providers: tuple[str, ...] = ()
    devices: tuple[tuple[str, str, str], ...] = ()


def devices() -> tuple[str, ...]:
    if providers.installed() is None:
        return ()
    built = (kind for kind in providers.PROVIDERS if kind == "cpu" or providers.provider(kind))
    return tuple(f"{kind}:0" if kind in _NUMBERED else kind for kind in built)


def abilities(answer: bytes) -> Abilities:
    said = msgspec.json.decode(answer, type=_Answer)
    kinds = dict.fromkeys(kind.lower() for _, kind, _ in said.devices)
    features = tuple(name.removesuffix("ExecutionProvider") for name in said.providers)
    return Abilities(devices=tuple(kinds) or ("cpu",), features=features, reached=said.devices)
