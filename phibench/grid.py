"""The grid of setups that a request spans."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any

from phibench import backends, catalog, units
from phibench.errors import PhibenchError
from phibench.nouns import Machine, Setup

_FLASH = {"1": "on", "0": "off"}


_OPTION_FLAGS = {  # flag -> option of the backend
    "threads": "threads",
    "n_gpu_layers": "n_gpu_layers",
    "flash_attn": "flash_attn",
    "cache_type_k": "type_k",
    "cache_type_v": "type_v",
    "n_ubatch": "n_ubatch",
    "n_batch": "n_batch",
}


_COUNTS = ("threads", "n_gpu_layers", "n_ubatch", "n_batch")


def setups_from(flags: dict[str, Any], machine: Machine) -> tuple[Setup, ...]:
    """The grid of setups, names looked up, options that are the default left out."""
    flags = {k: v for k, v in flags.items() if v is not None}
    if "threads" not in flags and os.environ.get("OMP_NUM_THREADS", "").isdigit():
        flags["threads"] = os.environ["OMP_NUM_THREADS"]
    axes = {option: _values(flag, flags[flag]) for flag, option in _OPTION_FLAGS.items() if flag in flags}
    for pair in flags["extra"]:
        key, sep, value = pair.partition("=")
        if not sep:
            raise PhibenchError(f"'{pair}' is not an option; write --backend-option key=value")
        axes[key] = (value,)
    grid = []
    modules = [backends.load(name) for name in units.names(flags["backend"], "--backend")]
    quants = _quantizations(units.names(flags["quant"], "--quant") if "quant" in flags else None, modules)
    for model, module, device in itertools.product(
        units.names(flags["model"], "--model"), modules, units.names(flags["device"], "--device")
    ):
        for quant, *values in itertools.product(quants[module.NAME], *axes.values()):
            options = dict(zip(axes, values, strict=True))
            if options.get("threads") == str(machine.limits.threads):
                del options["threads"]
            kept = {k: v for k, v in options.items() if module.DEFAULTS.get(k) != v}
            setup = Setup(
                variant=catalog.variant(model).id,
                quantization=quant,
                backend=module.NAME,
                device=device.lower(),
                options=tuple(sorted(kept.items())),
            )
            backends.check_options(setup)
            grid.append(setup)
    return tuple(dict.fromkeys(grid))


def _quantizations(names: list[str] | None, modules: Sequence[backends.Backend]) -> dict[str, list[str]]:
    """Of each backend: its usual one, or those of the names that its format has.

    Raises PhibenchError for a name that no backend here has, and for a backend that has none of them.
    """
    if names is None:
        return {module.NAME: [module.QUANTIZATION] for module in modules}
    found: dict[str, list[str]] = {module.NAME: [] for module in modules}
    for name in names:
        refused = []
        for module in modules:
            try:
                found[module.NAME].append(catalog.quantization(name, *module.FORMATS[:1]).id)
            except PhibenchError as error:
                refused.append(error)
        if len(refused) == len(modules):
            raise refused[0]
    for module in modules:
        if not found[module.NAME]:
            raise PhibenchError(
                f"-q names no quantization that {module.NAME} has; add one, for example {module.QUANTIZATION}, "
                f"or leave {module.NAME} out of -b"
            )
    return {name: list(dict.fromkeys(ids)) for name, ids in found.items()}


def _values(flag: str, text: str) -> tuple[str, ...]:
    name = f"--{flag.replace('_', '-')}"
    if flag in _COUNTS:
        values = units.counts(text)
        if min(values) < 1 and flag != "n_gpu_layers":
            raise PhibenchError(f"{name} starts at 1, not {min(values)}")
        return tuple(str(v) for v in values)
    return tuple(_FLASH.get(v, v) if flag == "flash_attn" else v for v in units.names(text, name))
