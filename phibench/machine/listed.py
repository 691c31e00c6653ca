"""A row of a list of machines understood: names as inventories, drivers and people write them.

What surrounds a name is taken off; the name itself is never shortened or guessed (``catalog/hardware``). Only graphics
on the chip of the processor are taken from its row where their own name does not say which they are.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import NamedTuple

from phibench.catalog import hardware
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Hardware
from phibench.machine import asked, ram
from phibench.machine.described import GPUS, PROCESSORS, Described, Os, row_named
from phibench.machine.list_file import Row

_NOTHING = re.compile(
    r"[-–—?./ ]*|n\.?/?a\.?|none|no|null|nil|nan|unknown|undefined|not (?:available|applicable|specified)|"
    r"to be filled by o\.?e\.?m\.?|default string|k\.?a\.?|keine?|unbekannt|aucune?|inconnu|ninguna|desconocido",
    re.IGNORECASE,
)
# What draws a picture and computes nothing: virtual machines, remote control, adapters, management of servers.
_VIRTUAL = re.compile(
    r"vmware svga|microsoft (?:basic|remote|hyper)|basic (?:display|render)|hyper-v|remote ?fx|virtualbox|vbox|\bqxl\b|"
    r"virtio|parallels|citrix|cirrus|bochs|\bvga (?:adapter|standard)\b|standard vga|matrox|\bg200|aspeed|"
    r"\bast\d{4}|displaylink|idd (?:device|driver)|virtual (?:display|monitor|desktop|adapter|video)|teamviewer|"
    r"spacedesk|mirage|dameware|mirror|llvmpipe|swiftshader|softpipe|emulex pilot|integrated management",
    re.IGNORECASE,
)
_INSIDE = re.compile(
    r"\bu?hd graphics\b|\biris\b|\bintel\W.*\barc\b[^ab\d]*graphics|^(?:intel\W+)?graphics\b|\bgma\b|\badreno\b|"
    r"\bradeon(?: r\d)?(?: rx)?(?: vega \d+)? graphics\b|\bradeon vega \d+\b|\bapple (?:[am]\d|gpu)|\d+[- ]core gpu$|"
    r"integrated|on-?board|onchip|shared",
    re.IGNORECASE,
)
_MARKS = re.compile(r"\((?:r|tm|c)\)|[®™©]", re.IGNORECASE)
_PARTS = re.compile(r"\s*(?:[;|\n]|,(?! *inc\b)| \+ | & | / | and )\s*", re.IGNORECASE)
_MIB = re.compile(r"\(?(\d{4,6}) ?(?:mib|mb)\)?", re.IGNORECASE)
_CLOCK = re.compile(r"[\s,(]+[@~]?\s*\d{1,5}(?:[.,]\d{1,3})? ?[mg]hz\b.*", re.IGNORECASE)
_CORES = re.compile(r"[\s,(]+\d{1,3} ?(?:c|cores?|core\(s\)|threads?|logical)\b[^a-z].*|, *\d.*", re.IGNORECASE)
_WORD = re.compile(r"\b(?:cpu|processor)\b(?! max)", re.IGNORECASE)
_SOCKETS = re.compile(r"^(?:\d ?[x×] |dual |\d (?=intel|amd|xeon|epyc))", re.IGNORECASE)
_SYSTEMS: tuple[tuple[Os, re.Pattern[str]], ...] = (
    ("android", re.compile(r"android|graphene", re.IGNORECASE)),
    ("ios", re.compile(r"\bios\b|ipados|iphone|ipad", re.IGNORECASE)),
    ("macos", re.compile(r"mac ?os|os x|darwin|\bmac\b|sonoma|sequoia|ventura|monterey|big sur|tahoe", re.IGNORECASE)),
    ("windows", re.compile(r"\bwin(?:dows|\d|\b)|microsoft", re.IGNORECASE)),
    ("linux", re.compile(
        r"linux|ubuntu|debian|fedora|red ?hat|rhel|centos|suse|\barch\b|\bmint\b|rocky|alma|pop!?_?os|nixos|gentoo|"
        r"manjaro|raspbian|raspberry pi os|proxmox|unraid|\bwsl|jetpack|\bl4t\b|dgx os", re.IGNORECASE)),
)  # fmt: skip
_DRAWS_ONLY = "no GPU that computes"


class Listed(NamedTuple):
    """A row of a list; ``described`` is None where it is not known which machine it is: ``why``."""

    row: Row
    described: Described | None = None
    why: str = ""


def understood(row: Row) -> Listed:
    """The machine that a row means. What is wrong with a row stands in it, and stops no other."""
    return _understood(row._replace(line=0, name=""))._replace(row=row)


@functools.lru_cache(maxsize=10_000)  # most machines of an office are one of a few
def _understood(row: Row) -> Listed:
    if row.wrong:
        return Listed(row, why=row.wrong)
    try:
        return Listed(row, asked.made(_parts(row)))
    except PhibenchError as error:
        return Listed(row, why=str(error))


def system(text: str) -> Os | None:
    """None where nothing is said. Raises PhibenchError for a system that nothing here runs on."""
    if _is_nothing(text):
        return None
    found = next((name for name, pattern in _SYSTEMS if pattern.search(text)), None)
    if found is None:
        raise PhibenchError(f"unknown system '{text[:60]}'; there are: {', '.join(asked.OSES)}")
    return found


def _parts(row: Row) -> asked.Parts:
    memory = None if _is_nothing(row.ram) else ram.as_sold(ram.ram_bytes(row.ram, row.unit))
    host, said = _processor(row.cpu, memory)
    graphics = _names(row.gpu)
    real = [one for one in graphics if not _VIRTUAL.search(one)]
    inside = [one for one in real if _is_inside(one)]
    cards, of_cards = _cards([one for one in real if one not in inside])
    gpu = cards[0] if cards else None
    if gpu is None and inside:
        host, gpu, of_inside = _inside(inside[0], host, memory)
        of_cards = [*of_cards, *of_inside]
    if host is None and gpu is None:
        raise PhibenchError("neither its processor nor its GPU is given")
    if graphics and not real:
        of_cards.append("a virtual machine, with all cores of the processor" if _is_virtual(graphics) else _DRAWS_ONLY)
    without = (bool(graphics) and not real) or row.gpu.lower() in asked.NO_GPU
    chosen = tuple(dict.fromkeys((*said, *of_cards)))
    return asked.Parts(gpu, host, memory, system(row.os), max(1, len(cards)), without, chosen)


def _is_nothing(text: str) -> bool:
    return _NOTHING.fullmatch(text.strip()) is not None


def _is_virtual(graphics: Sequence[str]) -> bool:
    return any(re.search(r"vmware|hyper-?v|virtualbox|vbox|qxl|virtio|parallels|citrix", one, re.I) for one in graphics)


# ------------------------------------------------------------------------------------------------ processors


def _processor(text: str, memory: int | None) -> tuple[Hardware | None, list[str]]:
    names = [one for one in re.split(r"\s*[;|\n]\s*", text) if not _is_nothing(one)]
    if not names:
        return None, []
    row, said = _first_known(_spellings(names[0]), PROCESSORS, memory)
    if len(names) > 1 or _SOCKETS.match(names[0]):
        said.append("one of its processors is counted")
    return row, said


def _spellings(name: str) -> list[str]:
    """The name, and without what inventories put behind it: clock, cores, sockets before it."""
    bare = _SOCKETS.sub("", _CORES.sub("", _CLOCK.sub("", _MARKS.sub(" ", name))))
    return list(dict.fromkeys((name, " ".join(_WORD.sub(" ", bare).strip(" ,(").split()))))


def _first_known(names: Sequence[str], kinds: Sequence[str], memory: int | None = None) -> tuple[Hardware, list[str]]:
    known = next((name for name in names if hardware.versions(name)), names[-1])
    row, said = row_named(known, memory, kinds)
    return row, list(said)


# ------------------------------------------------------------------------------------------------- graphics


def _names(cell: str) -> list[str]:
    """Of one cell: several GPUs, or one in the words of a tool."""
    cell = re.sub(r",(?= *\d+ ?[gm]i?b\b)", "", cell, flags=re.IGNORECASE)
    parts = [cell] if hardware.versions(cell) else _PARTS.split(cell)
    return [one for one in parts if one and not _is_nothing(one)]


def _is_inside(name: str) -> bool:
    rows = hardware.versions(name)
    return all(row.shares_memory for row in rows) if rows else _INSIDE.search(_MARKS.sub("", name)) is not None


def _cards(names: Sequence[str]) -> tuple[list[Hardware], list[str]]:
    """Equal cards, the largest where there are others, too."""
    found: list[Hardware] = []
    said: list[str] = []
    for name in names:
        count, one = asked.counted(_MIB.sub(lambda size: f"{round(int(size[1]) / 1024)} GB", name))
        row, chosen = _first_known([one], GPUS)
        found += [row] * count
        said += chosen
    if not found:
        return [], said
    best = max(found, key=lambda row: (row.memory_bytes or 0, row.read_bytes_s or 0))
    others = dict.fromkeys(row.name for row in found if row != best)
    said += [f"{name} is not counted" for name in others]
    return [row for row in found if row == best], said


def _inside(name: str, host: Hardware | None, memory: int | None) -> tuple[Hardware | None, Hardware | None, list[str]]:
    """Graphics that share the memory: of the processor, its own, if it has a row; a whole chip is both."""
    rows = hardware.versions(name)
    whole = any(row.kind in ("soc", "phone", "sbc") for row in rows)
    if host is not None and host.shares_memory:
        told = row_named(name, memory)[0] if whole else host
        return (told if told.architecture == host.architecture else host), None, []
    if host is not None and not whole:
        own = hardware.versions(host.graphics) if host.graphics else ()
        return host, None, [] if own else [f"{name[:60]}: not in the table, left out"]
    row, said = row_named(name, memory, GPUS)
    return (row, None, list(said)) if whole and host is None else (host, row, list(said))
