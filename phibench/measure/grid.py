"""The grid of setups that a request spans."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from phibench import backends, catalog
from phibench.backends import contract
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Machine, Setup
from phibench.measure.request import RunRequest


def setups(request: RunRequest, machine: Machine) -> tuple[Setup, ...]:
    """The grid of setups, names looked up, options that are the default left out."""
    grid = []
    modules = [backends.load(name) for name in request.backends]
    quants = _quantizations(request.quantizations, modules)
    for model, module, device in itertools.product(request.models, modules, request.devices):
        for quant, *values in itertools.product(quants[module.NAME], *request.options.values()):
            options = dict(zip(request.options, values, strict=True))
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


def _quantizations(names: Sequence[str], modules: Sequence[contract.Backend]) -> dict[str, list[str]]:
    """Of each backend: its usual one, or those of the names that its format has.

    Raises PhibenchError for a name that no backend here has, and for a backend that has none of them.
    """
    if not names:
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
