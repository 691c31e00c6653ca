"""The table of devices: every row is plausible, and every name that a tool prints finds its row or none."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phibench.catalog import hardware
from phibench.core.errors import BAD_INPUT, PhibenchError
from phibench.core.nouns import Hardware
from phibench.core.nouns.instructions import INSTRUCTION_SETS

GIB = 1 << 30
ROWS = hardware.rows()
SHARING = ("igpu", "soc", "phone", "sbc", "npu")


# Makers whose name in front of a device's says nothing; a board's maker is a part of its name.
MAKERS = ("NVIDIA", "AMD", "Intel", "Apple", "Qualcomm", "MediaTek", "Samsung", "Google", "AWS", "Microsoft")


def made_by(row: Hardware) -> str:
    return row.vendor if row.vendor in MAKERS else ""


# --------------------------------------------------------------------------------------------- each row


def test_every_row_has_the_units_of_its_columns() -> None:
    for row in ROWS:
        check_units(row)


def check_units(row: Hardware) -> None:
    """A figure in the wrong unit lies outside of what any device of the last 15 years has."""
    assert msgspec.convert(msgspec.to_builtins(row), Hardware) == row, row.name
    assert row.name.strip() == row.name
    assert row.vendor, row.name
    assert len(row.source) >= 20, row.name
    ranges = {
        "memory_bytes": (1 * GIB, 512 * GIB),
        "read_bytes_s": (10e9, 10e12),
        "fp16_flops_s": (50e9, 3e15),
        "int8_ops_s": (0.5e12, 6e15),
        "tdp_w": (4, 1500),
        "base_hz": (1e9, 5e9),
        "boost_hz": (1.5e9, 6.5e9),
        "memory_channels": (1, 12),
        "memory_transfers_s": (1600e6, 12000e6),
        "l3_bytes": (3 << 20, 1200 << 20),
        "npu_ops_s": (5e12, 100e12),
    }
    for field, (least, most) in ranges.items():
        value = getattr(row, field)
        assert value is None or least <= value <= most, f"{row.name}: {field} = {value}"


def test_the_figures_of_every_row_go_together() -> None:
    for row in ROWS:
        check_sense(row)


def check_sense(row: Hardware) -> None:
    if row.memory_channels and row.memory_transfers_s and row.read_bytes_s:
        assert row.read_bytes_s == pytest.approx(row.memory_channels * row.memory_transfers_s * 8, rel=0.01), row.name
    if row.fp16_flops_s and row.tdp_w:
        assert row.fp16_flops_s / row.tdp_w <= 2.5e12, f"{row.name}: more than any device; sparse?"
    if row.fp16_flops_s and row.int8_ops_s:
        assert 0.49 <= row.int8_ops_s / row.fp16_flops_s <= 4.1, row.name
    if row.threads and row.cores:
        assert row.cores <= row.threads <= 2 * row.cores, row.name
    if row.base_hz and row.boost_hz:
        assert row.base_hz <= row.boost_hz, row.name
    assert set(row.instruction_sets) <= {one.linux for one in INSTRUCTION_SETS}, row.name
    assert row.shares_memory == (row.kind in SHARING), row.name
    if row.graphics:
        own = hardware.find(row.graphics) or hardware.agreed(hardware.versions(row.graphics))
        assert own is not None, row.name
        assert own.kind == "igpu", row.name


def test_every_row_is_found_by_its_own_name() -> None:
    for row in ROWS:
        for name in (row.name, row.name.upper(), f"{made_by(row)} {row.name}", row.name.replace(" ", "-")):
            assert hardware.find(name) == row, name


def test_no_two_rows_have_one_name() -> None:
    names = [re.sub(r"\W", "", row.name.lower()) for row in ROWS]
    assert len(set(names)) == len(names) > 600


def test_a_column_is_known_and_none_is_empty() -> None:
    fields = {field for field, _ in hardware.COLUMNS.values()}
    assert fields == set(Hardware.__struct_fields__) - {"told_bytes"}
    for field in fields:
        assert any(getattr(row, field) not in (None, "", ()) for row in ROWS), field


@pytest.mark.parametrize(
    "words",
    ["phone", "apple-m1", "apple-m5", "snapdragon-x", "lunar|140v", "8060s", "gb10", "jetson", "raspberry", "gtx 1060",
     "rtx 5090", "radeon rx 9070", "arc b580", "h100", "mi300x", "core i5-8250u", "ryzen 7 5700g", "epyc 9654"],
)  # fmt: skip
def test_what_people_own_is_there(words: str) -> None:
    said = [f"{row.name} {row.kind} {row.architecture}".lower() for row in ROWS]
    assert any(re.search(words, one) for one in said)


# ------------------------------------------------------------------------------------- names of tools

PRINTED = {
    # lspci
    "NVIDIA Corporation GA104 [GeForce RTX 3070 Lite Hash Rate]": "RTX 3070",
    "01:00.0 VGA compatible controller: NVIDIA Corporation AD107M [GeForce RTX 4060 Max-Q / Mobile] (rev a1)":
        "RTX 4060 Laptop",
    "3b:00.0 3D controller [0302]: NVIDIA Corporation TU104GL [Tesla T4] [10de:1eb8] (rev a1)": "Tesla T4",
    "Intel Corporation AlderLake-S GT1 [UHD Graphics 770]": "UHD Graphics 770 (Core 12th-14th desktop)",
    # NVML
    "NVIDIA GeForce RTX 4090": "RTX 4090",
    "NVIDIA GeForce RTX 4060 Laptop GPU": "RTX 4060 Laptop",
    "NVIDIA GeForce RTX 2070 with Max-Q Design": "RTX 2070 Laptop Max-Q",
    "NVIDIA A100-SXM4-80GB": "A100 SXM4 80 GB",
    "NVIDIA A100 80GB PCIe": "A100 PCIe 80 GB",
    "Tesla V100-SXM2-16GB": "Tesla V100 SXM2 16 GB",
    "NVIDIA H100 80GB HBM3": "H100 SXM5 80 GB",
    "NVIDIA GB10": "DGX Spark (GB10)",
    "NVIDIA RTX 2000 Ada Generation Laptop GPU": "RTX 2000 Ada Laptop",
    "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition": "RTX PRO 6000 Blackwell Max-Q",
    "NVIDIA A16": "A16 (one of the four GPUs of a card)",
    # Vulkan, OpenGL, wmic
    "AMD Radeon RX 7900 XTX (RADV NAVI31)": "Radeon RX 7900 XTX",
    "NVIDIA GeForce RTX 3070/PCIe/SSE2": "RTX 3070",
    "AMD Radeon(TM) 780M Graphics": "Radeon 780M",
    "AMD Radeon(TM) 8060S Graphics": "Radeon 8060S (Ryzen AI Max+ 395)",
    "Intel(R) Arc(TM) B580 Graphics": "Arc B580",
    "Intel(R) Arc(TM) 140V GPU (16GB)": "Arc 140V (Core Ultra 200V)",
    # /proc/cpuinfo, the registry, sysctl
    "13th Gen Intel(R) Core(TM) i7-1360P": "Core i7-1360P",
    "Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz": "Core i5-8250U",
    "Intel(R) Core(TM) Ultra 7 155H": "Core Ultra 7 155H",
    "Intel(R) Xeon(R) Platinum 8480+": "Xeon Platinum 8480+",
    "Intel(R) Xeon(R) CPU Max 9480": "Xeon CPU Max 9480",
    "AMD Ryzen 9 7950X 16-Core Processor": "Ryzen 9 7950X",
    "AMD Ryzen AI MAX+ 395 w/ Radeon 8060S": "Ryzen AI Max+ 395",
    "AMD Ryzen 7 5700G with Radeon Graphics": "Ryzen 7 5700G",
    "AMD Ryzen Threadripper PRO 5995WX 64-Cores": "Ryzen Threadripper PRO 5995WX",
    "AMD EPYC 7763 64-Core Processor": "EPYC 7763",
    "Snapdragon(R) X Elite - X1E80100 - Qualcomm(R) Oryon(TM) CPU": "Snapdragon X Elite X1E-80-100",
    "Snapdragon(R) X 12-core X1E80100 @ 3.40 GHz": "Snapdragon X Elite X1E-80-100",
    "8 x Cobalt 100": "Azure Cobalt 100",
    "Raspberry Pi 5 Model B Rev 1.0 (4 x Cortex-A76)": "Raspberry Pi 5",
    "AMD Custom APU 0405": "Steam Deck LCD",
    # people
    "rtx4090": "RTX 4090",
    "geforce rtx-4060-ti 16gb": "RTX 4060 Ti 16 GB",
    "i7-1360p": "Core i7-1360P",
    "Ryzen AI Max 395": "Ryzen AI Max+ 395",
    "M3 Max 40-core GPU": "Apple M3 Max (40-core GPU)",
    "Apple M4 Max (14-core CPU)": "Apple M4 Max (32-core GPU)",
}  # fmt: skip


@pytest.mark.parametrize(("printed", "name"), PRINTED.items())
def test_a_name_that_a_tool_prints_finds_its_row(printed: str, name: str) -> None:
    assert [row.name for row in hardware.versions(printed)] == [name]


@pytest.mark.parametrize(
    "printed",
    ["", "AMD EPYC Processor", "AMD EPYC-Milan Processor", "Intel Xeon Processor (Icelake)", "QEMU Virtual CPU",
     "NVIDIA RTX Spark N1X", "AMD Radeon Graphics", "llvmpipe (LLVM 19.1.1, 256 bits)", "64 x Neoverse-V1", "Apple M9",
     "NVIDIA GeForce GTX TITAN X", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "GRID A100-4C", "RTX 3060 10GB", "Orin (nvgpu)",
     "RTX 40", "Ryzen 9", "Intel RTX 4090",
     "Apple M1 (Virtual)"],
)  # fmt: skip
def test_what_nobody_knows_finds_nothing(printed: str) -> None:
    assert hardware.versions(printed) == ()
    assert hardware.find(printed) is None


@pytest.mark.parametrize("spelling", ["rtx3060", "RTX 3060", "NVIDIA GeForce RTX 3060", "GeForce RTX-3060 Graphics"])
def test_a_card_sold_with_two_memory_sizes_is_not_guessed(spelling: str) -> None:
    assert hardware.find(spelling) is None
    with pytest.raises(PhibenchError, match="'RTX 3060 8 GB' or 'RTX 3060 12 GB'") as caught:
        hardware.named(spelling)
    assert caught.value.exit_code == BAD_INPUT
    for gib in (8, 12):
        found = hardware.named(f"{spelling} {gib}GB")
        assert found.memory_bytes == gib * GIB
        assert hardware.find(spelling, gib * GIB * 0.99) == found


def test_what_a_driver_says_of_memory_chooses_among_the_names_that_lspci_lists() -> None:
    listed = "Advanced Micro Devices, Inc. [AMD/ATI] Navi 31 [Radeon RX 7900 XT/7900 XTX/7900 GRE/7900M] (rev c8)"
    assert hardware.find(listed) is None
    found = hardware.find(listed, 24 * GIB)
    assert found is not None
    assert found.name == "Radeon RX 7900 XTX"
    assert hardware.find("Tesla T4", 15109 << 20) is not None  # with ECC
    assert hardware.find("Tesla T4", 8 * GIB) is None  # a part of one


def test_cores_choose_between_apples_versions() -> None:
    assert hardware.find("Apple M3 Max") is None
    for cores, rate in ((14, 300e9), (16, 400e9)):
        found = hardware.find("Apple M3 Max", cores=cores)
        assert found is not None
        assert found.read_bytes_s == rate
    both = hardware.agreed(hardware.versions("Apple M1 Max"))
    assert both is not None
    assert (both.read_bytes_s, both.fp16_flops_s) == (400e9, None)
    assert hardware.agreed(hardware.versions("")) is None


def test_a_name_tells_the_memory_of_one_machine() -> None:
    pi = hardware.named("Raspberry Pi 5 8GB")
    assert (pi.name, pi.told_bytes, pi.memory_bytes) == ("Raspberry Pi 5", 8 * GIB, 16 * GIB)
    assert hardware.find("Raspberry Pi 5 32GB") is None
    slow = hardware.named("Core i5-12400 (2x DDR4-3200)")
    assert slow.read_bytes_s == 51.2e9
    assert hardware.named("Core i5-12400").read_bytes_s == 76.8e9


def test_an_unknown_name_is_told_the_nearest_three() -> None:
    with pytest.raises(PhibenchError, match="'Ryzen 9 7950X'") as caught:
        hardware.named("Ryzen 9 7951X")
    assert caught.value.exit_code == BAD_INPUT
    assert str(caught.value).count("'") == 2 * (1 + 3 + 1)  # the name, three others, the command
    assert len(str(hardware.unknown("x" * 100_000))) < 400


@pytest.mark.parametrize("name", ["8 GB card", "8GB", "my 8 GiB GPU", "a laptop with 8 GB of VRAM", "NVIDIA 8 GB"])
def test_of_a_size_of_memory_devices_that_have_it_are_told(name: str) -> None:
    said = str(hardware.unknown(name, ("gpu-desktop", "gpu-laptop")))
    assert "says how much memory, not which device" in said
    examples = said.partition("such as ")[2].partition(";")[0].split(", ")
    assert len(examples) == 3
    rows = [hardware.named(one, 8 * GIB) for one in examples]
    assert all(row.memory_bytes == 8 * GIB and not row.shares_memory for row in rows)
    assert rows == sorted(rows, key=lambda row: row.read_bytes_s or 0)


def test_a_size_that_no_card_has_and_a_name_with_a_size_are_told_apart() -> None:
    assert "no such card has that much" in str(hardware.unknown("9 GB"))
    assert "'RTX 4080'" in str(hardware.unknown("RTX 4080 9 GB"))


def test_the_maker_of_a_size_is_minded_and_a_processor_has_none() -> None:
    said = str(hardware.unknown("AMD 16GB", ("gpu-desktop", "gpu-laptop")))
    examples = said.partition("such as ")[2].partition(";")[0].split(", ")
    assert {hardware.named(one, 16 * GIB).vendor for one in examples} == {"AMD"}
    assert "--ram 16GiB" in str(hardware.unknown("16 GB", ("cpu", "soc")))


@pytest.mark.parametrize(
    ("name", "first"),
    [("Radeon RX", "Radeon RX"), ("NVIDIA GeForce", ""), ("AMD Radeon(TM) Graphics", "Radeon"), ("rtx 40", "RTX 40")],
)
def test_what_begins_many_names_is_told_some_of_them(name: str, first: str) -> None:
    said = str(hardware.unknown(name, ("gpu-desktop", "gpu-laptop")))
    assert said.startswith(f"'{name}' fits ")
    examples = said.partition("such as ")[2].partition(":")[0].split(", ")
    assert len(examples) == 3
    assert all(hardware.named(one).name == one and one.startswith(first) for one in examples)


@pytest.mark.parametrize("name", ["0 GB", "NaN GB", "10 To", "a", "RTX", "gpu", "24"])
def test_letters_inside_words_are_no_part_of_a_name(name: str) -> None:
    """Seen: "RTX A" stood in 130 names, since any "a" counted, and "0 GB" in 62."""
    said = str(hardware.unknown(f"{name} zebra"))
    assert said.startswith("unknown hardware")
    assert " fits " not in str(hardware.unknown("10 To"))


# --------------------------------------------------------------------------------------- any spelling

DRESSES = st.sampled_from(["{}", "{} ", " {}", "{} Graphics", "{} Processor", "{} GPU", "{} (rev a1)", "{} @ 3.60GHz"])


@st.composite
def spelled(draw: st.DrawFn) -> tuple[Hardware, str]:
    """A row, and its name as somebody might write it."""
    row = draw(st.sampled_from(ROWS))
    words = row.name.split()
    words = [draw(st.sampled_from([word, word.lower(), word.upper()])) for word in words]
    marks = [word + draw(st.sampled_from(["", "", "(R)", "(TM)", "®"])) if word.isalpha() else word for word in words]
    name = draw(st.sampled_from([" ", "  ", "\t"])).join(marks)
    maker = draw(st.sampled_from(["", made_by(row), f"{made_by(row)} Corporation"]))
    return row, draw(DRESSES).format(f"{maker} {name}".strip())


@given(spelled())
def test_case_makers_marks_and_what_stands_around_do_not_matter(case: tuple[Hardware, str]) -> None:
    row, name = case
    assert [found.name for found in hardware.versions(name)] == [found.name for found in hardware.versions(row.name)]


@given(st.sampled_from(ROWS), st.sampled_from(["", "-", "_", " - "]))
def test_what_stands_between_words_does_not_matter(row: Hardware, between: str) -> None:
    assert hardware.find(between.join(row.name.split())) == row


# A code of Qualcomm's names its part whatever stands beside it.
WORDS = [word for row in ROWS for word in row.name.split() if not re.match(r"X[12][EP]?-?\d", word)]


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join))
def test_a_name_never_finds_a_row_of_another_model(name: str) -> None:
    """Every number of three digits and more in the name, but for what explains it, is one of the row's."""
    said = re.sub(r"\([^)]*\)?|\b\d+ ?(GB|G|W)\b|\d+-core", "", name)
    numbers = re.findall(r"\d{3,}", re.sub(r"[^\w ]", "", said))
    for row in hardware.versions(name):
        own = [re.sub(r"\W", "", one) for one in (row.name, *row.also)]
        assert all(any(number in one for one in own) for number in numbers), row.name


@given(st.text(max_size=400))
def test_no_text_is_too_much(name: str) -> None:
    for row in hardware.versions(name):
        assert row.name


@pytest.mark.parametrize(
    ("says", "architecture"),
    [
        (r" Ada\b", "ada"), (r"^RTX 40[5-9]0", "ada"),
        (r"Blackwell|^RTX 50[5-9]0", "blackwell"), (r"^RTX A\d", "ampere"),
        (r"^RTX 30[5-9]0", "ampere"), (r"^Quadro RTX|^RTX 20[6-8]0", "turing"), (r"^GTX 10\d0", "pascal"),
        (r"^H[12]00", "hopper"), (r"RX 9\d\d0", "rdna4"), (r"RX 7\d\d0", "rdna3"), (r"RX 6\d\d0", "rdna2"),
        (r"Arc A\d", "alchemist"), (r"Arc B[57]\d", "battlemage"), (r"^Apple M4", "apple-m4"),
    ],
)  # fmt: skip
def test_a_name_that_says_its_generation_has_it(says: str, architecture: str) -> None:
    """Numbers alone do not: an RTX 5000 Ada is none of the RTX 50 series, nor is a Quadro RTX 5000."""
    named = [row for row in ROWS if re.search(says, row.name) and row.kind.startswith(("gpu", "soc"))]
    assert named
    assert {row.architecture for row in named} == {architecture}
