"""The figures of a machine that take time to find out, and what the cache remembers of them.

A figure that is doubted is measured again by the next command that needs it, once the machine looks quiet: a look of
0.3 s, and the measuring takes as long as the first time. Where it stays busy, it is tried every ten minutes all the
same. The best that was seen stays; a doubt goes with the first measurement that nothing disturbed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from phibench import probe
from phibench.core import files, folders
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Device, Machine, Noun, Storage
from phibench.probe import busy
from phibench.probe.speed import disk, gpu
from phibench.probe.speed.matrix import Matrix
from phibench.probe.speed.matrix import rates as matrix_rates
from phibench.probe.speed.memory import Bandwidth

_BANDWIDTH_S = 3.0
_RETRY_S = 600  # where the machine does not look quiet
METHOD = 4  # of measuring: figures of another one are not compared with

OnProgress = Callable[[str], None]


class Slow(Noun, frozen=True, kw_only=True):
    """What takes time to find out about one machine; ``at``: when something was last measured, s since 1970."""

    method: int = 1
    at: float = 0.0
    bandwidth: Bandwidth | None = None
    matrix: Matrix = Matrix()
    storage: Storage | None = None
    gpus: dict[str, Device] = msgspec.field(default_factory=dict)

    @property
    def doubted(self) -> bool:
        doubts = [self.matrix.doubt, *(device.doubt for device in self.gpus.values())]
        return any(doubts) or bool(self.bandwidth and self.bandwidth.doubt)


class Wanted(Noun, frozen=True, kw_only=True):
    """What a command needs; ``anew`` measures even what is known, ``again`` only what is doubted."""

    bandwidth: bool = True
    matrix: bool = False
    disk: bool = False
    gpus: bool = False
    anew: bool = False
    again: bool = False


def measured(machine: Machine, old: Slow, wanted: Wanted, on_progress: OnProgress) -> Slow:
    """What is known, with what is missing, doubted or asked for anew; what cannot be measured is tried next time."""
    again = old.doubted and not wanted.anew and wanted.bandwidth and _worth_trying(old.at)
    wanted = msgspec.structs.replace(wanted, again=again)
    slow = old
    if wanted.bandwidth:
        slow = _with_bandwidth(machine, slow, wanted, on_progress)
    if wanted.matrix or (again and old.matrix.doubt):
        slow = msgspec.structs.replace(slow, matrix=_matrix(machine, slow.matrix, wanted, on_progress))
    if wanted.disk:
        slow = msgspec.structs.replace(slow, storage=_storage(slow.storage, wanted.anew, on_progress))
    if wanted.gpus or again:
        slow = msgspec.structs.replace(slow, gpus=_gpus(machine, slow.gpus, wanted, on_progress))
    return msgspec.structs.replace(slow, at=time.time()) if slow != old or again else slow


def _worth_trying(at: float) -> bool:
    return time.time() - at > _RETRY_S or busy.look().quiet is True


def _with_bandwidth(machine: Machine, old: Slow, wanted: Wanted, on_progress: OnProgress) -> Slow:
    known = old.bandwidth
    if known and not wanted.anew and not (wanted.again and known.doubt):
        return old
    on_progress("memory bandwidth")
    found = probe.bandwidth(machine, _BANDWIDTH_S)
    if found.read_bytes_s is None and known:
        return old
    return msgspec.structs.replace(old, bandwidth=_faster(known, found) if known and not wanted.anew else found)


def _faster(known: Bandwidth, found: Bandwidth) -> Bandwidth:
    """A peak is the most that was ever seen: disturbances only make memory look slower."""
    best = max(known, found, key=lambda one: one.read_bytes_s or 0.0)
    if best.doubt and not found.doubt:  # what was seen then was no less than all that there is
        return msgspec.structs.replace(best, because=found.because, doubt="", most_read_bytes_s=None)
    return best


def _matrix(machine: Machine, known: Matrix, wanted: Wanted, on_progress: OnProgress) -> Matrix:
    """Where torch has come since, its bfloat16 is missing."""
    whole = "bfloat16" in known.flops_s or importlib.util.find_spec("torch") is None
    if known.flops_s and whole and not wanted.anew and not (wanted.again and known.doubt):
        return known
    on_progress("matrix rate")
    found = matrix_rates(machine.limits.threads, machine.limits.cpus)
    if not found.flops_s:
        return known
    best = known.flops_s if known.doubt and not wanted.anew else {}
    rates = {kind: max(rate, best.get(kind, 0.0)) for kind, rate in found.flops_s.items()}
    return msgspec.structs.replace(found, flops_s={**known.flops_s, **rates})


def _storage(known: Storage | None, anew: bool, on_progress: OnProgress) -> Storage:
    if known is None or known.read_bytes_s is None or anew:
        on_progress("disk")
        return disk.storage(folders.cache_dir())
    return known


def _gpus(machine: Machine, known: dict[str, Device], wanted: Wanted, on_progress: OnProgress) -> dict[str, Device]:
    """All where they are wanted, else only the doubted."""
    found = dict(known)
    for device in machine.devices:
        old = known.get(device.kind)
        if device.kind.partition(":")[0] in ("cpu", "npu"):
            continue
        if (wanted.gpus and (wanted.anew or old is None)) or (wanted.again and old is not None and old.doubt):
            on_progress(device.name)
            found[device.kind] = gpu.measured(device)
    return {kind: device for kind, device in found.items() if device.basis == "probed"}


def filled(machine: Machine, slow: Slow) -> Machine:
    """The machine as it is now, with the slow figures in their places."""
    if slow.bandwidth:
        machine = probe.with_bandwidth(machine, slow.bandwidth)
    first, *others = machine.devices
    devices = [_multiplying(first, slow.matrix)]
    for device in others:
        known = slow.gpus.get(device.kind)
        devices.append(_probed(device, known) if known and known.name == device.name else device)
    free = disk.free_bytes(folders.cache_dir())
    storage = msgspec.structs.replace(slow.storage or Storage(because="not measured"), free_bytes=free)
    return msgspec.structs.replace(machine, devices=tuple(devices), storage=storage)


def _multiplying(device: Device, known: Matrix) -> Device:
    most = {kind: max(rate, known.flops_s.get(kind, 0.0)) for kind, rate in known.most_flops_s.items()}
    return msgspec.structs.replace(
        device, matrix_flops_s=known.flops_s, matrix_doubt=known.doubt, most_matrix_flops_s=most
    )


def _probed(device: Device, known: Device) -> Device:
    return msgspec.structs.replace(
        device, read_bytes_s=known.read_bytes_s, copy_bytes_s=known.copy_bytes_s, basis="probed",
        because=known.because, doubt=known.doubt, matrix_flops_s=known.matrix_flops_s,
        most_read_bytes_s=known.most_read_bytes_s, matrix_doubt=known.matrix_doubt,
        most_matrix_flops_s=known.most_matrix_flops_s,
    )  # fmt: skip


# -------------------------------------------------------------------------------------------- the cache


def read() -> dict[str, Slow]:
    """By the machine's identity; a damaged file knows nothing."""
    try:
        known = msgspec.json.decode(_path().read_bytes(), type=dict[str, Slow])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return {key: old for key, old in known.items() if old.method == METHOD and _is_sane(old)}


def _is_sane(slow: Slow) -> bool:
    return slow.bandwidth is None or 0 < (slow.bandwidth.read_bytes_s or 0) < math.inf


def write(known: dict[str, Slow]) -> None:
    """A read-only home is no reason to stop: the next command measures again. A failure is not remembered."""
    kept = {
        key: msgspec.structs.replace(slow, bandwidth=None)
        if slow.bandwidth is not None and slow.bandwidth.read_bytes_s is None
        else slow
        for key, slow in known.items()
    }
    with contextlib.suppress(PhibenchError):
        files.write_json(_path(), kept)


def _path() -> Path:
    return folders.cache_dir() / "machine.json"
