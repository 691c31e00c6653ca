"""What is here: the machine with its slow figures remembered, the backends that are installed, the software."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from phibench import backends, probe
from phibench.analysis import trust
from phibench.core import files, folders
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Device, Machine, Noun, Rate, SelfTest, Storage
from phibench.machine import data_sheet, engines
from phibench.probe.speed import disk, gpu
from phibench.probe.speed.matrix import rates as matrix_rates
from phibench.probe.speed.memory import Bandwidth
from phibench.probe.system import cpu

_BANDWIDTH_S = 3.0
_RETRY_S = 600  # a bandwidth that other programs disturbed is measured again, but not for every command
_METHOD = 3  # of measuring: figures of another one are not compared with

OnProgress = Callable[[str], None]


class _Slow(Noun, frozen=True, kw_only=True):
    """What takes time to find out about one machine; ``at``: when its bandwidth was measured, s since 1970."""

    method: int = 1
    at: float = 0.0
    bandwidth: Bandwidth | None = None
    matrix: dict[str, Rate] = msgspec.field(default_factory=dict)
    storage: Storage | None = None
    gpus: dict[str, Device] = msgspec.field(default_factory=dict)


# ------------------------------------------------------------------------------------------------ machine


def this_machine(
    *, bandwidth: bool = True, full: bool = False, disk_too: bool = False, matrix_too: bool = False,
    remeasure: bool = False, on_progress: OnProgress = lambda _: None,
) -> Machine:  # fmt: skip
    """This machine; limits, free memory and settings are read now, slow figures come from the cache where it has them.

    ``bandwidth=False`` measures no bandwidth. ``full`` asks the installed backends too and measures the rest: matrix
    rate, disk, GPUs; ``disk_too`` and ``matrix_too`` measure one of them without that. ``remeasure`` measures even what
    the cache has. ``on_progress`` hears what is being measured. A damaged or unwritable cache only costs time.
    """
    installed, providers = engines.ask() if full else ((), ())
    quick = msgspec.structs.replace(probe.machine(bandwidth_s=None, providers=providers), backends=installed)
    path = folders.cache_dir() / "machine.json"
    known = _read(path)
    old = known.get(quick.identity, _Slow(method=_METHOD))
    slow = _with_bandwidth(quick, old, remeasure, on_progress) if bandwidth else old
    if full and bandwidth:
        slow = _with_rates(quick, slow, remeasure, on_progress)
    if disk_too and not full:
        slow = msgspec.structs.replace(slow, storage=_storage(slow.storage, remeasure, on_progress))
    if matrix_too and not full:
        slow = msgspec.structs.replace(slow, matrix=_matrix(quick, slow.matrix, remeasure, on_progress))
    if slow != old:
        measured = slow.bandwidth is not None and slow.bandwidth.read_bytes_s is not None
        _write(path, {**known, quick.identity: slow if measured else msgspec.structs.replace(slow, bandwidth=None)})
    here = data_sheet.filled(_filled(quick, slow))
    return msgspec.structs.replace(here, selftests=selftests(quick.devices))


def _with_bandwidth(machine: Machine, old: _Slow, remeasure: bool, on_progress: OnProgress) -> _Slow:
    known = old.bandwidth
    if known and not remeasure and not (known.disturbed and time.time() - old.at > _RETRY_S):
        return old
    on_progress("memory bandwidth")
    found = probe.bandwidth(machine, _BANDWIDTH_S)
    if found.read_bytes_s is None and known:
        return old
    best = _faster(known, found) if known and not remeasure else found
    return msgspec.structs.replace(old, at=time.time(), bandwidth=best)


def _with_rates(machine: Machine, old: _Slow, remeasure: bool, on_progress: OnProgress) -> _Slow:
    """Only what is missing; what cannot be measured is tried again the next time."""
    gpus, matrix = old.gpus, _matrix(machine, old.matrix, remeasure, on_progress)
    storage = _storage(old.storage, remeasure, on_progress)
    others = [d for d in machine.devices if d.kind.partition(":")[0] not in ("cpu", "npu")]
    for device in (d for d in others if remeasure or d.kind not in gpus):
        on_progress(device.name)
        gpus = {**gpus, device.kind: gpu.measured(device)}
    gpus = {kind: device for kind, device in gpus.items() if device.basis == "probed"}
    return msgspec.structs.replace(old, matrix=matrix, storage=storage, gpus=gpus)


def _matrix(machine: Machine, known: dict[str, Rate], remeasure: bool, on_progress: OnProgress) -> dict[str, Rate]:
    """Where torch has come since, its bfloat16 is missing."""
    if known and not remeasure and ("bfloat16" in known or importlib.util.find_spec("torch") is None):
        return known
    on_progress("matrix rate")
    found = matrix_rates(machine.limits.threads)
    return known if isinstance(found, str) else {**known, **found}


def _storage(known: Storage | None, remeasure: bool, on_progress: OnProgress) -> Storage:
    if known is None or known.read_bytes_s is None or remeasure:
        on_progress("disk")
        return disk.storage(folders.cache_dir())
    return known


def _filled(machine: Machine, slow: _Slow) -> Machine:
    """The machine as it is now, with the slow figures in their places."""
    if slow.bandwidth:
        machine = probe.with_bandwidth(machine, slow.bandwidth)
    first, *others = machine.devices
    devices = [msgspec.structs.replace(first, matrix_flops_s=slow.matrix)]
    for device in others:
        known = slow.gpus.get(device.kind)
        devices.append(_measured(device, known) if known and known.name == device.name else device)
    free = disk.free_bytes(folders.cache_dir())
    storage = msgspec.structs.replace(slow.storage or Storage(because="not measured"), free_bytes=free)
    return msgspec.structs.replace(machine, devices=tuple(devices), storage=storage)


def _measured(device: Device, known: Device) -> Device:
    return msgspec.structs.replace(
        device, read_bytes_s=known.read_bytes_s, copy_bytes_s=known.copy_bytes_s, basis="probed",
        because=known.because, doubt=known.doubt, matrix_flops_s=known.matrix_flops_s,
    )  # fmt: skip


def _faster(one: Bandwidth, other: Bandwidth) -> Bandwidth:
    """A peak is the most that was ever seen: disturbances only make memory look slower."""
    return max(one, other, key=lambda found: found.read_bytes_s or 0.0)


def _read(path: Path) -> dict[str, _Slow]:
    try:
        known = msgspec.json.decode(path.read_bytes(), type=dict[str, _Slow])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return {key: old for key, old in known.items() if old.method == _METHOD and _is_sane(old)}


def _is_sane(slow: _Slow) -> bool:
    return slow.bandwidth is None or 0 < (slow.bandwidth.read_bytes_s or 0) < math.inf


def _write(path: Path, known: dict[str, _Slow]) -> None:
    try:
        files.write_json(path, known)
    except PhibenchError:
        return  # a read-only home is no reason to stop: the next command measures again


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


# ----------------------------------------------------------------------------------------------- software
