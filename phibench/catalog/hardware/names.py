"""What a name of hardware says, whoever wrote it: a person, lspci, NVML, Vulkan, sysctl, wmic or /proc/cpuinfo.

A name is a model (``key``) and what tells its versions apart (``told``: ``gddr6``, ``sxm4``, ``30gpu``; memory).
Makers, marks, clocks and what a tool puts around it do not matter. A model is never shortened to find one.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from phibench.core.nouns import Hardware

_MOST_CHARS = 300


class Reading(NamedTuple):
    key: str  # letters, digits and "+"
    told: frozenset[str] = frozenset()
    memory_gb: int | None = None
    vendors: frozenset[str] = frozenset()
    fitted: tuple[int, int] | None = None  # memory channels and MT/s


_VENDORS = {
    "NVIDIA": r"nvidia|geforce|quadro|tesla",
    "AMD": r"amd|ati|radeon|ryzen|epyc|instinct|threadripper",
    "Intel": r"intel|xeon",
    "Apple": r"apple",
    "Qualcomm": r"qualcomm|snapdragon|adreno",
}
# What tells versions of a model apart; cores stand in brackets, too, where other words only explain.
_CORES = re.compile(r"(\d{1,3})[- ]?cores?[- ](gpu|cpu)\b")
_TOLD = re.compile(r"\b(gddr\dx?|pcie|sxm\d?|nvl|oam|hbm\d?e?|\d{1,3}(?:\.\d)?(?= ?w\b))")
_MEMORY = re.compile(r"(?<![\w.])(\d{1,3})(?: ?gi?b|g)\b")
_FITTED = (  # "8x DDR5-4800", "DDR5-4800 x2"
    re.compile(r"\b(?P<channels>\d{1,2}) ?x (?:l?p?ddr\w+)-(?P<rate>\d{4,5})\b"),
    re.compile(r"\bl?p?ddr\w+-(?P<rate>\d{4,5}) x ?(?P<channels>\d{1,2})\b"),
)
_CODE = re.compile(r"\b(x[12][ep]?)-?(\d\d)-?(\d{3}|1de)\b")  # Qualcomm's: it names the part alone
_MAC_UNDER_LINUX = re.compile(r"\b(?:firestorm|icestorm|avalanche|blizzard) \((m\d(?: pro| max| ultra)?)\)")
# In this order: what tools put around a name.
_AROUND = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (r"\((?:r|tm|c)\)|[®™©]", " "),
        (r"\[[0-9a-f]{4}(?::[0-9a-f]{4})?\]|\(rev [0-9a-f]+\)", " "),  # lspci -nn
        (r"^.*\b(?:controller|accelerators?)[^:]*: ", ""),  # lspci
        (r"\[amd/ati\]", "amd"),
        (r"/pcie/sse2$", ""),  # OpenGL
        (r" @.*", ""),
        (r" (?:w/|with) (?:amd )?radeon.*", ""),
        (r"\b\d{1,2}(?:st|nd|rd|th) gen\b", " "),
        (r"^\d{1,4} x ", ""),
        (r"\b(?:\d{1,3}|dual|quad|six|eight|twelve|sixteen)[- ]cores?\b(?![- ](?:gpu|cpu)\b)", " "),
        (r"\bmax-q ?/ ?mobile\b|\bmobile ?/ ?max-q\b|\bmobile\b|\blaptop gpu\b", "laptop"),
        (r"\bwith max-q design\b", "max-q"),
        (r"\blite hash rate\b|\b(?:engineering reference )?developer kit\b|\bmodel b\b|\brev [\d.]+", " "),
    )
)
_NOISE = re.compile(
    r"\b(?:nvidia|amd|ati|intel|apple|qualcomm|mediatek|samsung|google|microsoft|azure|aws|broadcom|corporation|corp|"
    r"inc|advanced micro devices|technologies|geforce|radeon|tesla|instinct|oryon|processor|graphics|gpu|cpu|core|"
    r"generation|edition|tm)\b"
)

_NO_NAME = {
    "any", "card", "cards", "gpu", "gpus", "graphics", "laptop", "memory", "of", "processor", "ram", "video", "vram",
    "with",
}  # fmt: skip
_BEFORE = {"a", "an", "my", "the"}
_WORDS = re.compile(r"[a-z0-9+.]+")
_MARKS = {"NVIDIA": ("geforce",)}  # of makers that no name in the table has


def readings(name: str) -> tuple[Reading, ...]:
    """What it may mean: one reading, or one for each name that lspci lists for a chip."""
    text = _undressed(name)
    if re.search(r"\bmig \d|\bvirtual\b", text):  # a slice has a part of the GPU; "Apple M1 (Virtual)"
        return ()
    vendors = _makers(text)
    listed = re.findall(r"\[([^\]]+)\]", text)
    models = _alternatives(listed[-1]) if listed else (text,)
    return tuple(found for model in models if (found := reading(model, vendors)).key)


def only_size(name: str) -> tuple[int | None, frozenset[str]]:
    """GB, of words that say how much memory and nothing else but a maker: "NVIDIA 8 GB card"."""
    text = name[:_MOST_CHARS].lower()
    size, by = _MEMORY.search(text), _makers(text)
    words = _NOISE.sub(" ", text.replace(size[0], " ", 1)).split() if size else []
    return (int(size[1]) if size and all(word in _NO_NAME | _BEFORE for word in words) else None), by


def is_part(name: str, row: Hardware) -> bool:
    """Whether each word of a name begins a word of the row's names, its maker's included; of one letter it is one."""
    words = _WORDS.findall(_undressed(name))
    wanted = [word for i, word in enumerate(words) if word not in (_NO_NAME if i else _NO_NAME | _BEFORE)]
    own = [*_WORDS.findall(" ".join((row.name, *row.also)).lower()), row.vendor.lower(), *_MARKS.get(row.vendor, ())]
    return bool(wanted) and all(any(_begins(word, one) for one in own) for word in wanted)


def _begins(word: str, one: str) -> bool:
    return one == word if len(word) == 1 else one.startswith(word)


def _makers(text: str) -> frozenset[str]:
    return frozenset(vendor for vendor, words in _VENDORS.items() if re.search(rf"\b(?:{words})\b", text))


def whole(name: str) -> str:
    """All letters and digits of a name but its maker's and what a tool puts around it."""
    return plain(_undressed(name))


def plain(text: str) -> str:
    """Of a name as the table writes it."""
    return squeezed(_NOISE.sub(" ", text.lower()))


def squeezed(text: str) -> str:
    return re.sub(r"[^a-z0-9+]", "", text.lower())


def _undressed(name: str) -> str:
    text = " ".join(name[:_MOST_CHARS].lower().split())
    mac = _MAC_UNDER_LINUX.search(text)
    if mac:
        return f"apple {mac[1]}"
    for pattern, by in _AROUND:
        text = pattern.sub(by, text)
    return text


def reading(text: str, vendors: frozenset[str] = frozenset()) -> Reading:
    """Of one name as the table writes it, in small letters."""
    fitted = next((found for pattern in _FITTED if (found := pattern.search(text))), None) if "ddr" in text else None
    told = {f"{count}{of}" for count, of in _CORES.findall(text)}
    text = re.sub(r"\([^)]*\)?", " ", _CORES.sub(" ", text))
    told |= set(_TOLD.findall(text))
    text = _TOLD.sub(" ", text)
    memory = _MEMORY.search(text)
    if memory:
        text = text.replace(memory[0], " ", 1)
    code = _CODE.search(text)
    return Reading(
        key="".join(code.groups()) if code else squeezed(_NOISE.sub(" ", text)).replace("laptopmaxq", "maxq"),
        told=frozenset(told),
        memory_gb=int(memory[1]) if memory else None,
        vendors=vendors,
        fitted=(int(fitted["channels"]), int(fitted["rate"])) if fitted else None,
    )


def _alternatives(listed: str) -> tuple[str, ...]:
    """``radeon rx 7900 xt/7900 xtx/7900m``: a later name that begins with a number lacks the words before it."""
    first, *others = [part.strip() for part in listed.split("/")]
    words = re.match(r"\D*", first)
    before = words[0] if words else ""
    return (first, *(before + one if re.match(r"\d", one) else one for one in others if one))
