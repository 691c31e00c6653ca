"""Energy: scripted counters, recorded trees, and joules of a token. No counter of this machine is read."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import psutil
import pytest
import trees_power as trees
from fakes import SETUP, machine, records
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import plant
from trees_machine import APU, IRIS, RADEON

from phibench.analysis import energy as joules
from phibench.analysis import energy_notes
from phibench.backends import null
from phibench.core.errors import NotMeasurableError, PhibenchError
from phibench.core.nouns import (
    Artifact,
    Device,
    Energy,
    Engine,
    Event,
    Job,
    Measured,
    Run,
    Sample,
    Suite,
    Warmup,
    Window,
    Workload,
)
from phibench.measure import suites, timing, worker
from phibench.meters import counters, energy
from phibench.meters.contract import Meters
from phibench.meters.counters import Counter, Reading
from phibench.meters.sources import battery, hwmon, ioreport, nvml, rapl
from phibench.meters.sources import emi as emi_meter
from phibench.probe.energy import emi, perf
from phibench.probe.energy import sources as power
from phibench.probe.energy.access import Access
from phibench.probe.energy.place import one_place

RANGE = 1_000_000  # counts
ZONE = "sys/class/powercap/intel-rapl:0"


@pytest.fixture(autouse=True)
def every_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


class Clock:
    """Time that passes only when somebody looks, ``step`` seconds a look."""

    def __init__(self, step: float = 1.0) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def scripted(*script: float | Exception, **changes: Any) -> Counter:
    """A counter that shows one value after the other, and the last one for ever."""
    values = list(script)

    def read() -> float:
        value = values.pop(0) if len(values) > 1 else values[0]
        if isinstance(value, Exception):
            raise value
        return value

    known = {"name": "RAPL package-0", "scope": "cpu_package", "method": "counter", "read": read}
    return Counter(**{**known, **changes})


def read_out(counter: Counter, looks: int, step: float = 1.0) -> Energy:
    """A window with so many readings between its first and its last."""
    reading = Reading(counter, Clock(step))
    for _ in range(looks):
        reading.look()
    return reading.end()


# ----------------------------------------------------------------------------------------- counters and power


@settings(deadline=None)  # the machine may be busy
@given(
    start=st.integers(0, RANGE - 1),
    steps=st.lists(st.integers(0, RANGE - 1), min_size=1, max_size=40).filter(lambda s: sum(s[-3:]) > 0),
)
def test_joules_are_the_true_sum_however_often_the_counter_wraps(start: int, steps: list[int]) -> None:
    true = [start]
    for step in steps:
        true.append(true[-1] + step)
    counter = scripted(*(count % RANGE for count in true), joules=1e-3, wraps_at=RANGE)
    reading = Reading(counter, Clock())
    for _ in steps[1:]:
        reading.look()
    found = reading.end()
    if found.joules is None:  # no step for as long as a counter may stand
        assert "stood still" in found.note
    else:
        assert found.joules == pytest.approx(sum(steps) * 1e-3)
        assert found.wraps == sum(b % RANGE < a % RANGE for a, b in itertools.pairwise(true))
    assert (found.reads, found.seconds) == (len(steps) + 1, len(steps))


def test_a_counter_that_stands_still_under_load_tells_nothing() -> None:
    found = read_out(scripted(500.0), looks=5)
    assert found.joules is None
    assert "stood still for 6 s" in found.note


def test_a_counter_that_stops_midway_tells_nothing() -> None:
    found = read_out(scripted(0, 10, 20, 30, 30), looks=8)
    assert found.joules is None
    assert "stood still" in found.note


def test_a_slow_counter_may_stand_between_two_ticks() -> None:
    found = read_out(scripted(0, 0, 50, 50, 100, 100, tick_s=0.1), looks=4, step=0.05)
    assert found.joules == 100
    assert "shorter than the 10 s" in found.note


def test_a_permission_lost_midway_is_said_and_nothing_is_told_of_the_window() -> None:
    reading = Reading(scripted(0, 5, PermissionError(13, "Permission denied"), 20, 30), Clock())
    for _ in range(3):
        reading.look()
    found = reading.end()
    assert found.joules is None
    assert found.note.startswith("could not be read any more: Permission denied")
    reading.begin()
    assert reading.end().joules == 10  # the next window has its own chance


def test_a_counter_that_is_forbidden_from_the_start_tells_nothing() -> None:
    found = read_out(scripted(PermissionError(13, "Permission denied")), looks=2)
    assert (found.joules, found.reads) == (None, 0)


def test_a_counter_that_goes_backwards_without_a_range_is_rejected() -> None:
    found = read_out(scripted(100, 200, 150, 300), looks=2)
    assert (found.joules, found.wraps) == (None, 0)
    assert found.note.startswith("went backwards")


def test_a_counter_that_begins_anew_is_no_wrap() -> None:
    """As after a driver was reloaded: taken for a wrap, 250 kJ would pass in a second."""
    found = read_out(scripted(11_000e6, 11_030e6, 5e6, joules=1e-6, wraps_at=trees.RANGE_UJ), looks=1)
    assert found.joules is None
    assert "went backwards" in found.note


def test_power_beyond_the_limit_is_no_measurement() -> None:
    assert read_out(scripted(0, 140, 280, most_w=100.0), looks=1).joules == 280
    found = read_out(scripted(0, 160, 320, most_w=100.0), looks=1)
    assert found.joules is None
    assert "reported 160 W, more than 1.5 times its limit" in found.note


@pytest.mark.parametrize("watts", [[10.0] * 5, [10.0, 20.0, 30.0, 40.0], [0.0, 100.0, 0.0]])
def test_power_is_integrated_over_real_times(watts: list[float]) -> None:
    found = read_out(scripted(*watts, method="integrated_power"), looks=len(watts) - 2, step=2.0)
    assert found.joules == pytest.approx(2.0 * (sum(watts) - (watts[0] + watts[-1]) / 2))


def test_power_that_nobody_saw_for_long_is_not_made_up() -> None:
    power = {"method": "integrated_power", "every_s": 0.1}
    assert read_out(scripted(5.0, **power), looks=1, step=0.9).joules == pytest.approx(9.0)
    found = read_out(scripted(5.0, **power), looks=1, step=1.1)
    assert (found.joules, found.note.partition(";")[0]) == (None, "was not read for 1.1 s")


def test_a_counter_may_be_unseen_for_as_long_as_it_cannot_wrap() -> None:
    """50 W and no more: it would take 20 s to wrap."""
    known = {"joules": 1e-3, "wraps_at": RANGE, "most_w": 50.0 / 1.5}
    assert read_out(scripted(0, 1000, 2000, **known), looks=1, step=19.0).joules == 2.0
    assert "was not read for 21 s" in read_out(scripted(0, 1000, 2000, **known), looks=1, step=21.0).note
    assert read_out(scripted(0, 1000, 2000, joules=1e-3), looks=1, step=1000.0).joules == 2.0  # it never wraps


def test_whatever_a_library_raises_loses_the_window_alone() -> None:
    reading = Reading(scripted(0, 5, ZeroDivisionError("of the driver's"), 20, 30), Clock())
    for _ in range(3):
        reading.look()
    found = reading.end()
    assert found.joules is None
    assert found.note.startswith("could not be read any more: ZeroDivisionError: of the driver's")
    reading.begin()
    assert reading.end().joules == 10


def ticking(tick_s: float, clock: Clock) -> Callable[[], float]:
    return lambda: 7 + 30 * int((clock.now + 1e-9) / tick_s)


@pytest.mark.parametrize(("tick_s", "window_s"), [(0.1, 10.0), (0.12, 12.0), (0.001, 10.0)])
def test_a_window_is_as_long_as_a_hundred_ticks(tick_s: float, window_s: float) -> None:
    clock = Clock(0.0002)
    counter = counters.watched(scripted(0, read=ticking(tick_s, clock)), clock)
    assert counter.tick_s == pytest.approx(tick_s, abs=0.0005)
    assert counter.window_s == pytest.approx(window_s, rel=0.05)


def test_a_slow_tick_is_looked_at_for_longer() -> None:
    clock = Clock(0.002)
    slow = counters.watched(scripted(0, read=ticking(1.2, clock)), clock)
    assert slow.tick_s == pytest.approx(1.2, abs=0.01)
    assert slow.window_s == pytest.approx(120, abs=1)
    assert slow.note == ""
    slower = counters.watched(scripted(1, 2, note="an estimate"), clock)
    assert (slower.tick_s, slower.window_s) == (3.0, 300.0)
    assert slower.note == "an estimate; changed once in the 3 s before the model was opened"


def test_no_tick_is_seen_of_a_counter_that_stands_nor_of_power() -> None:
    clock = Clock(0.01)
    stands = counters.watched(scripted(5), clock)
    assert (stands.tick_s, stands.note) == (None, "did not change in the 3 s before the model was opened")
    assert counters.watched(scripted(1, 2, 3, 4, method="integrated_power"), clock).tick_s is None
    assert counters.watched(scripted(PermissionError()), clock).tick_s is None


def test_a_window_begins_at_a_tick() -> None:
    clock = Clock(0.003)
    counter = scripted(0, read=ticking(0.1, clock), tick_s=0.1, joules=1.0)
    meter = energy.Meter([counter], clock)
    clock.now = 0.512
    meter.begin()
    assert 0.6 <= clock.now < 0.62
    clock.now = 10.601
    (found,) = meter.end()
    assert found.joules == 30 * 100
    assert found.seconds == pytest.approx(10.0, abs=0.01)


def test_the_slowest_dial_says_how_long_a_window_is() -> None:
    assert energy.Meter([scripted(1), scripted(1, tick_s=0.12), scripted(1, tick_s=0.11)], Clock()).min_window_s == 12.0
    assert energy.Meter([scripted(1, min_window_s=300.0), scripted(1, tick_s=0.12)], Clock()).min_window_s == 300.0


def test_nobody_waits_for_a_slow_tick() -> None:
    clock = Clock(0.003)
    energy.Meter([scripted(0, read=ticking(0.5, clock), tick_s=0.5)], clock).begin()
    assert clock.now < 0.02


def test_two_dies_that_show_one_counter_count_once() -> None:
    clock = Clock(0.0003)

    def shows(step: int, tick_s: float) -> Callable[[], float]:  # it takes time to read
        return lambda: step * int(clock() / tick_s)

    one, other = (scripted(0, read=shows(30, 0.001), name=f"RAPL package-0-die-{n}") for n in range(2))
    second = scripted(0, read=shows(30, 0.0007), name="RAPL package-1")
    memory = scripted(0, read=shows(30, 0.001), name="dram", scope="dram")
    kept = counters.distinct([one, other, second, memory], clock)
    assert [counter.name for counter in kept] == ["RAPL package-0-die-0", "RAPL package-1", "dram"]
    assert kept[0].note == "RAPL package-0-die-1 shows the same counts and is not added"
    assert not any(counter.note for counter in kept[1:])


def test_counters_that_stand_are_not_taken_for_twins() -> None:
    assert len(counters.distinct([scripted(5, name="a"), scripted(5, name="b")], Clock(0.01))) == 2


# -------------------------------------------------------------------------------------------- what is opened


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters of a recorded tree stand still: no use in waiting for their ticks."""
    monkeypatch.setattr(counters, "_LOOK_S", 0.002)
    monkeypatch.setattr(counters, "_LONG_LOOK_S", 0.004)


def opened(root: Path, device: str = "cpu", gpus: tuple[Device, ...] = ()) -> list[str]:
    return [place.source.name for place in energy.choose(device, power.places(root, gpus), gpus, root)]


@pytest.mark.parametrize(
    ("tree", "names"),
    [
        (trees.LAPTOP, ["RAPL package-0"]),  # no core, no psys, no second way to the package
        (
            trees.DUAL_SOCKET,
            ["RAPL package-0", "RAPL package-0 dram", "RAPL package-1", "RAPL package-1 dram"],
        ),
        (trees.AMD_DESKTOP | trees.perf(0), ["RAPL package-0"]),
        (trees.LAPTOP | trees.GUEST | trees.perf(0), ["perf energy-pkg", "perf energy-ram"]),  # the files say nothing
        (trees.EPYC_OLD, ["amd_energy hwmon6 Esocket0"]),
        (trees.EPYC_OLD | trees.AMD_DESKTOP, ["RAPL package-0"]),
        (trees.ZENPOWER, []),  # cores alone are not the processor
        (trees.APU, ["amdgpu hwmon2 PPT"]),
        (trees.RADEON, []),  # a card's power is not the processor's
        (trees.JETSON, ["INA3221 VDD_IN"]),
        (trees.SERVER | trees.AWAY, ["power_meter hwmon0"]),
        (trees.AWAY, ["battery BAT0"]),
        (trees.AWAY | trees.battery("Unknown", "BAT1"), ["battery BAT0"]),
        (trees.AWAY | trees.AMD_DESKTOP, ["RAPL package-0"]),
        (trees.DOCKED, []),
        ({}, []),
    ],
)
def test_what_counts_for_the_processor(tmp_path: Path, tree: dict[str, str], names: list[str]) -> None:
    assert opened(plant(tmp_path, tree)) == names


def test_half_of_the_packages_is_not_the_processor(tmp_path: Path) -> None:
    tree = trees.DUAL_SOCKET | {"sys/class/powercap/intel-rapl:1/energy_uj": "0\n"}
    assert opened(plant(tmp_path, tree)) == []
    tree = trees.DUAL_SOCKET | {"sys/class/powercap/intel-rapl:1:0/energy_uj": "0\n"}
    assert opened(plant(tmp_path, tree)) == ["RAPL package-0", "RAPL package-0 dram", "RAPL package-1"]


CARD = Device(kind="cuda:0", name="RTX 4090", energy_method="counter")
BARE = Device(kind="cuda:0", name="GRID")
ORIN = msgspec.structs.replace(BARE, name="Orin (nvgpu)", shares_memory=True)


PACKAGE_POWER = trees.hwmon(1, "zenpower", power1_input="42000000", power1_label="RAPL_P_Package")


@pytest.mark.parametrize(
    ("device", "gpus", "tree", "names"),
    [
        ("cuda:0", (CARD,), trees.AMD_DESKTOP, ["NVML cuda:0", "RAPL package-0"]),
        ("cuda", (CARD,), {}, ["NVML cuda:0"]),
        ("cuda:0", (CARD,), PACKAGE_POWER, ["NVML cuda:0"]),  # a counter and a power do not add up
        ("cuda:1", (CARD,), trees.AMD_DESKTOP, []),
        ("cuda:0", (CARD,), trees.AWAY, ["NVML cuda:0"]),  # the battery holds the card already
        ("cuda:0", (BARE,), trees.AMD_DESKTOP, []),
        ("cuda:0", (BARE,), trees.AMD_DESKTOP | trees.SERVER, ["power_meter hwmon0"]),
        ("cuda:0", (BARE,), trees.APU, []),  # another chip
        ("cuda:0", (ORIN,), trees.JETSON, ["INA3221 VDD_IN"]),
        ("vulkan:0", (CARD,), {}, ["NVML cuda:0"]),
        ("vulkan:0", (CARD, Device(kind="rocm:0", name="RX")), {}, []),
        ("metal", (), trees.JETSON, ["INA3221 VDD_IN"]),
        ("dml", (), trees.AMD_DESKTOP, []),
    ],
)
def test_what_counts_for_a_gpu(
    tmp_path: Path, device: str, gpus: tuple[Device, ...], tree: dict[str, str], names: list[str]
) -> None:
    assert opened(plant(tmp_path, tree), device, gpus) == names


def card(tree: dict[str, str], sensors: dict[str, str], hwmon: str) -> dict[str, str]:
    """A card of a recorded machine with its folder of sensors, as sysfs links them."""
    folder = next(name.rpartition("/")[0] for name in sorted(tree) if name.endswith("/device/vendor"))
    return tree | sensors | {f"{folder}/hwmon/{hwmon}/name": "linked\n"}


def test_a_card_is_read_by_its_own_sensors(tmp_path: Path) -> None:
    tree = card(RADEON, trees.RADEON_NEW, "hwmon3")
    assert opened(plant(tmp_path, tree), "rocm:0") == ["amdgpu hwmon3 PPT"]
    assert opened(tmp_path, "rocm:1") == []
    assert opened(plant(tmp_path, trees.AMD_DESKTOP), "rocm:0") == ["amdgpu hwmon3 PPT", "RAPL package-0"]


def test_the_power_of_a_whole_chip_is_not_added_to_its_package(tmp_path: Path) -> None:
    tree = card(APU, trees.hwmon(3, "amdgpu", power1_input="6000000", in1_input="850"), "hwmon3")
    assert opened(plant(tmp_path, tree | trees.AMD_DESKTOP), "rocm:0") == ["amdgpu hwmon3"]


def test_an_integrated_gpu_is_a_part_of_the_package(tmp_path: Path) -> None:
    root = plant(tmp_path, IRIS | trees.LAPTOP)
    inside = (Device(kind="xpu:0", name="Intel integrated GPU", shares_memory=True),)
    assert opened(root, "xpu:0", inside) == ["RAPL package-0"]
    assert opened(root, "vulkan:0", inside) == ["RAPL package-0"]


def test_windows_of_a_recorded_machine(tmp_path: Path, brief: None) -> None:
    root = plant(tmp_path, trees.DUAL_SOCKET | {f"{ZONE}/energy_uj": f"{trees.RANGE_UJ - 1_000_000}\n"})
    with energy.opened("cpu", root) as meter:
        assert meter.min_window_s == 10.0
        meter.begin()
        time.sleep(0.001)
        (root / ZONE / "energy_uj").write_text("2000000\n")
        (root / f"{ZONE}:0/energy_uj").write_text("1\n")
        found = {part.name: part for part in meter.end()}
    assert found["RAPL package-0"].joules == pytest.approx(3.0)
    assert found["RAPL package-0"].wraps == 1
    assert found["RAPL package-0 dram"].note.startswith("went backwards")  # no wrap: 229 kJ in a millisecond
    assert found["RAPL package-1"].note.startswith("stood still")
    assert {part.method for part in found.values()} == {"counter"}


def test_a_zone_wraps_where_its_file_says_and_has_the_limit_of_short_bursts(tmp_path: Path) -> None:
    tree = trees.LAPTOP | {
        f"{ZONE}/constraint_0_power_limit_uw": "15000000\n",
        f"{ZONE}/constraint_1_power_limit_uw": "64000000\n",
    }
    place = next(p for p in power.places(plant(tmp_path, tree)) if p.source.name == "RAPL package-0")
    (counter,) = rapl.counters(place, tmp_path, contextlib.ExitStack())
    assert (counter.read(), counter.joules, counter.wraps_at, counter.most_w) == (
        17340968233,
        1e-6,
        trees.RANGE_UJ,
        64.0,
    )
    place.at.write_text("nonsense\n")
    with pytest.raises(OSError, match="no number"):
        counter.read()


def test_what_lies_in_a_tree_is_read_in_its_unit(tmp_path: Path) -> None:
    for name, (tree, method, shown) in {
        "jetson": (trees.JETSON, "integrated_power", 19.120 * 0.392),
        "server": (trees.SERVER, "integrated_power", 213.0),
        "epyc": (trees.EPYC_OLD, "counter", 7000.0),
        "battery": (trees.AWAY, "integrated_power", 11.372),
        "charge": (trees.BY_CHARGE, "integrated_power", 11.37156),
    }.items():
        root = plant(tmp_path / name, tree)
        with contextlib.ExitStack() as stack:
            found, lost = energy._counters(energy.choose("cpu", power.places(root), (), root), root, stack)
            assert (lost, [counter.method for counter in found]) == ("", [method])
            assert found[0].read() * found[0].joules == pytest.approx(shown, rel=1e-5)


def test_a_battery_that_begins_to_charge_tells_nothing_more(tmp_path: Path) -> None:
    root = plant(tmp_path, trees.AWAY)
    (place,) = power.places(root)
    (counter,) = battery.counters(place, root, contextlib.ExitStack())
    assert counter.window_s == 300
    reading = Reading(counter, Clock(10.0))
    for _ in range(29):
        reading.look()
    assert reading.end().joules == pytest.approx(11.372 * 300)
    reading.begin()
    plant(root, trees.battery("Charging"))
    assert "does not power the machine now (charging)" in reading.end().note
    plant(root, trees.battery("Unknown"))
    reading.begin()
    assert reading.end().joules is None
    plant(root, trees.AWAY | trees.plug("1"))  # plugged in, and the battery has not noticed yet
    reading.begin()
    assert reading.end().joules is None


class Nvml:
    """One GPU; a call without an answer is not supported."""

    def __init__(self, **answers: Any) -> None:
        self._answers = {"nvmlDeviceGetCount": 1, "nvmlDeviceGetHandleByIndex": "gpu"} | answers

    def __getattr__(self, name: str) -> Any:
        def call(*_: Any) -> Any:
            if name not in self._answers and name not in {"nvmlInit", "nvmlShutdown"}:
                raise RuntimeError("Not Supported")
            answer = self._answers.get(name)
            return answer.pop(0) if isinstance(answer, list) else answer

        return call


def nvml_counter(api: Nvml, counts: bool) -> Counter:
    gpu = msgspec.structs.replace(CARD, energy_method="counter" if counts else "power")
    (place,) = power.places(Path("/nonexistent"), (gpu,))
    (counter,) = nvml.counters(place, Path("/"), contextlib.ExitStack(), api)
    return counter


def test_nvidia_counts_millijoules() -> None:
    script = [12_000_000, 12_000_500, 12_150_000]
    api = Nvml(nvmlDeviceGetTotalEnergyConsumption=script, nvmlDeviceGetEnforcedPowerLimit=450_000)
    counter = nvml_counter(api, counts=True)
    assert (counter.method, counter.most_w, counter.scope) == ("counter", 450.0, "gpu_board")
    assert read_out(counter, looks=1).joules == pytest.approx(150.0)


def test_nvidia_without_a_counter_has_its_power_integrated() -> None:
    counter = nvml_counter(Nvml(nvmlDeviceGetPowerUsage=120_000), counts=False)
    found = read_out(counter, looks=3)
    assert (found.method, found.joules, found.name) == ("integrated_power", 480.0, "NVML cuda:0")


def test_a_driver_that_does_not_answer_any_more_is_said() -> None:
    counter = nvml_counter(Nvml(nvmlDeviceGetTotalEnergyConsumption=[1000]), counts=True)
    reading = Reading(counter, Clock())
    assert "NVML does not answer nvmlDeviceGetTotalEnergyConsumption" in reading.end().note


def test_of_gpus_that_differ_none_is_taken_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def two() -> Nvml:
        return Nvml(nvmlDeviceGetCount=2, nvmlDeviceGetName=["RTX 4090", "GTX 1080"],
                    nvmlDeviceGetTotalEnergyConsumption=[5])  # fmt: skip

    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    with pytest.raises(OSError, match="set CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        nvml_counter(two(), counts=True)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert nvml_counter(two(), counts=True).read() == 5


def test_a_perf_event_counts() -> None:
    handle = perf.opened(kind=1, config=0, on=0)  # software: the clock of a cpu, which every Linux has
    if isinstance(handle, str):
        pytest.skip(handle)
    from phibench.meters.sources import perf as meter

    try:
        first = meter._count(handle)
        assert meter._count(handle) >= first >= 0
    finally:
        os.close(handle)


def test_the_registers_of_perf_are_in_its_events_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from phibench.meters.sources import perf as meter

    root = plant(tmp_path, trees.perf(0))
    place = next(p for p in power.places(root) if p.source.name == "perf energy-pkg")
    asked = []

    def opened(kind: int, config: int, on: int) -> int:  # a register that shows three seconds of 64 W and 32 W
        asked.append((kind, config, on))
        (tmp_path / f"cpu{on}").write_bytes(b"".join(struct.pack("=Q", (64 >> (on > 0)) * n << 32) for n in range(3)))
        return os.open(tmp_path / f"cpu{on}", os.O_RDONLY)

    monkeypatch.setattr(perf, "opened", opened)
    with contextlib.ExitStack() as stack:
        found = {counter.name: read_out(counter, looks=1).joules for counter in meter.counters(place, root, stack)}
    assert found == {"perf energy-pkg cpu 0": pytest.approx(128), "perf energy-pkg cpu 16": pytest.approx(64)}
    assert asked == [(29, 2, 0), (29, 2, 16)]


@pytest.mark.parametrize(("tree", "most_w"), [
    (trees.ARC_XE, 190.0),
    (trees.RADEON_NEW | {"sys/class/hwmon/hwmon3/power1_cap": "212000000\n"}, 212.0),
    (trees.RADEON_NEW, None),
])  # fmt: skip
def test_a_card_has_the_limit_that_its_driver_tells(tmp_path: Path, tree: dict[str, str], most_w: float | None) -> None:
    root = plant(tmp_path, tree)
    (place,) = [p for p in power.places(root) if p.source.scope == "gpu_board"]
    assert [counter.most_w for counter in hwmon.counters(place, root, contextlib.ExitStack())] == [most_w]


def test_apple_counts_millijoules_of_the_whole_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cores lie inside ``cpu_total_mj``, and a part that a chip lacks is None."""
    told = [{"cpu_total_mj": 10_000 * n, "gpu_mj": 2_000 * n, "gpu_sram_mj": None, "ane_mj": 300 * n,
             "dram_mj": 40 * n, "efficiency_cores_mj": 7_777 * n} for n in range(1, 4)]  # fmt: skip
    monitor = SimpleNamespace(get_cumulative_energy=lambda: SimpleNamespace(**told.pop(0)))
    monkeypatch.setitem(sys.modules, "zeus_apple_silicon", SimpleNamespace(AppleEnergyMonitor=lambda: monitor))
    place = one_place("ioreport", Path(), "IOReport", "soc", "counter", Access())
    (counter,) = ioreport.counters(place, Path("/"), contextlib.ExitStack())
    assert (counter.window_s, counter.note) == (30.0, "Apple calls its own figures estimates")
    assert read_out(counter, looks=1).joules == pytest.approx(2 * (10 + 2 + 0.3 + 0.04))


# -------------------------------------------------------------------------------------------------- Windows


def metadata(*names: str, unit: int = 0) -> bytes:
    head = "Microsoft".ljust(16, "\0").encode("utf-16-le") + "RAPL".ljust(16, "\0").encode("utf-16-le")
    body = head + struct.pack("<HH", 1, len(names))
    for name in names:
        text = (name + "\0").encode("utf-16-le")
        body += struct.pack("<IH", unit, len(text)) + text
    return body


def test_channels_of_an_energy_meter() -> None:
    names = ["RAPL_Package0_PKG", "RAPL_Package0_PP0", "RAPL_Package0_DRAM", "RAPL_Package0_Core3_CORE"]
    assert emi.parse_metadata(metadata(*names), 2) == names
    assert [emi.scope(name) for name in names] == [
        ("cpu_package", ""),
        ("cpu_core", "the package: a part of it"),
        ("dram", ""),
        (None, ""),
    ]
    one = struct.pack("<I", 0) + metadata()[:64] + struct.pack("<HH", 1, 8) + "VDD\0".encode("utf-16-le")
    assert emi.parse_metadata(one, 1) == ["VDD"]
    assert emi.parse_metadata(metadata("X", unit=1), 2) == []
    assert emi.parse_metadata(metadata("X"), 3) == []


def test_an_energy_meter_counts_picowatt_hours() -> None:
    data = struct.pack("<QQQQ", 10**12, 5, 2 * 10**12, 5)
    assert emi.parse_measurement(data) == [10**12, 2 * 10**12]
    watt_hour = 10**12 * emi.JOULES
    assert watt_hour == pytest.approx(3600)


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 3))
def test_garbage_of_an_energy_meter_never_raises(data: bytes, version: int) -> None:
    assert all(isinstance(name, str) for name in emi.parse_metadata(data, version))
    assert len(emi.parse_measurement(data)) == len(data) // 16


def test_channels_of_one_name_are_read_from_their_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sockets whose devices call their channels the same, in another order."""
    told = {r"\\?\acpi#a#{45bd}": ["RAPL_Package0_DRAM", "RAPL_Package0_PKG"],
            r"\\?\acpi#b#{45bd}": ["RAPL_Package0_PKG", "RAPL_Package0_DRAM"]}  # fmt: skip
    found = [emi.Channel(name, device, n, 2) for device, names in told.items() for n, name in enumerate(names)]
    counts = dict(zip(told, ([10**9, 2 * 10**9], [3 * 10**9, 4 * 10**9]), strict=True))
    monkeypatch.setattr(emi, "channels", lambda: tuple(found))
    monkeypatch.setattr(emi, "counts", lambda device, count: counts[device][:count])
    monkeypatch.setattr(power, "sys", SimpleNamespace(platform="win32"))
    read = [counter.read() * counter.joules for place in power._elsewhere()
            for counter in emi_meter.counters(place, Path("/"), contextlib.ExitStack())]  # fmt: skip
    assert read == pytest.approx([3.6, 7.2, 10.8, 14.4])
    (place, *_) = power._elsewhere()
    found.pop(0)
    with pytest.raises(OSError, match="gone"):
        emi_meter.counters(place, Path("/"), contextlib.ExitStack())


def test_there_is_no_energy_meter_elsewhere() -> None:
    if sys.platform != "win32":
        assert emi.channels() == ()


# --------------------------------------------------------------------------------------------- unavailable


def why(root: Path, device: str = "cpu") -> str:
    with pytest.raises(PhibenchError) as error, energy.opened(device, root):
        pass
    return str(error.value)


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    assert why(tmp_path) == "unavailable: this machine exposes no energy counter (is it a virtual machine?)"


def test_every_kind_of_source_comes_with_its_remedy_once(tmp_path: Path) -> None:
    said = why(plant(tmp_path, trees.rapl({f"intel-rapl:{n}": (f"package-{n}", "0") for n in range(2)}) | trees.perf(2)
                     | trees.DOCKED))  # fmt: skip
    assert said.startswith("unavailable: RAPL package-0: stands at 0, as in a virtual machine; ")
    assert said.count("RAPL") == 1  # the other package has the same remedy
    assert "sudo sysctl kernel.perf_event_paranoid=0" in said
    assert "unplug the power supply" in said
    assert "overlaps" not in said  # what perf's events are a copy of does not matter here
    assert "\n" not in said


def test_a_device_that_no_counter_holds_is_named(tmp_path: Path) -> None:
    assert why(plant(tmp_path, trees.AMD_DESKTOP), "dml") == (
        "unavailable: no energy counter of this machine covers dml"
    )


# ------------------------------------------------------------------------------------------ joules of a token

PACKAGE = Energy(name="RAPL package-0", scope="cpu_package", method="counter", joules=0.0, seconds=10.0)
DRAM = msgspec.structs.replace(PACKAGE, name="RAPL package-0 dram", scope="dram")
BOARD = msgspec.structs.replace(PACKAGE, name="NVML cuda:0", scope="gpu_board", method="integrated_power")
ENERGY = suites.load("energy")


def window(kind: Any, *parts: Energy, tests: int = 5) -> Window:
    return Window(kind=kind, seconds=10.0, tests=tests if kind == "work" else 0, energy=parts)


def counted(part: Energy, joules: float | None, **changes: Any) -> Energy:
    return msgspec.structs.replace(part, joules=joules, **changes)


def result(workload: Workload, *windows: Window, busy: float = 1.0) -> Measured:
    """Ten seconds a window, filled with its tests but for a share of pauses."""
    count = sum(w.tests for w in windows)
    arrivals = max(workload.new_tokens, 1)
    each = busy * 10.0 / (windows[-1].tests or windows[1].tests or 1)
    sample = Sample(arrivals_s=tuple(each * (n + 1) / arrivals for n in range(arrivals)))
    return Measured(
        setup=SETUP, workload=workload, artifact=Artifact(path="a.gguf", bytes=1, weights="synthetic"), threads=2,
        engine=Engine(name="e", version="1", placement="cpu"), samples=(sample,) * count, windows=windows,
    )  # fmt: skip


PREFILL, DECODE = Workload(prompt_tokens=512, new_tokens=0), Workload(prompt_tokens=0, new_tokens=20, batch=2)
REST = window("idle", counted(PACKAGE, 100.0), counted(DRAM, 20.0))
WORK = window("work", counted(PACKAGE, 500.0), counted(DRAM, 60.0))


def test_a_window_is_shared_by_all_tokens_in_it() -> None:
    decode = result(DECODE, REST, WORK, WORK, REST)
    assert joules.values("decode_j_per_token", decode) == pytest.approx([560 / 200] * 2)  # 5 tests x 20 tokens x 2
    assert joules.values("decode_tokens_per_j", decode) == pytest.approx([200 / 560] * 2)
    assert joules.values("decode_net_j_per_token", decode) == pytest.approx([440 / 200] * 2)
    assert joules.values("prefill_j_per_token", decode) == []
    prefill = result(PREFILL, REST, WORK, REST)
    assert joules.values("prefill_j_per_token", prefill) == pytest.approx([560 / 2560])
    assert joules.values("prefill_net_j_per_token", prefill) == pytest.approx([440 / 2560])
    assert joules.values("decode_j_per_token", prefill) == []


def test_a_test_of_both_tells_neither() -> None:
    both = result(Workload(prompt_tokens=10, new_tokens=10), REST, WORK, REST)
    assert all(joules.values(name, both) == [] for name in ENERGY.metrics if "_j" in name)


def test_without_rest_there_is_gross_and_no_net() -> None:
    alone = result(DECODE, WORK)
    assert joules.values("decode_j_per_token", alone) == pytest.approx([2.8])
    assert joules.values("decode_net_j_per_token", alone) == []
    assert "no power at rest was measured, so there is no net figure" in energy_notes.notes(ENERGY, [alone])


def test_rest_that_is_known_of_one_part_only_gives_no_net() -> None:
    rest = window("idle", counted(PACKAGE, 100.0), counted(DRAM, None, note="stood still for 10 s"))
    seen = result(DECODE, rest, WORK, rest)
    assert joules.values("decode_net_j_per_token", seen) == []
    assert "at rest, RAPL package-0 dram: stood still for 10 s" in energy_notes.notes(ENERGY, [seen])


def test_one_part_that_is_lost_takes_the_sum_with_it() -> None:
    lost = window("work", counted(PACKAGE, 500.0), counted(DRAM, None, note="went backwards"))
    seen = result(DECODE, REST, lost, WORK, REST)
    assert joules.values("decode_j_per_token", seen) == pytest.approx([2.8])  # of the other window
    assert "RAPL package-0 dram: went backwards" in energy_notes.notes(ENERGY, [seen])


def test_counters_are_not_added_to_integrated_power() -> None:
    mixed = window("work", counted(BOARD, 1000.0), counted(PACKAGE, 500.0))
    seen = result(DECODE, mixed)
    assert joules.values("decode_j_per_token", seen) == pytest.approx([5.0])
    said = energy_notes.notes(ENERGY, [seen])
    assert "energy: NVML cuda:0 (gpu_board, integrated_power)" in said
    assert "energy of another method is not added: RAPL package-0 (cpu_package, counter)" in said


def test_notes_say_method_scope_and_power() -> None:
    said = energy_notes.notes(ENERGY, [result(DECODE, REST, WORK, REST)])
    assert said == (
        "energy: RAPL package-0 (cpu_package, counter) + RAPL package-0 dram (dram, counter)",
        "power at work: 56 W",
        "power at rest: 12 W before, 12 W after",
    )


@pytest.mark.parametrize(("after", "marked"), [(109.0, False), (111.0, True), (89.0, True)])
def test_an_unstable_rest_is_marked(after: float, marked: bool) -> None:
    before, work = (window(kind, counted(PACKAGE, watts)) for kind, watts in (("idle", 100.0), ("work", 500.0)))
    said = energy_notes.notes(ENERGY, [result(DECODE, before, work, window("idle", counted(PACKAGE, after)))])
    assert any("unstable" in line for line in said) is marked


@pytest.mark.parametrize("lost", ["before", "after"])
def test_the_only_rest_that_is_known_keeps_its_name(lost: str) -> None:
    gone, rest = (window("idle", counted(PACKAGE, watts)) for watts in (None, 100.0))
    work = window("work", counted(PACKAGE, 500.0))
    first, last, kept = (gone, rest, "after") if lost == "before" else (rest, gone, "before")
    seen = result(DECODE, first, work, last)
    assert f"power at rest: 10 W {kept}: only one rest is known" in energy_notes.notes(ENERGY, [seen])
    assert joules.values("decode_net_j_per_token", seen) == pytest.approx([2.0])


@pytest.mark.parametrize(("scope", "watts", "marked"), [
    ("gpu_board", 104.0, False), ("gpu_board", 106.0, True), ("cpu_package", 106.0, False),
])  # fmt: skip
def test_a_board_above_its_limit_is_marked(scope: str, watts: float, marked: bool) -> None:
    counter = scripted(*(watts * n for n in range(12)), scope=scope, most_w=100.0)
    found = msgspec.json.decode(msgspec.json.encode(read_out(counter, looks=9)), type=Energy)  # as a run file has it
    said = energy_notes.notes(ENERGY, [result(DECODE, window("work", found))])
    assert found.joules == pytest.approx(10 * watts)
    assert any(f"{watts:g} W is above its limit of 100 W" in line for line in said) is marked


def test_work_that_takes_no_more_than_rest_has_no_net_figure() -> None:
    seen = result(DECODE, window("idle", counted(PACKAGE, 500.0)), window("work", counted(PACKAGE, 499.0)))
    assert joules.values("decode_net_j_per_token", seen) == []
    assert joules.values("decode_j_per_token", seen) != []
    assert any("no more than rest" in line for line in energy_notes.notes(ENERGY, [seen]))


@pytest.mark.parametrize(("busy", "told", "marked"), [(0.99, True, False), (0.95, True, True), (0.85, False, True)])
def test_pauses_between_tests_are_marked_and_then_refused(busy: float, told: bool, marked: bool) -> None:
    seen = result(DECODE, REST, WORK, REST, busy=busy)
    assert bool(joules.values("decode_j_per_token", seen)) is told
    assert any("is not spent in tests" in line for line in energy_notes.notes(ENERGY, [seen])) is marked


def test_each_window_has_its_own_tests() -> None:
    seen = result(DECODE, WORK, WORK, window("work", counted(PACKAGE, 700.0), tests=2))
    took_s = [2.0] * 5 + [1.0] * 5 + [5.0] * 2  # five seconds of the second window are pauses
    seen = msgspec.structs.replace(seen, samples=tuple(Sample(arrivals_s=(s,)) for s in took_s))
    assert joules.values("decode_j_per_token", seen) == pytest.approx([560 / 200, 700 / 80])


def test_a_coarse_tick_is_said() -> None:
    fine, coarse = (window("work", counted(PACKAGE, 500.0, tick_s=tick)) for tick in (0.04, 0.1))
    assert not any("ticks" in line for line in energy_notes.notes(ENERGY, [result(DECODE, fine)]))
    said = energy_notes.notes(ENERGY, [result(DECODE, coarse)])
    assert "RAPL package-0: ticks every 100 ms, an error of up to 2.0%" in said


def test_what_figures_were_read_from_is_told_by_itself() -> None:
    both = "RAPL package-0 (cpu_package, counter) + RAPL package-0 dram (dram, counter)"
    assert energy_notes.sources(ENERGY, [result(DECODE, REST, WORK, REST)]) == both
    mixed = window("work", counted(BOARD, 1000.0), counted(PACKAGE, 500.0))
    assert energy_notes.sources(ENERGY, [result(DECODE, mixed)]) == "NVML cuda:0 (gpu_board, integrated_power)"


def test_a_suite_that_meters_no_energy_says_nothing_of_it() -> None:
    assert energy_notes.sources(suites.load("latency"), [result(DECODE, REST, WORK, REST)]) is None
    assert energy_notes.sources(ENERGY, []) is None
    assert energy_notes.notes(suites.load("latency"), [result(DECODE, REST, WORK, REST)]) == ()
    assert energy_notes.notes(ENERGY, []) == ()


def as_rows(*results: Measured) -> list[dict[str, Any]]:
    run = Run(id="1", started="2026-01-01T00:00:00Z", suite=ENERGY, machine=machine(), software={}, results=results)
    return records(run)


def test_a_row_has_the_figures_and_what_an_answer_takes() -> None:
    decode = result(msgspec.structs.replace(DECODE, batch=1), REST, WORK, REST)
    prefill, one = as_rows(result(PREFILL, REST, WORK, REST), decode)
    assert (prefill["prefill_j_per_token"], one["decode_j_per_token"]) == pytest.approx((560 / 2560, 5.6))
    assert prefill["decode_j_per_token"] is None
    assert [part["method"] for part in one["energy"]] == ["counter"] * 2
    total = 256 * 560 / 2560 + 256 * 5.6
    assert one["notes"][-1] == (
        f"an answer (chat: 256 tokens of prompt, 256 new) takes {total:,.0f} J, a token of the prompt as in pp512; "
        "1000 new tokens take 1.56 Wh"
    )
    assert not any("an answer" in note for note in prefill["notes"])


@pytest.mark.parametrize("lengths", [(128, 300, 2048), (2048, 300, 128)])
def test_an_answer_is_told_by_the_prompt_that_is_nearest_to_its_own(lengths: tuple[int, ...]) -> None:
    prompts = [result(Workload(prompt_tokens=n, new_tokens=0), window("work", counted(PACKAGE, n * 5.0 * n)))
               for n in lengths]  # fmt: skip
    decode = result(msgspec.structs.replace(DECODE, batch=1), window("work", counted(PACKAGE, 100.0)))
    note = as_rows(*prompts, decode)[-1]["notes"][-1]
    assert f"takes {256 * 300 + 256:,} J, a token of the prompt as in pp300; " in note


def test_a_row_alone_tells_no_answer() -> None:
    (row,) = as_rows(result(DECODE, REST, WORK, REST))
    assert not any("an answer" in note for note in row["notes"])


# ---------------------------------------------------------------------------------------------- end to end


@contextlib.contextmanager
def busy_session(token_us: int) -> Iterator[Any]:
    setup = msgspec.structs.replace(SETUP, backend="null", options=(("token_us", str(token_us)),))
    artifact = Artifact(path="", bytes=0, weights="synthetic")
    with null.session(Job(setup=setup, suite=ENERGY, workloads=(), artifact=artifact, threads=1)) as session:
        yield session


def test_windows_are_filled_with_tests_between_two_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A counter that shows 3 W at any time."""
    monkeypatch.setattr(joules, "MOST_PAUSES", 1.0)  # other programs may come between
    at_s = 0.0

    def read() -> float:
        nonlocal at_s
        at_s = time.perf_counter()
        return 3e6 * at_s

    short = Suite(name="e", question="?", metrics=("decode_j_per_token",), new_tokens=(10,), repetitions=2,
                  window_s=0.01, idle_s=0.02, warmup=Warmup(max_windows=0))  # fmt: skip
    (workload,) = short.workloads()
    meter = energy.Meter([scripted(0, read=read, joules=1e-6, min_window_s=0.05)], lambda: at_s)
    with busy_session(token_us=500) as session:
        taken = timing.measure(session, workload, short, lambda *_: None, Meters(energy=meter))
    assert [w.kind for w in taken.windows] == ["idle", "work", "work", "idle"]
    assert all(w.energy[0].joules == pytest.approx(3 * w.energy[0].seconds) for w in taken.windows)
    work = [w for w in taken.windows if w.kind == "work"]
    assert all(w.energy[0].seconds >= w.seconds >= 0.05 for w in taken.windows)  # what the meter needs, work and rest
    seen = msgspec.structs.replace(result(workload, *taken.windows), samples=taken.samples)
    gross = joules.values("decode_j_per_token", seen)
    assert gross == pytest.approx([w.energy[0].joules / (10 * w.tests) for w in work if w.energy[0].joules])
    assert all(net < 1e-6 * min(gross) for net in joules.values("decode_net_j_per_token", seen))


def test_short_windows_are_taken_as_they_are_and_marked() -> None:
    short = Suite(name="e", question="?", metrics=("decode_j_per_token",), new_tokens=(1,), repetitions=1,
                  window_s=0.001, idle_s=0.001, warmup=Warmup(max_windows=0), short=True)  # fmt: skip
    meter = energy.Meter([scripted(0, 1000)])
    with busy_session(token_us=10) as session:
        taken = timing.measure(session, short.workloads()[0], short, lambda *_: None, Meters(energy=meter))
    assert [w.kind for w in taken.windows] == ["idle", "work", "idle"]
    assert all(w.seconds < 10 for w in taken.windows)
    assert all("shorter than the 10 s it needs" in w.energy[0].note for w in taken.windows)


def test_a_worker_stores_what_was_counted_and_invents_nothing(
    tmp_path: Path, brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that can be read and stands still, from the job to the row."""
    root = plant(tmp_path, trees.AMD_DESKTOP)
    monkeypatch.setattr(energy, "watching", lambda device: energy.opened(device, root))
    suite = msgspec.structs.replace(ENERGY, prompt_tokens=(), new_tokens=(3,), repetitions=1, window_s=0.001,
                                    idle_s=0.001, short=True)  # fmt: skip
    setup = msgspec.structs.replace(SETUP, backend="null", options=())
    artifact = Artifact(path="", bytes=0, weights="synthetic")
    events: list[Event] = []
    job = Job(setup=setup, suite=suite, workloads=suite.workloads(), artifact=artifact, threads=1)
    assert worker.work(job, events.append) == 0
    (seen,) = [msgspec.json.decode(msgspec.json.encode(e), type=Measured) for e in events if isinstance(e, Measured)]
    assert [w.kind for w in seen.windows] == ["idle", "work", "idle"]
    (row,) = as_rows(seen)
    assert row["decode_tps"] > 0
    assert [row[name] for name in ENERGY.metrics if "_j" in name] == [None] * 5
    assert any(note.startswith("RAPL package-0: stood still") for note in row["notes"])


@pytest.mark.skipif(sys.platform == "win32", reason="usleep is of Unix")
def test_power_is_read_while_an_engine_keeps_pythons_lock(tmp_path: Path) -> None:
    with energy.watching("cpu", plant(tmp_path, trees.JETSON)) as meter:
        assert meter.min_window_s == 10.0
        meter.begin()
        ctypes.PyDLL(None).usleep(700_000)  # other threads of this process stand still
        (found,) = meter.end()
    assert found.joules == pytest.approx(19.120 * 0.392 * found.seconds)
    assert found.seconds >= 0.7
    assert found.reads >= 4  # a thread makes two: before and after


def test_a_reader_that_has_no_counter_says_why(tmp_path: Path) -> None:
    with pytest.raises(NotMeasurableError, match=r"^unavailable: this machine exposes no energy counter"), \
            energy.watching("cpu", tmp_path):  # fmt: skip
        pass


def test_a_reader_that_dies_is_said(tmp_path: Path) -> None:
    root = plant(tmp_path, trees.JETSON)
    with energy.watching("cpu", root) as meter:
        meter.begin()
        (reader,) = [child for child in psutil.Process().children() if str(root) in child.cmdline()]
        reader.kill()
        with pytest.raises(PhibenchError, match="the process that reads the energy counters has ended"):
            meter.end()


def test_a_reader_leaves_when_it_is_asked_no_more(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", energy.__name__, "cpu", str(plant(tmp_path, trees.JETSON))]
    asked = subprocess.run(command, input=b"begin\nend\n", stdout=subprocess.PIPE, timeout=60, check=True)
    ready, begun, ended = asked.stdout.splitlines()
    assert msgspec.json.decode(ready, type=energy.Ready).min_window_s == 10.0
    assert (begun, msgspec.json.decode(ended, type=tuple[Energy, ...])[0].reads) == (b"[]", 2)


def test_a_thread_reads_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """A counter that wraps at nearly every reading."""
    monkeypatch.setattr(counters, "_MOST_MISSED", 10**6)  # this process may have to wait for others
    counts = itertools.count()
    counter = scripted(0, read=lambda: 15 * next(counts) % 20, wraps_at=20, joules=1e-3, every_s=0.001)
    meter = energy.Meter([counter])
    meter.begin()
    with meter.looking():
        deadline = time.perf_counter() + 5
        while meter._readings[0]._reads < 5 and time.perf_counter() < deadline:
            time.sleep(0.001)
    (found,) = meter.end()
    assert found.reads >= 6
    assert found.joules == pytest.approx(0.015 * (found.reads - 1))
    assert 0 < found.wraps < found.reads
