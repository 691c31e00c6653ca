"""Programs that answer with a Phi, as their makers' help tells them, and the lines to type for one of them."""

from __future__ import annotations

from typing import Literal

from phibench.core.nouns.base import Noun

System = Literal["linux", "macos", "windows"]
Part = Literal[
    "context", "threads", "layers", "experts", "gpu", "kv", "flash"
]  # what may be set of a model that is opened
Way = Literal["short", "exact", "own"]  # by its quantization, by its file, or by a name of the tool's own
Words = tuple[str, ...]


class Help(Noun, frozen=True, kw_only=True):
    """Where the flags were looked up."""

    version: str
    address: str


class Prerequisite(Noun, frozen=True, kw_only=True):
    """What is installed first: one file in ``tools/needs``. ``programs``: what a name in braces is on each system."""

    version: str
    address: str
    install: dict[System, tuple[Words, ...]]
    chips: dict[System, str] = {}  # the architecture that it is made for, where it is one alone
    programs: dict[System, dict[str, str]] = {}
    asides: dict[System, str] = {}  # what to know of it on a system
    reaches: dict[System, tuple[str, ...]] = {}  # kinds of device that what it installs can use; empty: all
    otherwise: dict[System, str] = {}  # what of the others


class Tool(Noun, frozen=True, kw_only=True):
    """A program that people talk to a Phi with: one file of the catalog.

    Commands are words with names in braces, which ``advise.howto`` fills in. A word that is no more than
    ``{settings}``, ``{model}`` or ``{packages}`` becomes several; inside a longer word settings are ``joint``.
    ``plain``: for a Phi without a chat template; without it the tool is for no such Phi.
    """

    title: str
    order: int  # among the tools that run the same build
    needs: str
    runtime: str = ""  # as the variants' files call it; "": they do not speak of it
    formats: tuple[str, ...]
    beside: tuple[str, ...] = ()  # formats of a build that it has another one for, of a format of its own
    devices: tuple[str, ...] = ()  # kinds; empty: all
    leaves_out: tuple[str, ...] = ()  # variants that its lines do not open
    for_systems: tuple[System, ...] = ()  # empty: all that its need is for
    owner: str = ""  # of its own repositories, which it takes before others
    only_own: bool = False
    off_hub: bool = False  # its own repositories are on no hub
    measured_by: str = ""  # the backend of phibench that is the same engine; "": it is not measured here
    install: tuple[Words, ...] = ()
    run: tuple[Words, ...]
    plain: tuple[Words, ...] = ()
    notes: tuple[str, ...] = ()
    joint: str = ", "
    model: dict[Way, Words] = {}
    packages: dict[str, Words] = {}  # by kind of device, "" for every other
    providers: dict[str, str] = {}  # what it calls a kind of device
    quantizations: dict[str, str] = {}  # what it calls one; empty: as phibench does, and it takes all
    settings: dict[Part, Words] = {}
    typed: dict[Part, Words] = {}  # settings that are typed at its own prompt, once it runs
    unset: dict[Part, str] = {}  # where it has no flag for what matters
    values: dict[Part, dict[str, str]] = {}  # what it calls a value
    help: Help


class Line(Noun, frozen=True, kw_only=True):
    """A command; ``typed``: at the tool's own prompt."""

    words: Words
    typed: bool = False


class Howto(Noun, frozen=True, kw_only=True):
    """From nothing installed to the first word, with one tool on one system.

    ``misses``: why it would compute elsewhere than on the device that was advised, "" where it does not.
    """

    tool: str
    title: str
    system: System
    repository: str
    file: str | None = None
    lines: tuple[Line, ...]
    misses: str = ""
    notes: tuple[str, ...] = ()
    help: Help
