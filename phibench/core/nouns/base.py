"""What all nouns are made of: the frozen record, and numbers with a range that a slip of the pen leaves."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

SCHEMA = 1
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]  # bytes, tokens
Tokens = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1, le=1 << 30)]
Rate = Annotated[float, msgspec.Meta(ge=1.0, le=1e18)]  # per second; below one is a slip of the pen
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]  # more than 31 years is a damaged file

DeviceKind = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]*(:[0-9]{1,4})?\Z")]  # it stands in commands

# How a process that opened an engine ended, or what was wrong with what it gave.
Kind = Literal["signal", "hang", "wrong_numbers", "out_of_memory", "exit", "closed"]

# Why there is no figure: it broke; this machine cannot show it; the engine ran elsewhere than asked; a rule said no.
Cause = Literal["failed", "unavailable", "fallback", "refused"]


class Noun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A frozen record; making one has no effects."""
