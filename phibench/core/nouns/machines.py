"""Machines, probed or described: what they have, what a process may use, what is installed."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from phibench.core.nouns.base import AtLeastOne, Count, DeviceKind, Kind, Noun, Rate
from phibench.core.nouns.instructions import had


class Problem(Noun, frozen=True, kw_only=True):
    """What keeps a device or an engine from being used, or from being used as a whole; the notes tell it, too.

    Of a device, ``unusable``: listed only; ``divided``: others have slices of it. Of an engine, ``broken``: it does
    not start; ``installed_twice``: packages have overwritten each other.
    """

    kind: Literal["unusable", "divided", "broken", "installed_twice"]
    evidence: str
    remedy: str


class Finding(Noun, frozen=True, kw_only=True):
    """``wrong``: something does not work; ``slow``: it costs speed; ``note``: good to know when reading figures."""

    severity: Literal["wrong", "slow", "note"]
    title: str
    evidence: str
    remedy: str


class Device(Noun, frozen=True, kw_only=True):
    """One thing that can run a model. ``kind`` is the device text of a setup: ``cpu``, ``cuda:0``, ``npu``, ...

    Measured and data sheet stand apart: ``read_bytes_s`` with its ``basis`` is what predictions use,
    ``spec_read_bytes_s`` what clocks and bus width promise; ``matrix_flops_s`` is measured, by data type,
    ``flops_s`` is the data sheet's. Where what was measured is doubted, what it would be undisturbed lies between it
    and ``most_...``.
    """

    kind: DeviceKind
    name: str
    memory_bytes: Count | None = None
    free_bytes: Count | None = None  # of an accelerator; what the cpu has free is in Limits
    shares_memory: bool = False  # integrated: its memory is a part of the machine's, never added to it
    read_bytes_s: Rate | None = None
    flops_s: Rate | None = None
    basis: Literal["probed", "spec"] | None = None  # where read_bytes_s comes from
    because: str = ""  # how read_bytes_s was found, or why it is unknown, in words
    doubt: str = ""  # what speaks against read_bytes_s; a part of because, too
    most_read_bytes_s: Rate | None = None
    copy_bytes_s: Rate | None = None  # bytes read and bytes written, together
    spec_read_bytes_s: Rate | None = None
    matrix_flops_s: dict[str, Rate] = {}
    matrix_doubt: str = ""  # what speaks against matrix_flops_s
    most_matrix_flops_s: dict[str, Rate] = {}
    driver: str = ""
    power_limit_w: Rate | None = None  # what it may draw, by its driver or its data sheet
    energy_method: Literal["counter", "power"] | None = None  # how NVML tells its energy; a counter is preferred
    facts: dict[str, str] = {}  # what the driver says of it, as text: clocks, power limit, throttle reasons, ...
    notes: tuple[str, ...] = ()  # what a person should know before using it
    problems: tuple[Problem, ...] = ()


class Cache(Noun, frozen=True, kw_only=True):
    """``count`` equal caches of a level, each counted once however many cpus share it."""

    level: AtLeastOne
    kind: Literal["data", "instruction", "unified"] = "unified"
    bytes: Count  # of one of them
    count: AtLeastOne = 1


class Node(Noun, frozen=True, kw_only=True):
    """A NUMA node: memory, and the cpus that are near it."""

    numbers: tuple[Count, ...]  # several where the system makes many nodes of one place
    cpus: Count = 0
    memory_bytes: Count | None = None
    socket: Count | None = None  # of its cpus
    runs: bool = True  # this process may use its cpus
    holds: bool = True  # and its memory


class Processor(Noun, frozen=True, kw_only=True):
    """What the cpu of a machine is made of and how it is set; None and empty where the system does not say."""

    vendor: str = ""
    sockets: AtLeastOne | None = None
    performance_cores: AtLeastOne | None = None  # physical; with efficiency_cores: all
    efficiency_cores: Count | None = None
    instruction_sets: tuple[str, ...] = ()  # Linux's names, whatever the system
    caches: tuple[Cache, ...] = ()
    numa_nodes: AtLeastOne | None = None  # that have cpus
    nodes: tuple[Node, ...] = ()  # where there are several, with those that are memory alone
    governor: str | None = None
    energy_preference: str | None = None
    platform_profile: str | None = None
    turbo: bool | None = None
    max_hz: Rate | None = None
    huge_pages: str | None = None  # transparent huge pages: always, madvise, never
    hypervisor: str | None = None  # KVM, WSL2, ...
    container: str | None = None  # docker, podman, ...
    emulated: str | None = None  # "x86_64 Python on an arm64 machine"

    @property
    def last_level_bytes(self) -> int | None:
        """All caches of the last level; None where the system tells of none beyond each core's first."""
        last = max((cache.level for cache in self.caches), default=0)
        return sum(c.bytes * c.count for c in self.caches if c.level == last) if last >= 2 else None

    @property
    def is_wsl(self) -> bool:
        """Linux under Windows, either version."""
        return self.hypervisor in ("WSL1", "WSL2")

    @property
    def for_prefill(self) -> tuple[str, ...]:
        """Names of the instruction sets that decide how fast a prompt is read: ``AVX2``, ``AMX int8``, ``i8mm``."""
        return tuple(one.name for one in had(self.instruction_sets))


class Storage(Noun, frozen=True, kw_only=True):
    """The disk under the cache folder."""

    free_bytes: Count | None = None
    read_bytes_s: Rate | None = None
    because: str = ""  # how it was measured, or why not


class Source(Noun, frozen=True, kw_only=True):
    """One place where energy or power can be read; ``readable`` now, by this process."""

    name: str
    scope: Literal["cpu_package", "cpu_core", "dram", "gpu_board", "gpu_die", "soc", "system_dc", "system_ac"]
    method: Literal["counter", "power"]
    readable: bool
    because: str = ""  # why it cannot be read and the one line that changes that, and what it overlaps
    grant: str = ""  # that line
    overlaps: str = ""  # of which other source it is a part or a copy, so that nobody adds them up


class Installed(Noun, frozen=True, kw_only=True):
    """A backend as it is installed here; ``version`` None: it is not, and ``install`` is the line that does it."""

    backend: str
    package: str
    version: str | None = None
    devices: tuple[str, ...] = ()  # kinds that this build can use
    features: tuple[str, ...] = ()  # what the build was made with: instruction sets, providers
    install: str = ""
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


class SelfTest(Noun, frozen=True, kw_only=True):
    """What one build of an engine did with a tiny model on this processor, before it was trusted with a real one.

    ``options``: those without which it fails here, none where the usual ones are well. ``usable`` False: no set of
    options passed. ``reason``: how it failed with the usual options, "" where it did not; ``kind``: how its process
    died then, None where the engine itself said no. ``untested``: why nothing can be said; it is used as it is.
    """

    backend: str
    device: str
    build: str  # version and a digest of its libraries
    processor: str  # name and instruction sets; of a GPU its name and driver, too
    usable: bool
    options: dict[str, str] = {}
    kind: Kind | None = None
    reason: str = ""
    untested: str = ""
    placement: str = ""  # where the weights were, as the engine names it
    kl_max: Annotated[float, msgspec.Meta(ge=0)] | None = None  # nat: farthest from the right answer
    seconds: float = 0.0  # of the attempt that passed, without starting the process and importing the engine
    import_s: float = 0.0
    at: str = ""
    test: int = 0  # version of the test that this was found with


class Held(Noun, frozen=True, kw_only=True):
    """Memory that no program holds, so that ending programs does not free it; ``free_bytes`` of it count as free."""

    kind: Literal["zfs_cache", "huge_pages", "files_in_memory", "balloon"]
    bytes: Count
    free_bytes: Count = 0


class Limits(Noun, frozen=True, kw_only=True):
    """What this process may really use: machine, affinity and cgroup (own and all ancestors) together."""

    cpus: Annotated[float, msgspec.Meta(gt=0, le=1e6)]
    threads: AtLeastOne
    memory_bytes: Count
    free_bytes: Count
    held: tuple[Held, ...] = ()
    swap_bytes: Count | None = None  # a model that swaps says nothing, so no decision counts on it
    notes: tuple[str, ...] = ()
    restrictions: tuple[str, ...] = ()  # of the notes those that say what is kept from this process


class Machine(Noun, frozen=True, kw_only=True):
    """A machine, probed or described in a file."""

    name: str
    os: str
    arch: str
    physical_cores: AtLeastOne
    logical_cores: AtLeastOne
    memory_bytes: Count
    devices: tuple[Device, ...]
    limits: Limits
    processor: Processor | None = None
    storage: Storage | None = None
    power: Literal["mains", "battery"] | None = None
    energy: tuple[Source, ...] = ()
    backends: tuple[Installed, ...] = ()
    selftests: tuple[SelfTest, ...] = ()

    @property
    def identity(self) -> str:
        """What makes two results comparable; never a measured field, a host name or a kernel version."""
        devices = ",".join(f"{d.kind}={d.name}" for d in self.devices)
        gib = 1 << 30
        return "|".join(
            (
                self.os,
                self.arch,
                devices,
                f"{self.physical_cores}/{self.logical_cores} cores",
                f"{round(self.memory_bytes / gib)} GiB",
                f"{self.limits.cpus:g} cpus",
                f"{round(self.limits.memory_bytes / gib)} GiB usable",
            )
        )

    @property
    def slug(self) -> str:
        """Folder name under results/: hardware words and a short hash of the identity."""
        import hashlib  # loads OpenSSL

        digest = hashlib.sha256(self.identity.encode()).hexdigest()[:6]
        first = self.devices[0].name if self.devices else self.arch
        words = re.sub(r"[^a-z0-9]+", "-", first.lower()).strip("-")[:40].strip("-")
        gib = round(self.memory_bytes / (1 << 30))
        return f"{words or self.arch}-{self.limits.cpus:g}cpu-{gib}gib-{digest}"

    def device(self, kind: str) -> Device | None:
        return next((d for d in self.devices if d.kind == kind), None)
