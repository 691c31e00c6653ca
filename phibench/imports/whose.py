"""Whose figures a test has: a described machine's, this one's, or those of a machine that is not here."""

from __future__ import annotations

from collections.abc import Iterator

from phibench.core.nouns import Device, Machine
from phibench.imports import names
from phibench.imports.translate import Test

_HOW = "describe that machine with --machine FILE; on it, 'phibench probe --save FILE' writes one"


def elsewhere(test: Test, machine: Machine, described: bool) -> str | None:
    """Why a test is not this machine's: a described one is taken as it is, this one only by its devices' names."""
    if described:
        return None
    if not test.processor:
        return f"it does not say which machine it was measured on; {_HOW}"
    if missing := next(_missing(test, machine), None):
        return f"it was measured on {missing[0]}, which is not here; {_HOW}"
    return None


def taken_for(test: Test, machine: Machine, described: bool, name: str) -> Iterator[str]:
    """What was concluded from names, or is assumed against them."""
    if not described:
        yield f"taken for this machine: {name} names its {test.processor}"
    for missing, is_gpu in _missing(test, machine):
        if there := [device.name for device in machine.devices if _is_gpu(device) == is_gpu]:
            yield f"{name} was measured on {missing}, --machine describes {there[0]}: taken for the same"
    for gpu in test.gpus:
        here = next((device for device in machine.devices if _is_gpu(device) and names.same_gpu(gpu, device)), None)
        if here and not (names.gpu(gpu).model and names.gpu(here.name).model):
            yield f"{gpu} is taken for {here.name}: one of the two names no model"


def _missing(test: Test, machine: Machine) -> Iterator[tuple[str, bool]]:
    """The devices of a test that the machine has not, as the test names them, and whether each is a GPU."""
    cpu = machine.device("cpu")
    if cpu and test.processor and not names.same_processor(test.processor, cpu.name):
        yield test.processor, False
    for gpu in test.gpus:
        if not any(names.same_gpu(gpu, device) for device in machine.devices if _is_gpu(device)):
            yield gpu, True


def _is_gpu(device: Device) -> bool:
    return device.kind.partition(":")[0] not in ("cpu", "npu")
