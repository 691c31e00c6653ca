"""One processor or GPU has as many names as there are programs that ask for it: which of them are the same.

Names of ggml's devices: llama.cpp, ggml/src/ggml-*/ggml-*.cpp (get_description); of Vulkan's: what Mesa's drivers add.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from phibench.core.nouns import Device

# What stands before the processor in llama-bench's cpu_info: ggml-blas, ggml-zendnn, ggml-zdnn, once ggml-amx
_LIBRARY = re.compile(
    r"(accelerate|\w*blas|blis|(one)?mkl|nvpl|kleidiai|zendnn\b[^,]*|ibm z [^,]*|amx|intel advanced matrix[^,]*)"
    r"\s*(,\s*|$)",
    re.IGNORECASE,
)
_MARKS = re.compile(r"\((r|tm|c)\)|[®™©]", re.IGNORECASE)
_ANY_ARM = re.compile(r"(ARMv\d|AArch64) Processor\b", re.IGNORECASE)
_PROCESSOR = re.compile(  # what one name has and another leaves out: cores, generation, the GPU inside
    r"(\bwith\b|\bw/)?\s*\bradeon\b.*|\b\d+(st|nd|rd|th) gen\b|\b(processor|cpu|apu|genuine)\b|"
    r"\b(\d+|dual|triple|quad|six|eight|ten|twelve|sixteen)[- ]cores?\b"
)
_BETWEEN = re.compile(  # two GPUs; until 2024 a stroke. A comma in brackets parts none
    r",\s*(?![^()]{0,99}\))| \+ |/(?=(?:nvidia|amd|intel|radeon|geforce|tesla|quadro)\b)", re.IGNORECASE
)
# A driver that passes another one on: Mesa's for Direct3D 12 and for virtual machines
_AROUND = re.compile(r"^(?:microsoft direct3d12|virtio-gpu venus) \((.*)\)$", re.IGNORECASE)
# Mesa, Google, Microsoft, PoCL, Intel: what lets a processor pass for a GPU
_SOFTWARE = re.compile(
    r"llvmpipe|lavapipe|softpipe|swrast|swiftshader|basic render|\bwarp\b|\bpocl\b|^(pthread|cpu)-|fpga emulation",
    re.IGNORECASE,
)
_MAKERS = {
    "nvidia": re.compile(r"\b(nvidia|geforce|quadro|tesla|titan|nvk|tegra|jetson)\b"),
    "amd": re.compile(r"\b(amd|ati|radeon|radv|instinct|firepro|navi|gfx\d+\w*)\b"),
    "intel": re.compile(r"\b(intel|arc|iris)\b"),
    "apple": re.compile(r"\bapple\b"),
}
_NUMBERS = re.compile(r"\[?\b(?:1002:|10de:|8086:|0x)([0-9a-f]{4})\b\]?")  # of a device on the PCI bus
_NO_MODEL = re.compile(
    r"\b(nvidia|amd|ati|intel|apple|mesa|radeon|tesla|tegra|jetson|graphics|gpu|series|integrated|paravirtual|device|"
    r"corporation|oam|nvk \w+|gfx\d+\S*|radv)\b"
)
# Words that only cards have, and those of the graphics inside an Intel processor
_CARD = re.compile(
    r"\b(rx (vega )?\d\d|arc (pro )?[ab]\d\d|geforce|pro w\d|vii\b|firepro|instinct|data center|iris xe max)"
)
# Chips of AMD with graphics inside: names of Mesa's amd_family.c, and LLVM's AMDGPUUsage (those that are APUs)
_APU = re.compile(
    r"\b(raven2?|picasso|renoir|lucienne|cezanne|barcelo|vangogh|rembrandt|raphael|mendocino|phoenix|strix|krackan|"
    r"gfx(90[29c]|103[3-7]|1103|115\d))"
)
_INSIDE = re.compile(r"\bu?hd\b|\biris( plus| pro| xe)?$|\barc( 1\d\d[tv])?$")


def processor(said: str) -> str:
    """As llama-bench names it, without libraries; "" where it names none: on ARM and in old builds it is a "CPU", or
    what kernels call every one of them."""
    name = " ".join(said.replace("\0", " ").split())
    while library := _LIBRARY.match(name):
        name = name[library.end() :]
    return name if _processor(name)[0] and not _ANY_ARM.match(name) else ""


def same_processor(one: str, other: str) -> bool:
    """``12th Gen Intel(R) Core(TM) i7-12700K`` and ``Intel Core i7-12700K CPU @ 3.60GHz`` are one.

    The clock counts only for want of a model: the ``Intel Xeon CPU`` of a cloud at 2.2 and at 2.3 GHz are two.
    """
    (first, clock), (second, other_clock) = _processor(one), _processor(other)
    numbered = any(char.isdigit() for char in first)
    return bool(first) and first == second and (numbered or clock == other_clock or not (clock and other_clock))


def _processor(name: str) -> tuple[str, str]:
    name, _, clock = " ".join(_MARKS.sub(" ", name).lower().split()).partition("@")
    return _plain(_PROCESSOR.sub(" ", name)), _plain(clock)


def gpus(said: str) -> tuple[str, ...]:
    """The names in a list of them."""
    return tuple(name for part in _BETWEEN.split(said) if (name := part.strip()))


def is_software(gpu: str, processor_said: str) -> bool:
    """Whether it is the processor: by the name of a renderer, or by its own."""
    return bool(_SOFTWARE.search(gpu)) or same_processor(gpu, processor_said)


class Gpu(NamedTuple):
    """``maker`` and ``model``: "" where the name does not tell; ``number``: of the device on the PCI bus."""

    maker: str
    model: str
    number: str
    is_card: bool
    is_inside: bool
    is_apu: bool


def gpu(name: str) -> Gpu:
    """What a name tells, whoever gave it: drivers put themselves in brackets, before or after it."""
    text = _MARKS.sub("", name).lower()
    while around := _AROUND.match(text):
        text = around[1]
    number = _NUMBERS.search(text)
    words = " ".join(_NO_MODEL.sub(" ", re.sub(r"\([^()]*\)", " ", _NUMBERS.sub(" ", text))).split())
    return Gpu(
        maker=next((maker for maker, told in _MAKERS.items() if told.search(text)), ""),
        model=_plain(words),
        number=number[1] if number else "",
        is_card=bool(_CARD.search(words)),
        is_inside=bool(_INSIDE.search(words)),
        is_apu=bool(_APU.search(text)),
    )


def same_gpu(said: str, device: Device) -> bool:
    """Whether ``said`` may be this device: where one of the two names no model, by its maker and what it shares."""
    one, here = gpu(said), gpu(device.name)
    if one.model and here.model:
        return one.model == here.model and (one.maker == here.maker or not (one.maker and here.maker))
    if one.maker != here.maker or not one.maker:
        return False
    number = here.number or device.facts.get("pci", "")[-4:]
    if one.number and number:
        return one.number == number
    return not (one.is_apu and here.is_card) and not (one.is_card if device.shares_memory else one.is_inside)


def _plain(words: str) -> str:
    return re.sub(r"[^a-z0-9+]", "", words)
