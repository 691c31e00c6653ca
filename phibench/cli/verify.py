"""``phibench verify``: what was asked for, lines of progress, and the exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from phibench import catalog
from phibench.analysis import trust
from phibench.core import units
from phibench.core.errors import FAILED, PhibenchError
from phibench.core.nouns import Setup
from phibench.machine import inventory
from phibench.measure import real_file
from phibench.show import verification
from phibench.verify import check_backends, check_files
from phibench.verify.outcomes import Outcome

_CAPTION = "KL divergence in nat; what failed or differs is explained below"


def verify(
    variant: str | None, models: Sequence[str], backend: str | None, quant: str | None, device: str, seed: int,
    output: str, write_out: Callable[[str], None], width: int | None,
) -> int:  # fmt: skip
    """Prints the outcomes; 0 when all are the same answer, 1 when one differs or failed."""
    if seed < 0:
        raise PhibenchError(f"--seed starts at 0, not {seed}")
    if models:
        if variant or backend or quant:
            raise PhibenchError("with -m leave out VARIANT, -b and -q: the files decide them")
        paths = [real_file.path_of(name) for name in models]
        outcomes, told = check_files.compare(paths, seed, device.lower(), _tell, _begin, _trusted)
        caption = f"{told}. {_CAPTION}"
    else:
        variants = [catalog.variant(variant).id] if variant else list(check_backends.VARIANTS)
        wanted, absent = check_backends.setups(variants, _names(backend, "-b"), _names(quant, "-q"), device.lower())
        outcomes = [*check_backends.gate(_trusted(wanted), seed, _tell), *absent]
        caption = f"Small seeded models (seed {seed}) against torch float32 on their dequantized weights. {_CAPTION}"
    write_out(verification.text(outcomes, output, width, caption))
    return FAILED if any(one.verdict in ("differs", "failed") for one in outcomes) else 0


def _trusted(wanted: Sequence[Setup]) -> list[Setup]:
    """With the options without which an engine fails here, as far as that is known, which is told."""
    machine = inventory.this_machine(bandwidth=False)
    for place in dict.fromkeys((setup.backend, setup.device) for setup in wanted):
        if (known := trust.of(machine, *place)) and (said := trust.sentence(known)):
            print(said, file=sys.stderr, flush=True)
    return [trust.with_options(setup, machine) for setup in wanted]


def _tell(one: Outcome) -> None:
    far = f", KL {one.distance.kl_mean:.1e} nat" if one.distance else ""
    print(f"{one.setup}: {one.verdict}{far}", file=sys.stderr, flush=True)


def _begin(setup: Setup) -> None:
    print(f"{setup}: opening and asking", file=sys.stderr, flush=True)


def _names(text: str | None, flag: str) -> list[str] | None:
    return None if text is None else units.names(text, flag)
