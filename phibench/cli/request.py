"""The flags of ``phibench run`` as a request."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from phibench.core import units
from phibench.core.errors import PhibenchError
from phibench.measure.real_file import names
from phibench.measure.request import RunRequest

_AXES = {  # flag -> field of a suite
    "n_prompt": "prompt_tokens",
    "n_gen": "new_tokens",
    "n_depth": "depths",
    "batches": "batches",
    "context": "contexts",
}
_OPTIONS = {  # flag -> option of the backend
    "threads": "threads",
    "n_gpu_layers": "n_gpu_layers",
    "flash_attn": "flash_attn",
    "cache_type_k": "type_k",
    "cache_type_v": "type_v",
    "n_ubatch": "n_ubatch",
    "n_batch": "n_batch",
}
_COUNTS = ("threads", "n_gpu_layers", "n_ubatch", "n_batch")
_FLASH = {"1": "on", "0": "off"}


def request_from(flags: Mapping[str, Any]) -> RunRequest:
    """What the flags ask for, each text read once. Raises PhibenchError for one that means nothing."""
    same = ("suite", "repetitions", "launches", "seconds", "layers", "results", "quick", "resume", "dry_run", "force")
    return RunRequest(
        models=tuple(names(flags["model"])),
        backends=_names(flags["backend"], "--backend"),
        axes={field: units.counts(flags[flag]) for flag, field in _AXES.items() if flags[flag] is not None},
        pairs=tuple(_pair(text) for text in flags["pair"]),
        options=_options(flags),
        quantizations=_names(flags["quant"], "--quant"),
        devices=_names(flags["device"], "--device"),
        **{name: flags[name] for name in same},
    )


def _names(text: str | None, flag: str) -> tuple[str, ...]:
    return () if text is None else tuple(units.names(text, flag))


def _pair(text: str) -> tuple[int, int]:
    values = units.counts(text)
    if len(values) == 1 and text.count(",") == 1:  # 512,512: counts() drops what is said twice
        values = (values[0], values[0])
    if len(values) != 2:
        raise PhibenchError(f"'{text}' is not a pair; write -pg 512,128")
    return values[0], values[1]


def _options(flags: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    given = {flag: flags[flag] for flag in _OPTIONS if flags[flag] is not None}
    if "threads" not in given and os.environ.get("OMP_NUM_THREADS", "").isdigit():
        given = {"threads": os.environ["OMP_NUM_THREADS"], **given}
    options = {_OPTIONS[flag]: _values(flag, text) for flag, text in given.items()}
    for pair in flags["extra"]:
        key, sep, value = pair.partition("=")
        if not sep:
            raise PhibenchError(f"'{pair}' is not an option; write --backend-option key=value")
        options[key] = (value,)
    return options


def _values(flag: str, text: str) -> tuple[str, ...]:
    name = f"--{flag.replace('_', '-')}"
    if flag in _COUNTS:
        values = units.counts(text)
        if min(values) < 1 and flag != "n_gpu_layers":
            raise PhibenchError(f"{name} starts at 1, not {min(values)}")
        return tuple(str(v) for v in values)
    return tuple(_FLASH.get(v, v) if flag == "flash_attn" else v for v in units.names(text, name))
