"""What a data sheet says of a device, whoever has one."""

from __future__ import annotations

from typing import Literal

from phibench.core.nouns.base import AtLeastOne, Count, Noun, Rate

HardwareKind = Literal[
    "gpu-desktop", "gpu-laptop", "gpu-workstation", "gpu-datacenter", "igpu", "soc", "phone", "sbc", "npu", "cpu"
]


class Hardware(Noun, frozen=True, kw_only=True):
    """One row of the table of devices. What its sources do not say is None, "" or empty, never zero.

    Of a ``soc``, ``phone`` or ``sbc`` the rates are its GPU's (``gpu_computes``), and the cores stand beside them; a
    ``cpu`` names its own GPU in ``graphics``, which is a row of its own (``igpu``). ``memory_bytes``: of a card its
    own; where memory is shared, the most that the device is sold with.
    """

    name: str
    kind: HardwareKind
    vendor: str
    architecture: str = ""  # of GPUs the maker's; of processors archspec's, whose instruction sets they have
    memory_bytes: Count | None = None
    read_bytes_s: Rate | None = None
    fp16_flops_s: Rate | None = None  # dense, sums in fp32; fp32's where fp16 is slower or not there
    int8_ops_s: Rate | None = None  # dense
    tdp_w: float | None = None
    performance_cores: Count | None = None
    efficiency_cores: Count | None = None
    threads: AtLeastOne | None = None
    base_hz: Rate | None = None
    boost_hz: Rate | None = None
    instruction_sets: tuple[str, ...] = ()  # Linux's names
    memory_channels: AtLeastOne | None = None
    memory_transfers_s: Rate | None = None  # of a channel of 8 bytes
    l3_bytes: Count | None = None
    npu: str = ""
    npu_ops_s: Rate | None = None
    graphics: str = ""
    also: tuple[str, ...] = ()  # other names of it
    source: str
    told_bytes: Count | None = None  # no column: the memory of one machine, as the name told it that was looked up

    @property
    def shares_memory(self) -> bool:
        """Its memory is the machine's."""
        return self.kind in ("igpu", "soc", "phone", "sbc", "npu")

    @property
    def gpu_computes(self) -> bool:
        """Whose rates these are: on boards of other makers than these the processor's."""
        return self.kind not in ("cpu", "npu") and self.vendor in ("NVIDIA", "AMD", "Intel", "Apple", "Qualcomm")

    @property
    def cores(self) -> int | None:
        if self.performance_cores is None:
            return None
        return (self.performance_cores + (self.efficiency_cores or 0)) or None
