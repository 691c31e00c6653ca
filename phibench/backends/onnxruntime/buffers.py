"""Bytes by use of an open model: what the engine shows of its tensors, and what opening it left in memory.

onnxruntime-genai has no report of its memory. It shows the shape and type of the tensors that it hands to the graph;
and what stays in memory after opening, the system counts.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any, NamedTuple

from phibench.backends.onnxruntime.config import Config

_PROC = Path("/proc/self")


class Shown(NamedTuple):
    """Of a run of several tokens of one sequence."""

    kv_bytes_per_token: int
    logits_bytes_per_token: int
    all_logits: bool  # of every token of a prompt, not of its last alone
    text: str  # the tensors, in words


class Opened(NamedTuple):
    """What opening a model left; None where the system does not tell (Linux does)."""

    mapped_bytes: int | None  # of its files, still mapped: weights that are used, or were read, where they lie
    anonymous_bytes: int | None  # what the process has more of than before: copies of weights in other layouts


def shown(generator: Any, config: Config) -> Shown | None:
    """What the engine shows after a run; None where it shows none of these tensors."""
    try:
        key, logits = generator.get_input(config.past_key % 0), generator.get_output("logits")
    except (RuntimeError, TypeError, ValueError):
        return None
    heads, width = key.shape[1], key.shape[3]
    return Shown(
        kv_bytes_per_token=2 * config.layers * heads * width * key.itemsize,
        logits_bytes_per_token=logits.shape[-1] * logits.itemsize,
        all_logits=logits.shape[1] > 1,
        text=f"KV cache of {config.layers} layers x 2 x {heads} heads x {width} {key.dtype} a token, logits of "
        f"{'every token' if logits.shape[1] > 1 else 'the last token'} of a prompt in {logits.dtype}",
    )


def by_use(shown: Shown | None, opened: Opened, device: str, room: int, batch: int, rows: int) -> dict[str, int]:
    """``room`` tokens that the cache has and ``rows`` tokens computed at once, of each of ``batch`` sequences.

    KV cache and logits lie on the device, under its name; buffers of the graph's states are not told.
    """
    found = {"weights": opened.mapped_bytes, "copies": opened.anonymous_bytes}
    if shown is not None:
        tail = "" if device == "cpu" else f" {device}"
        found[f"kv{tail}"] = shown.kv_bytes_per_token * room * batch
        found[f"logits{tail}"] = shown.logits_bytes_per_token * (rows if shown.all_logits else 1) * batch
    return {use: size for use, size in found.items() if size is not None}


def since(before: int | None, folder: Path) -> Opened:
    """``before``: :func:`anonymous_bytes` before the model in ``folder`` was opened."""
    now = anonymous_bytes()
    more = None if before is None or now is None else max(0, now - before)
    return Opened(mapped_bytes=_mapped_bytes(folder), anonymous_bytes=more)


def anonymous_bytes() -> int | None:
    """Memory of this process that belongs to no file."""
    with contextlib.suppress(OSError):
        found = re.search(rb"^RssAnon:\s+([0-9]{1,15}) kB$", (_PROC / "status").read_bytes(), re.MULTILINE)
        return int(found[1]) << 10 if found else None
    return None


def _mapped_bytes(folder: Path) -> int | None:
    """Of files in ``folder``, whether in memory now or not."""
    inside = f" {folder.resolve()}/"
    with contextlib.suppress(OSError):
        lines = (_PROC / "maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        ranges = (re.match("([0-9a-f]{1,16})-([0-9a-f]{1,16}) ", line) for line in lines if inside in line)
        return sum(max(0, int(found[2], 16) - int(found[1], 16)) for found in ranges if found)
    return None
