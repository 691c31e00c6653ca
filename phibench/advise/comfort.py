"""Whether a candidate that is usable is comfortable too: faster than it must be, and with memory left for others."""

from __future__ import annotations

from phibench.advise.case import Case
from phibench.advise.limits import in_words, judge
from phibench.core import units
from phibench.core.metrics import METRICS
from phibench.core.nouns import Machine
from phibench.predict import memory, offload

GIB = 1 << 30
# Chosen: what a browser and an office program want beside the model, on memory that all share; half a GiB where a
# machine of 8 GiB has no more, and in between so that more memory never leaves less for the model.
_SPARE, _SPARE_SMALL = 3.0 * GIB, 0.5 * GIB
_SMALL, _LARGE = 8 * GIB, 16 * GIB
_PHONES = ("android", "ios")


def discomfort(case: Case) -> str:
    """What makes one that every rule says yes to no comfort; "" where it is one. A split model takes of two memories,
    keeps both processors busy and hangs on the link between them. Nor is a quick answer without thoughts a comfort
    where these are wanted."""
    goal, found = case.goal, case.estimates
    if goal.thinking == "wanted" and not case.variant.reasoning:
        return "it does not think before it answers"
    if offload.is_split(case.setup):
        return "split over two memories"
    loss = found.get("quant_kld")
    if loss is None or loss.value > goal.equal_loss:
        return "its quantization loses enough to be noticed" if loss else "the loss of its quantization is not known"
    for metric, limit in goal.comfort.items():
        if metric not in found or not judge(metric, found[metric], limit):
            return (
                in_words(metric, found[metric], limit) if metric in found else f"{METRICS[metric].title} is not known"
            )
    if case.need is None or not all(_leaves_some(case, place) for place in _places(case)):
        return f"less than {units.gib(spare_bytes(case.machine))} of memory is left for other programs"
    return ""


def _places(case: Case) -> tuple[memory.Place, ...]:
    assert case.need is not None
    return memory.places(case.setup, case.need, case.device)


def _leaves_some(case: Case, place: memory.Place) -> bool:
    """Memory of a card belongs to whoever computes; what a program shares with others is not to be filled."""
    if place.kind != "cpu" and not case.device.shares_memory:
        return True
    free = memory.free_in(case.machine, place, case.device)
    return free is not None and place.high + spare_bytes(case.machine) <= free


def spare_bytes(machine: Machine) -> int:
    """What is to be left of the memory that a process may use, beyond the reserve of its system."""
    if machine.os in _PHONES:
        return int(_SPARE_SMALL)
    part = (machine.limits.memory_bytes - _SMALL) / (_LARGE - _SMALL)
    return int(_SPARE_SMALL + (_SPARE - _SPARE_SMALL) * min(max(part, 0.0), 1.0))
