"""What is known about every Phi, quantization and goal: one TOML file each, every fact with its source.

Names are found whatever their case, spaces, dots, dashes and underscores: ``Phi-4-mini``, ``phi4-mini``,
``microsoft/Phi-4-mini-instruct`` and ``phi-4-mini-instruct`` are one variant.

In: names, files of facts, files of strangers (``readers/``). Out: facts as nouns, plans of files (``plans/``).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from phibench.core import files, units
from phibench.core.errors import PhibenchError, unknown
from phibench.core.nouns import Goal, Noun, Quantization, Setup, Variant

FOLDER = Path(__file__).parent


@functools.cache
def variants() -> tuple[Variant, ...]:
    """Every Phi model, by release and then id."""
    return tuple(sorted((_variant(name) for name in _names("variants")), key=lambda v: (v.release, v.id)))


@functools.cache
def variant(name: str) -> Variant:
    """The variant with this id, alias or Hugging Face name. Raises PhibenchError (exit 2)."""
    wanted = _key(name)
    for stem in _names("variants"):  # an id reads one file, not all of them
        if _key(stem) == wanted:
            return _variant(stem)
    for found in variants():
        if wanted in map(_key, names(found)):
            return found
    raise unknown("variant", name, (n for v in variants() for n in names(v)), "'phibench models' lists them")


def names(variant: Variant) -> tuple[str, ...]:
    """Every name that means this variant, its id first."""
    return (variant.id, *variant.aliases, *filter(None, [variant.hf_repo]))


def check_context(context: int, of: Sequence[Variant]) -> None:
    """Raises PhibenchError (exit 2) for a context without a token, or longer than any variant of these reads."""
    if context < 1:
        raise PhibenchError(f"--context {context} holds no token; write 4096 or 4k")
    longest = max(((v.context_tokens, v.id) for v in of if v.context_tokens), default=None)
    if longest and context > longest[0]:
        tokens, who = longest
        most = "no Phi reads more than" if len(of) > 1 else f"{who} reads at most"
        raise PhibenchError(f"--context {context} is too long: {most} {tokens} tokens ({units.context(tokens)})")


@functools.cache
def quantizations(fmt: str | None = None) -> tuple[Quantization, ...]:
    """The rows of a format's file in its order, or of all files: by the name of the format."""
    found = (fmt,) if fmt is not None else formats()
    return tuple(q for name in found for q in _rows(name))


@functools.cache
def formats() -> tuple[str, ...]:
    """Of files, by name: each has its quantizations in a file of that name, and a plan in ``plans``."""
    return _names("quantizations")


@functools.cache
def quantization(name: str, fmt: str | None = None) -> Quantization:
    """The quantization with this id or alias. Raises PhibenchError (exit 2).

    A few names exist in two formats (``int4`` in ONNX and torch, ``BF16`` in GGUF and ``bf16`` in torch).
    Without ``fmt`` the exactly written id wins, then the first row of the file.
    """
    rows = quantizations(fmt)
    same = [q for q in rows if q.id == name] or [q for q in rows if _key(name) in map(_key, (q.id, *q.aliases))]
    if same:
        return same[0]
    remedy = f"known{f' for {fmt}' if fmt else ''}: {', '.join(dict.fromkeys(q.id for q in rows))}"
    raise unknown("quantization", name, (n for q in rows for n in (q.id, *q.aliases)), remedy)


@functools.cache
def goals() -> tuple[Goal, ...]:
    """Every goal, by id."""
    return tuple(_goal(name) for name in _names("goals"))


@functools.cache
def goal(name: str) -> Goal:
    """The goal with this id. Raises PhibenchError (exit 2)."""
    for stem in _names("goals"):
        if _key(stem) == _key(name):
            return _goal(stem)
    raise unknown("goal", name, _names("goals"), f"known: {', '.join(_names('goals'))}")


def is_named(name: str, names: Iterable[str]) -> bool:
    """Whether a person who writes ``name`` means one with these names."""
    return _key(name) in map(_key, names)


def resolve(setup: Setup, formats: Iterable[str] = ()) -> Setup:
    """The setup with the canonical ids of its variant and quantization.

    ``formats`` are the backend's, in its order of preference: they decide what ``int4`` or ``bf16`` means.
    """
    found = variant(setup.variant)
    for fmt in formats:
        try:
            exact = quantization(setup.quantization, fmt)
        except PhibenchError:
            continue
        return msgspec.structs.replace(setup, variant=found.id, quantization=exact.id)
    exact = quantization(setup.quantization)
    known = tuple(formats)
    if known and exact.format not in known:
        raise PhibenchError(
            f"{exact.id} is a quantization of {exact.format}, {setup.backend} opens {' or '.join(known)}: "
            f"{', '.join(q.id for fmt in known for q in quantizations(fmt))}"
        )
    return msgspec.structs.replace(setup, variant=found.id, quantization=exact.id)


class _Quantizations(Noun, frozen=True, kw_only=True):
    quantization: tuple[Quantization, ...]


@functools.cache
def _names(folder: str) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (FOLDER / folder).glob("*.toml")))


@functools.cache
def _rows(fmt: str) -> tuple[Quantization, ...]:
    table = files.read_strict(FOLDER / "quantizations" / f"{fmt}.toml", _Quantizations).quantization
    assert {q.format for q in table} == {fmt}
    return table


@functools.cache
def _variant(stem: str) -> Variant:
    return files.read_strict(FOLDER / "variants" / f"{stem}.toml", Variant)


@functools.cache
def _goal(stem: str) -> Goal:
    return files.read_strict(FOLDER / "goals" / f"{stem}.toml", Goal)


def _key(name: str) -> str:
    return re.sub(r"[\s._-]+", "", name.lower().removeprefix("microsoft/"))
