"""What is here: the machine with its slow figures remembered, the backends that are installed, the software."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

import msgspec

from phibench import backends, probe
from phibench.analysis import trust
from phibench.core import files, folders
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Device, Machine, SelfTest
from phibench.machine import data_sheet, engines, figures
from phibench.probe.system import cpu

# ------------------------------------------------------------------------------------------------ machine


def this_machine(
    *, bandwidth: bool = True, full: bool = False, disk_too: bool = False, matrix_too: bool = False,
    remeasure: bool = False, on_progress: figures.OnProgress = lambda _: None,
) -> Machine:  # fmt: skip
    """This machine; limits, free memory and settings are read now, slow figures come from the cache where it has them.

    ``bandwidth=False`` measures no bandwidth. ``full`` asks the installed backends too and measures the rest: matrix
    rate, disk, GPUs; ``disk_too`` and ``matrix_too`` measure one of them without that. ``remeasure`` measures even what
    the cache has; without it what is doubted is measured again where the machine is quiet now. ``on_progress`` hears
    what is being measured. A damaged or unwritable cache only costs time.
    """
    installed, providers = engines.ask() if full else ((), ())
    quick = msgspec.structs.replace(probe.machine(bandwidth_s=None, providers=providers), backends=installed)
    known = figures.read()
    old = known.get(quick.identity, figures.Slow(method=figures.METHOD))
    everything = full and bandwidth
    wanted = figures.Wanted(
        bandwidth=bandwidth, matrix=everything or (matrix_too and not full), disk=everything or (disk_too and not full),
        gpus=everything, anew=remeasure,
    )  # fmt: skip
    slow = figures.measured(quick, old, wanted, on_progress)
    if slow != old:
        figures.write({**known, quick.identity: slow})
    here = data_sheet.filled(figures.filled(quick, slow))
    return msgspec.structs.replace(here, selftests=selftests(quick.devices))


# ---------------------------------------------------------------------------------------------- self-tests

_MOST_SELFTESTS = 64  # of builds that are gone, too


def processor(device: str = "cpu", devices: Iterable[Device] = ()) -> str:
    """What decides which kernels an engine takes: name and instruction sets; of a GPU, name and driver of all, too."""
    gpus = [f"; {one.name}, {one.driver}" for one in devices if one.kind.partition(":")[0] not in ("cpu", "npu")]
    return f"{cpu.name()}; {cpu.flags()}{''.join(gpus) if device != 'cpu' else ''}"


def selftests(devices: Sequence[Device] = ()) -> tuple[SelfTest, ...]:
    """What is remembered of the engines as they are installed here now, on these devices, by the test as it is now."""
    known = _remembered()
    if not known:
        return ()
    here = {device: processor(device, devices) for device in {one.device for one in known}}
    builds = {name: backends.build(backends.load(name)) for name in {one.backend for one in known}}
    return tuple(one for one in known if one.processor == here[one.device] and one.build == builds[one.backend])


def remember(found: SelfTest) -> SelfTest:
    """As it is remembered; a read-only cache only costs time: the next command tests again."""
    found = msgspec.structs.replace(found, test=trust.VERSION)
    same = (found.backend, found.device, found.build, found.processor)
    others = [one for one in _remembered() if (one.backend, one.device, one.build, one.processor) != same]
    with contextlib.suppress(PhibenchError):
        files.write_json(folders.cache_dir() / "selftests.json", [*others, found][-_MOST_SELFTESTS:])
    return found


def _remembered() -> list[SelfTest]:
    try:
        found = msgspec.json.decode((folders.cache_dir() / "selftests.json").read_bytes(), type=list[SelfTest])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    return [one for one in found if one.test == trust.VERSION and one.backend in backends.names() and _is_safe(one)]


def _is_safe(one: SelfTest) -> bool:
    """Its options are those that the backend names now."""
    return one.options in ({}, *backends.load(one.backend).SAFE)
