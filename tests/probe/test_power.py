"""Energy sources and the power supply, on recorded trees: what is there, what may be read, what repeats what."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trees_power as trees
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import plant

from phibench.core.nouns import Device, Source
from phibench.probe.energy import perf, power_supply
from phibench.probe.energy import sources as energy_sources

ZONE = "sys/class/powercap/intel-rapl:0"


def found(root: Path, tree: dict[str, str]) -> dict[str, Source]:
    sources = energy_sources.sources(plant(root, tree))
    assert len({source.name for source in sources}) == len(sources)
    return {source.name: source for source in sources}


def adds_up(sources: dict[str, Source]) -> set[str]:
    return {name for name, source in sources.items() if source.readable and not source.overlaps}


# --------------------------------------------------------------------------------------------------- RAPL


def test_a_laptop_with_psys_and_a_second_way_to_its_package(tmp_path: Path) -> None:
    sources = found(tmp_path, trees.LAPTOP)
    assert {name: source.scope for name, source in sources.items()} == {
        "RAPL package-0": "cpu_package",
        "RAPL package-0 core": "cpu_core",
        "RAPL package-0 uncore": "gpu_die",
        "RAPL psys": "system_dc",
        "RAPL package-0 (mmio)": "cpu_package",
    }
    assert all(source.readable and source.method == "counter" for source in sources.values())
    assert adds_up(sources) == {"RAPL package-0"}
    assert sources["RAPL package-0 core"].because == "overlaps package-0: a part of it"
    assert sources["RAPL package-0 core"].overlaps == "package-0: a part of it"


def test_two_sockets_and_their_memory_add_up(tmp_path: Path) -> None:
    sources = found(tmp_path, trees.DUAL_SOCKET)
    assert adds_up(sources) == set(sources)
    assert list(sources) == ["RAPL package-0", "RAPL package-0 dram", "RAPL package-1", "RAPL package-1 dram"]


def test_amd_shows_the_same_zones(tmp_path: Path) -> None:
    assert adds_up(found(tmp_path, trees.AMD_DESKTOP)) == {"RAPL package-0"}


def test_a_memory_mapped_package_that_nobody_else_shows_counts(tmp_path: Path) -> None:
    tree = trees.rapl({"intel-rapl-mmio:0": ("package-0", "5")})
    assert adds_up(found(tmp_path, tree)) == {"RAPL package-0"}


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder, and a user that may only read what everybody may: root is asked for no permission."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if os.name == "nt":
        pytest.skip("no file modes")
    try:
        if root:
            os.seteuid(65534)
            os.seteuid(0)
        yield folder
    except PermissionError:
        pytest.skip("may not become another user")
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(folder)


def test_an_unreadable_counter_says_the_line_that_grants_it(nobody: Path) -> None:
    plant(nobody, trees.LAPTOP | trees.SERVER)
    for counter in (*nobody.rglob("energy_uj"), *nobody.rglob("power1_average")):
        counter.chmod(0o400)
    if os.geteuid() == 0:
        os.seteuid(65534)
    else:
        for counter in nobody.rglob("energy_uj"):
            counter.chmod(0o000)
    sources = {source.name: source for source in energy_sources.sources(nobody)}
    assert not any(source.readable for name, source in sources.items() if name.startswith("RAPL"))
    assert sources["RAPL package-0"].because == (
        "needs read access to /sys/class/powercap/intel-rapl:0/energy_uj: "
        "sudo chmod o+r /sys/class/powercap/intel-rapl:*/energy_uj (until the next boot)"
    )
    assert sources["RAPL package-0"].grant == "sudo chmod o+r /sys/class/powercap/intel-rapl:*/energy_uj"
    assert "chmod o+r /sys/class/powercap/intel-rapl-mmio:*/energy_uj" in sources["RAPL package-0 (mmio)"].because
    assert sources["RAPL psys"].because.endswith("; overlaps package: it holds every package and more")
    assert str(nobody) not in repr(sources)


@pytest.mark.parametrize(
    ("energy", "says"),
    [
        ("0", "stands at 0"),
        ("-5", "nonsense"),
        (str(trees.RANGE_UJ + 1), "nonsense"),
        ("lots", "no number"),
        ("", "no number"),
        ("9" * 30, "no number"),
    ],
)
def test_a_counter_that_tells_garbage_is_not_readable(tmp_path: Path, energy: str, says: str) -> None:
    source = found(tmp_path, trees.rapl({"intel-rapl:0": ("package-0", energy)}))["RAPL package-0"]
    assert not source.readable
    assert says in source.because


def test_a_counter_that_is_something_else_is_not_readable(tmp_path: Path) -> None:
    (tmp_path / ZONE / "energy_uj").mkdir(parents=True)
    (tmp_path / ZONE / "name").write_text("package-0\n")
    (source,) = energy_sources.sources(tmp_path)
    assert not source.readable
    assert source.because.startswith("cannot be read: ")


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
def test_a_container_that_hides_the_counters_is_told_apart_from_a_machine_without(tmp_path: Path) -> None:
    (tmp_path / "sys/class/powercap").mkdir(parents=True)
    (tmp_path / ZONE).symlink_to("../../devices/virtual/powercap/intel-rapl/intel-rapl:0")
    (source,) = energy_sources.sources(tmp_path)
    assert "hidden from this container" in source.because
    assert energy_sources.sources(tmp_path / "empty") == ()


# --------------------------------------------------------------------------------------------------- perf


@pytest.mark.parametrize(
    ("paranoid", "capabilities", "readable"),
    [
        (0, "0" * 16, True),
        (-1, "0" * 16, True),
        (2, "0" * 16, False),
        (4, "000001ffffffffff", True),  # all: root of the host
        (2, f"{1 << 38:016x}", True),
        (2, f"{1 << 21:016x}", True),
        (2, "00000000a80425fb", False),  # root of a container
    ],
)
def test_perf_is_for_whom_the_kernel_lets(tmp_path: Path, paranoid: int, capabilities: str, readable: bool) -> None:
    sources = found(tmp_path, trees.perf(paranoid, capabilities))
    assert {source.readable for source in sources.values()} == {readable}
    grant = "" if readable else "sudo sysctl kernel.perf_event_paranoid=0"
    assert sources["perf energy-pkg"].grant == grant
    assert grant in sources["perf energy-pkg"].because
    assert [source.scope for source in sources.values()] == ["cpu_package", "cpu_core", "dram"]


def test_perf_alone_adds_up_and_beside_files_it_does_not(tmp_path: Path) -> None:
    tree = trees.perf(paranoid=0)
    assert adds_up(found(tmp_path / "alone", tree)) == {"perf energy-pkg", "perf energy-ram"}
    assert adds_up(found(tmp_path / "both", tree | trees.AMD_DESKTOP)) == {"RAPL package-0"}
    for root in (tmp_path / "alone", tmp_path / "both"):  # a part of its own kind, not a copy of another
        apart = {place.source.name for place in energy_sources.places(root) if place.kind == "perf" and place.apart}
        assert apart == {"perf energy-pkg", "perf energy-ram"}


@pytest.mark.parametrize("scale", ["", "-1", "nan", "1e99", "0", "5"])
def test_a_perf_event_without_a_scale_is_not_readable(tmp_path: Path, scale: str) -> None:
    tree = trees.perf(paranoid=0)
    tree["sys/bus/event_source/devices/power/events/energy-pkg.scale"] = scale
    assert "no scale" in found(tmp_path, tree)["perf energy-pkg"].because


def test_opening_an_event_works_or_says_why() -> None:
    clock = perf.opens(kind=1, config=0, on=0)  # software: the clock of a cpu, which every Linux has
    assert clock == "" or clock.startswith("perf_event_open: ") or clock == "not opened on this system"
    assert perf.opens(kind=(1 << 32) - 1, config=0, on=0) != ""  # no such PMU
    assert perf.opens(kind=1 << 40, config=0, on=0) != ""


# -------------------------------------------------------------------------------------------------- hwmon


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (trees.RADEON, {"amdgpu hwmon3 PPT": ("gpu_board", "power")}),
        (trees.RADEON_NEW, {"amdgpu hwmon3 PPT": ("gpu_board", "power")}),
        (trees.APU, {"amdgpu hwmon2 PPT": ("soc", "power")}),  # the processor is in it
        (trees.ARC_XE, {"xe hwmon4 card": ("gpu_board", "counter"), "xe hwmon4 pkg": ("gpu_die", "counter")}),
        (trees.ARC_I915, {"i915 hwmon4": ("gpu_board", "counter")}),
        (trees.ZENPOWER, {"zenpower hwmon1 SVI2_P_Core": ("cpu_core", "power")}),
        (trees.EPYC_OLD, {"amd_energy hwmon6 Esocket0": ("cpu_package", "counter")}),
        (trees.JETSON, {"INA3221 VDD_IN": ("soc", "power")}),
        (trees.SERVER, {"power_meter hwmon0": ("system_ac", "power")}),
        (trees.DISK, {}),
    ],
)
def test_sensors_by_their_driver(tmp_path: Path, tree: dict[str, str], expected: dict[str, tuple[str, str]]) -> None:
    sources = found(tmp_path, tree)
    assert {name: (source.scope, source.method) for name, source in sources.items()} == expected
    assert all(source.readable for source in sources.values())


def test_the_parts_of_a_card_and_of_a_package_overlap(tmp_path: Path) -> None:
    assert adds_up(found(tmp_path / "xe", trees.ARC_XE)) == {"xe hwmon4 card"}
    assert adds_up(found(tmp_path / "zen", trees.ZENPOWER | trees.AMD_DESKTOP)) == {"RAPL package-0"}


def test_a_power_beyond_reason_is_not_readable(tmp_path: Path) -> None:
    (source,) = found(tmp_path, trees.hwmon(3, "amdgpu", power1_average=str(10**15))).values()
    assert not source.readable


def test_nvidia_is_taken_from_its_device() -> None:
    gpus = (
        Device(kind="cuda:0", name="RTX 4090", energy_method="counter"),
        Device(kind="cuda:1", name="GTX 1080", energy_method="power"),
        Device(kind="cuda:2", name="GRID"),
        Device(kind="rocm:0", name="RX 7900"),
    )
    first, second, third = energy_sources.sources(Path("/nonexistent"), gpus)
    assert (first.name, first.scope, first.method, first.because) == ("NVML cuda:0", "gpu_board", "counter", "")
    assert (second.method, second.readable) == ("power", True)
    assert not third.readable
    assert "neither energy nor power" in third.because


# ------------------------------------------------------------------------------------- batteries and mains


@pytest.mark.parametrize(
    ("tree", "supply", "readable"),
    [
        (trees.AWAY, "battery", True),
        (trees.BY_CHARGE, "battery", True),
        (trees.DOCKED, "mains", False),
        (trees.FULL, "mains", False),
        (trees.battery("Not charging"), "mains", False),
        (trees.battery() | trees.plug("1"), "mains", False),  # a plug too weak: still not the battery alone
        (trees.battery(power_now="0"), "battery", False),
        (trees.battery(power_now=""), "battery", False),
        (trees.battery("Unknown"), None, False),
        (trees.battery("\x00nonsense"), None, False),
        (trees.AWAY | trees.MOUSE, "battery", True),
    ],
)
def test_a_battery_tells_power_only_while_it_feeds_the_machine(
    tmp_path: Path, tree: dict[str, str], supply: str | None, readable: bool
) -> None:
    root = plant(tmp_path, tree)
    assert power_supply.supply(root) == supply
    (source,) = energy_sources.sources(root)
    assert (source.name, source.scope, source.method) == ("battery BAT0", "system_dc", "power")
    assert source.readable is readable
    assert bool(source.because) is not readable


@pytest.mark.parametrize("tree", [{}, trees.MOUSE, trees.plug("0", "ucsi-source-psy-USBC000:001", "USB")])
def test_a_machine_without_a_battery(tmp_path: Path, tree: dict[str, str]) -> None:
    assert power_supply.supply(plant(tmp_path, tree)) is None
    assert energy_sources.sources(tmp_path) == ()


def test_an_empty_bay_is_no_battery(tmp_path: Path) -> None:
    assert found(tmp_path, trees.battery("Unknown", present="0") | trees.plug("1")) == {}
    assert power_supply.supply(tmp_path) == "mains"


def test_here_nothing_raises_and_every_obstacle_has_a_reason() -> None:
    assert power_supply.supply() in {"mains", "battery", None}
    for source in energy_sources.sources():
        assert source.readable or source.because


def test_a_mac_without_the_package_that_reads_its_counters_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    source = energy_sources.sources()[-1]
    assert (source.name, source.scope, source.readable) == ("IOReport", "soc", False)
    assert source.because == f"needs the package that reads IOReport: {source.grant}"
    assert source.grant == "pip install zeus-apple-silicon"


EVERYTHING = {
    **trees.LAPTOP, **trees.perf(0), **trees.ARC_XE, **trees.JETSON, **trees.EPYC_OLD, **trees.APU,
    **trees.AWAY, **trees.MOUSE,
}  # fmt: skip


@settings(deadline=None)  # files on a busy machine
@given(st.dictionaries(st.sampled_from(sorted(EVERYTHING)), st.binary(max_size=80), min_size=1, max_size=6))
def test_garbage_in_any_file_never_raises_and_never_counts(
    tmp_path_factory: pytest.TempPathFactory, damage: dict[str, bytes]
) -> None:
    root = plant(tmp_path_factory.mktemp("tree"), EVERYTHING)
    for name, raw in damage.items():
        (root / name).write_bytes(raw)
    for source in energy_sources.sources(root):
        assert source.readable or source.because
        assert f"{source.name}{source.because}".isprintable()
        assert len(source.name) < 200
    assert power_supply.supply(root) in {"mains", "battery", None}
