"""A machine of a few words: what is taken for what, what is assumed, and what cannot be."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phibench.catalog import hardware
from phibench.catalog.hardware.names import reading
from phibench.catalog.hardware.usual import differ_in_memory_alone, reasons, usual
from phibench.core.errors import BAD_INPUT, PhibenchError
from phibench.machine import ram
from phibench.machine.asked import ON_BATTERY, counted, described

GIB = 1 << 30


def kinds(gpu: str | None, cpu: str, ram: str | None = None, os: str | None = None) -> list[str]:
    return [device.kind for device in described(gpu, cpu, ram, os).machine.devices]


# ------------------------------------------------------------------------------------------- parts together


def test_a_gpu_alone_or_a_processor_alone_is_enough() -> None:
    card = described(gpu="rtx 4060 laptop")
    assert card.machine.devices[1].memory_bytes == 8 * GIB
    for word in ("processor: Core i7-12700H", "16 GiB memory", "Linux"):
        assert word in " ".join(card.assumed)
    host = described(cpu="Intel(R) Core(TM) i7-1260P CPU @ 2.10GHz")
    assert [device.kind for device in host.machine.devices] == ["cpu", "vulkan:0"]


def test_what_is_told_is_taken() -> None:
    made = described("2x RTX 3090", "Ryzen 9 5950X", "64GB", "Windows", "mains")
    assert [device.kind for device in made.machine.devices] == ["cpu", "cuda:0", "cuda:1"]
    assert (made.machine.memory_bytes, made.machine.os, made.machine.power) == (64 * GIB, "windows", "mains")
    assert made.machine.name == "Ryzen 9 5950X with 2x RTX 3090"
    assert not any("Linux" in said or "processor" in said for said in made.assumed)


def test_without_a_gpu() -> None:
    assert kinds("none", "Core i7-1260P") == ["cpu"]
    with pytest.raises(PhibenchError, match="needs the name of its processor"):
        described(gpu="none")
    with pytest.raises(PhibenchError, match="needs the name of its processor or GPU"):
        described()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2x RTX 3090", (2, "RTX 3090")), ("2 x RTX 3090", (2, "RTX 3090")), ("RTX 3090 x2", (2, "RTX 3090")),
        ("RTX 3090 (x4)", (4, "RTX 3090")), ("8×H100", (8, "H100")), ("GeForce MX450", (1, "GeForce MX450")),
        ("RTX 3090", (1, "RTX 3090")), ("", (1, "")),
    ],
)  # fmt: skip
def test_several_equal_cards(text: str, expected: tuple[int, str]) -> None:
    assert counted(text) == expected


@pytest.mark.parametrize("text", ["0x RTX 3090", "99x RTX 3090"])
def test_no_machine_has_so_many_cards(text: str) -> None:
    with pytest.raises(PhibenchError, match="1 to 16 GPUs"):
        described(gpu=text)


def test_on_battery_no_speed_is_invented() -> None:
    mains, battery = (described(cpu="Core i7-1260P", power=power) for power in ("mains", "battery"))
    assert battery.machine.power == "battery"
    assert battery.assumed == (*mains.assumed, ON_BATTERY)
    assert battery.machine.devices == mains.machine.devices


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"gpu": "RTX 4061"}, "unknown hardware 'RTX 4061'; nearest: "),
        ({"gpu": "Core i7-1260P"}, "'Core i7-1260P' is not a GPU but a processor"),
        ({"cpu": "RTX 4060"}, "'RTX 4060' is not a processor but a GPU"),
        ({"cpu": "Apple M2", "gpu": "RTX 4060"}, "takes no 'RTX 4060'"),
        ({"cpu": "Core i7-1260P", "gpu": "Apple M2"}, "takes no 'Core i7-1260P'"),
        ({"cpu": "Apple M2", "os": "windows"}, "does not run Windows but macOS or Linux"),
        ({"cpu": "Ryzen 7 7840U", "os": "macos"}, "does not run macOS"),
        ({"gpu": "RTX 4060", "os": "android"}, "does not run Android"),
        ({"cpu": "A17 Pro", "os": "android"}, "does not run Android but iOS"),
        ({"cpu": "Core i7-1260P", "os": "windos"}, "unknown system 'windos'; did you mean 'windows'?"),
        ({"cpu": "Core i7-1260P", "power": "solar"}, "unknown power 'solar'"),
        ({"cpu": "Core i7-1260P", "ram": "much"}, "'much' is not a memory size; write 16GiB"),
        ({"cpu": "Core i7-1260P", "ram": "3 kB"}, "is not the memory of a machine"),
        ({"gpu": "A100 80 GB"}, "is sold in 2 versions: write"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(words: dict[str, str], said: str) -> None:
    with pytest.raises(PhibenchError) as caught:
        described(words.get("gpu"), words.get("cpu"), words.get("ram"), words.get("os"), words.get("power"))
    assert said in str(caught.value)
    assert caught.value.exit_code == BAD_INPUT
    assert "\n" not in str(caught.value)


def test_an_unknown_name_is_told_the_nearest_three() -> None:
    with pytest.raises(PhibenchError) as caught:
        described(gpu="RTX 4065")
    assert str(caught.value).count("'RTX ") == 4


def test_systems_where_nothing_is_said() -> None:
    assert described(cpu="Apple M2").machine.os == "macos"
    assert described(cpu="Snapdragon X Elite X1E-80-100").machine.os == "windows"
    assert described(gpu="RTX 4090").machine.os == "linux"
    assert described(cpu="Snapdragon 8 Gen 3").machine.os == "android"


def test_an_intel_mac_has_a_processor_alone() -> None:
    assert kinds(None, "Core i7-8700", None, "macos") == ["cpu"]
    assert kinds(None, "Apple M2", None, "linux") == ["cpu"]


def test_memory_chooses_among_the_versions_of_a_chip() -> None:
    assert described(cpu="Apple M3 Max", ram="128GiB").machine.name == "Apple M3 Max (40-core GPU)"
    assert described(cpu="Apple M3 Max", ram="36GiB").machine.name == "Apple M3 Max (30-core GPU)"
    assert described(cpu="Jetson AGX Orin", ram="64").machine.name == "Jetson AGX Orin 64GB"
    assert described(cpu="Apple M3 Max", gpu="Apple M3 Max 40-core GPU").machine.name == "Apple M3 Max (40-core GPU)"


def test_a_container_may_use_a_part() -> None:
    made = described("none", "EPYC 7543", "4GiB", "linux", cpus=2).machine
    assert (made.limits.cpus, made.limits.threads, made.physical_cores) == (2, 2, 32)
    assert made.processor is not None
    assert made.processor.container
    assert described(cpu="EPYC 7543", cpus=0.5).machine.limits.threads == 1
    with pytest.raises(PhibenchError, match="99 CPUs"):
        described(cpu="Core i7-1260P", cpus=99)


# ------------------------------------------------------------------------------------------- the usual size


def test_a_name_of_two_sizes_takes_the_commoner_and_says_so() -> None:
    usual_one, other = described(gpu="RTX 3060"), described(gpu="RTX 3060 8GB")
    assert usual_one.machine.devices[1].memory_bytes == 12 * GIB
    assert "RTX 3060 12 GB, not RTX 3060 8 GB: launched first" in " ".join(usual_one.assumed)
    assert other.machine.devices[1].memory_bytes == 8 * GIB
    assert "RTX 3060" not in " ".join(other.assumed)


def test_every_name_of_several_sizes_has_a_usual_one() -> None:
    cards = [row for row in hardware.rows() if row.kind.startswith("gpu")]
    by_name: dict[object, list[str]] = {}
    for row in cards:
        name = reading(row.name.lower())
        by_name.setdefault((name.key, name.told), []).append(row.name)
    several = {names[0]: names for names in by_name.values() if len(names) > 1}
    assert len(several) > 20
    for names in several.values():
        assert len(set(names) & set(reasons())) == 1, names
    found = {name for names in several.values() for name in names}
    assert set(reasons()) <= found


def test_no_other_difference_is_taken_for_one_of_memory() -> None:
    for name in ("A100 80 GB", "H100", "MX450", "Apple M3 Max", "Jetson AGX Orin", "RTX 4090", "nothing"):
        assert usual(hardware.versions(name)) is None, name
    assert differ_in_memory_alone(hardware.versions("RTX A2000"))


# --------------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize(
    "text",
    ["16GiB", "16GB", "16 gb", "16G", "16", "16.0 GB", "16,0 GB", "16384 MB", "16384MiB", "16,384 MB", "16.384 MB",
     "16 384 Mo", "16384", "16 Go", "16777216 KB", "16777216", "17179869184", "17,179,869,184 bytes", "2x8GB",
     "2 x 8 GB DDR4", "8 GB + 8 GB", "16 GB (2 x 8 GB)", "16 GB DDR5-5600", "DDR4 16GB", "RAM: 16 GB", "16.00 GiB"],
)  # fmt: skip
def test_memory_as_people_write_it(text: str) -> None:
    assert ram.ram_bytes(text) == 16 * GIB


@pytest.mark.parametrize(
    ("text", "unit", "gib"),
    [("16", "g", 16), ("16384", "m", 16), ("17179869184", "b", 16), ("2048", "m", 2), ("2048", "g", 2048),
     ("1.5", "t", 1536), ("32 GB", "m", 32)],
)  # fmt: skip
def test_a_column_says_the_unit_of_its_numbers(text: str, unit: str, gib: int) -> None:
    assert ram.ram_bytes(text, unit) == gib * GIB


@pytest.mark.parametrize(
    ("shown", "sold"),
    [("15.9 GB", 16), ("15,7 GB", 16), ("15.4 GB", 16), ("15 GB", 16), ("7.8 GB", 8), ("31.8 GB", 32), ("63.9", 64),
     ("17.18 GB", 16), ("34.36 GB", 32), ("14.9 GB", 16), ("16 GB", 16), ("18 GB", 18), ("24 GB", 24), ("36 GB", 36),
     ("20 GB", 20), ("16278 MB", 16), ("10 GB", 10)],
)  # fmt: skip
def test_what_a_system_shows_is_what_is_fitted(shown: str, sold: int) -> None:
    assert ram.as_sold(ram.ram_bytes(shown)) == sold * GIB


@pytest.mark.parametrize(
    "text", ["", "GB", "a lot", "-8 GB", "0", "0 GB", "1e9", "16 GB + much", "9" * 400, "99999 TB"]
)
def test_what_is_no_memory(text: str) -> None:
    with pytest.raises(PhibenchError):
        ram.ram_bytes(text)


@given(st.text(max_size=50), st.sampled_from(["", "k", "m", "g", "t", "b"]))
def test_any_text_is_a_size_or_one_error(text: str, unit: str) -> None:
    with contextlib.suppress(PhibenchError):
        found = ram.ram_bytes(text, unit)
        assert ram.LEAST_BYTES <= found <= ram.MOST_BYTES
        assert ram.as_sold(found) >= found * 0.9


def test_a_gpu_is_nearest_to_gpus_and_a_processor_to_processors() -> None:
    with pytest.raises(PhibenchError, match="nearest: 'Core ") as caught:
        described(cpu="Core i5-4460")
    assert "RTX" not in str(caught.value)
    with pytest.raises(PhibenchError) as caught:
        described(cpu="Celeron N4000")
    assert "RTX" not in str(caught.value)
