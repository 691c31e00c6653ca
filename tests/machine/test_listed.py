"""Lists of machines as inventories write them: encodings, separators, titles, spellings, and what is no list."""

from __future__ import annotations

import contextlib
import csv
import io
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phibench.core.errors import BAD_INPUT, PhibenchError
from phibench.machine import list_file, listed
from phibench.machine.list_file import Row
from phibench.machine.listed import Listed

GIB = 1 << 30


def of(cpu: str = "", gpu: str = "", ram: str = "", os: str = "", unit: str = "") -> Listed:
    return listed.understood(Row(2, "pc", cpu, gpu, ram, os, unit))


def name_of(found: Listed) -> str:
    assert found.described is not None, found.why
    return found.described.machine.name


# ------------------------------------------------------------------------------------------------- spellings

PROCESSORS = {
    "Intel(R) Core(TM) i7-1260P CPU @ 2.10GHz": "Core i7-1260P",
    "12th Gen Intel(R) Core(TM) i7-1260P": "Core i7-1260P",
    "12th Gen Intel(R) Core(TM) i7-1260P (16 CPUs), ~2.1GHz": "Core i7-1260P",
    "Intel Core i7 1260P": "Core i7-1260P",
    "i7-1260p": "Core i7-1260P",
    "Intel® Core™ i7-1260P Processor": "Core i7-1260P",
    "Intel(R) Core(TM) i5-1235U, 1300 MHz, 10 Core(s), 12 Logical Processor(s)": "Core i5-1235U",
    "Intel Core i5-1235U 1.30GHz": "Core i5-1235U",
    "Intel Core i5-1235U (10C/12T)": "Core i5-1235U",
    "Intel Core i5-1235U 10 cores, 1.3 GHz": "Core i5-1235U",
    "11th Gen Intel(R) Core(TM) i5-1135G7 @ 2.40GHz": "Core i5-1135G7",
    "Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz": "Core i5-8250U",
    "Intel(R) Core(TM) Ultra 7 155H": "Core Ultra 7 155H",
    "Intel Core Ultra 7 258V": "Core Ultra 7 258V",
    "Intel(R) N100": "Intel N100",
    "AMD Ryzen 7 5700U with Radeon Graphics": "Ryzen 7 5700U",
    "AMD Ryzen 7 5700U with Radeon Graphics         ": "Ryzen 7 5700U",
    "AMD Ryzen 5 5600 6-Core Processor             ": "Ryzen 5 5600",
    "AMD Ryzen 9 5950X 16-Core Processor, 3401 MHz, 16 Core(s), 32 Logical Processor(s)": "Ryzen 9 5950X",
    "AMD Ryzen AI 9 HX 370 w/ Radeon 890M": "Ryzen AI 9 HX 370",
    "AMD EPYC 7763 64-Core Processor": "EPYC 7763",
    "2x AMD EPYC 7763": "EPYC 7763",
    "AMD EPYC 7763; AMD EPYC 7763": "EPYC 7763",
    "2 x Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz": "Xeon Gold 6248",
    "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz": "Xeon Gold 6248",
    "Intel(R) Xeon(R) Platinum 8480+": "Xeon Platinum 8480+",
    "Apple M1": "Apple M1 (7-core GPU)",
    "Apple M4 Pro": "Apple M4 Pro (16-core GPU)",
    "apple m3 max": "Apple M3 Max (30-core GPU)",
    "Snapdragon(R) X Elite - X1E80100 - Qualcomm(R) Oryon(TM) CPU": "Snapdragon X Elite X1E-80-100",
    "Raspberry Pi 5 Model B Rev 1.0": "Raspberry Pi 5",
}
CARDS = {
    "NVIDIA GeForce RTX 4060 Laptop GPU": "RTX 4060 Laptop",
    "GeForce RTX4060 Laptop": "RTX 4060 Laptop",
    "NVIDIA Corporation AD107M [GeForce RTX 4060 Max-Q / Mobile] (rev a1)": "RTX 4060 Laptop",
    "NVIDIA GeForce RTX 3060": "RTX 3060 12 GB",
    "NVIDIA GeForce RTX 3060 (12 GB)": "RTX 3060 12 GB",
    "NVIDIA GeForce RTX 3060 12288 MB": "RTX 3060 12 GB",
    "RTX 3060, 8 GB": "RTX 3060 8 GB",
    "NVIDIA RTX A2000 12GB": "RTX A2000 12 GB",
    "NVIDIA T1000": "T1000 4 GB",
    "Intel UHD Graphics; NVIDIA T1000": "T1000 4 GB",
    "NVIDIA T1000 8GB | Intel(R) UHD Graphics 770": "T1000 8 GB",
    "Intel(R) UHD Graphics 770, NVIDIA RTX A4000": "RTX A4000",
    "Microsoft Basic Display Adapter; NVIDIA RTX A4000": "RTX A4000",
    "NVIDIA RTX A6000; NVIDIA RTX A6000": "2x RTX A6000",
    "2x NVIDIA L40S": "2x L40S",
    "NVIDIA L40S (x2)": "2x L40S",
    "NVIDIA GeForce RTX 4090 + NVIDIA T1000": "RTX 4090",
    "AMD Radeon RX 7900 XTX": "Radeon RX 7900 XTX",
    "Advanced Micro Devices, Inc. [AMD/ATI] Navi 21 [Radeon RX 6800] (rev c3)": "Radeon RX 6800",
    "NVIDIA A100-SXM4-80GB": "A100 SXM4 80 GB",
    "Intel(R) Arc(TM) B580 Graphics": "Arc B580",
}
NO_CARDS = ["", "Intel(R) Iris(R) Xe Graphics", "Intel(R) UHD Graphics", "Intel(R) UHD Graphics 620",
            "Intel(R) Graphics", "Intel(R) Arc(TM) Graphics", "integrated", "Onboard", "N/A", "-"]  # fmt: skip
VIRTUAL = ["VMware SVGA 3D", "Microsoft Basic Display Adapter", "Microsoft Hyper-V Video", "Matrox G200eW3",
           "ASPEED Technology, Inc. ASPEED Graphics Family", "none", "None", "Red Hat QXL controller",
           "VMware SVGA 3D; Microsoft Remote Display Adapter"]  # fmt: skip


@pytest.mark.parametrize(("spelling", "name"), PROCESSORS.items())
def test_a_processor_is_found_however_it_is_spelled(spelling: str, name: str) -> None:
    assert name_of(of(spelling)) == name


@pytest.mark.parametrize(("spelling", "name"), CARDS.items())
def test_a_card_is_found_however_it_is_spelled(spelling: str, name: str) -> None:
    assert name_of(of("Core i7-13700", spelling)) == f"Core i7-13700 with {name}"


@pytest.mark.parametrize("spelling", NO_CARDS)
def test_graphics_of_the_processor_are_its_own(spelling: str) -> None:
    found = of("Core i7-1260P", spelling).described
    assert found is not None
    assert [device.kind for device in found.machine.devices] == ["cpu", "vulkan:0"]
    assert found.machine == of("Core i7-1260P").described.machine  # type: ignore[union-attr]


@pytest.mark.parametrize("spelling", VIRTUAL)
def test_what_draws_a_picture_is_no_gpu(spelling: str) -> None:
    found = of("Core i7-1260P", spelling).described
    assert found is not None
    assert [device.kind for device in found.machine.devices] == ["cpu"]


def test_a_virtual_machine_is_told_so() -> None:
    found = of("Xeon Gold 6248", "VMware SVGA 3D").described
    assert found is not None
    assert "a virtual machine, with all cores of the processor" in found.assumed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Microsoft Windows 11 Pro 10.0.22631", "windows"), ("Win10", "windows"), ("Windows Server 2022", "windows"),
        ("macOS 14.5", "macos"), ("Mac OS X 10.15", "macos"), ("Darwin 23.5", "macos"), ("Ubuntu 22.04.4 LTS", "linux"),
        ("Red Hat Enterprise Linux 9.3", "linux"), ("Debian GNU/Linux 12", "linux"), ("Android 14", "android"),
        ("iOS 17.5", "ios"), ("iPadOS 17", "ios"), ("", None), ("n/a", None), ("unknown", None),
    ],
)  # fmt: skip
def test_a_system_is_found_however_it_is_spelled(text: str, expected: str | None) -> None:
    assert listed.system(text) == expected


SAME = [
    ("Intel(R) Core(TM) i7-12700H", "NVIDIA GeForce RTX 4060 Laptop GPU", "32 GB", "Windows 11"),
    (
        "12th Gen Intel(R) Core(TM) i7-12700H @ 2.30GHz",
        "GeForce RTX 4060 Laptop",
        "31.7 GB",
        "Microsoft Windows 11 Pro",
    ),
    ("i7-12700H", "Intel(R) Iris(R) Xe Graphics; NVIDIA GeForce RTX 4060 Laptop GPU", "32768 MB", "win11"),
    ("Intel Core i7-12700H", "NVIDIA GeForce RTX 4060 Laptop GPU", "31,8", "Windows 10 Enterprise"),
    ("Core i7 12700H", "rtx 4060 laptop", "34359738368", "windows"),
]


@pytest.mark.parametrize("cells", SAME)
def test_each_spelling_of_a_row_is_the_same_machine(cells: tuple[str, str, str, str]) -> None:
    first, here = of(*SAME[0]).described, of(*cells).described
    assert first is not None
    assert here is not None
    assert here.machine == first.machine


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (of("Core 2 Duo E8400"), "unknown hardware 'Core 2 Duo E8400'; nearest: '"),
        (of("Core i7-1260P", "NVIDIA GeForce GT 710"), "unknown hardware 'NVIDIA GeForce GT 710'; nearest"),
        (of("Core i7-1260P", "", "much"), "not a memory size"),
        (of("Core i7-1260P", "", "", "BeOS"), "unknown system 'BeOS'"),
        (of(), "neither its processor nor its GPU is given"),
        (of("", "VMware SVGA 3D"), "neither its processor nor its GPU is given"),
        (of("AMD EPYC Processor"), "'AMD EPYC' fits "),
    ],
)  # fmt: skip
def test_a_row_that_is_not_known_says_why(row: Listed, said: str) -> None:
    assert row.described is None
    assert said in row.why


# -------------------------------------------------------------------------------------------------- the file

TABLE = (
    ("Hostname", "Processor", "Graphics", "RAM (GB)", "Operating System"),
    ("pc-1", "Core i7-1260P", "", "16", "Windows 11"),
    ("büro-2", "Apple M2", "", "8", "macOS 14.5"),
)


def written(separator: str = ",", rows: tuple[tuple[str, ...], ...] = TABLE, end: str = "\r\n") -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter=separator, lineterminator=end).writerows(rows)
    return stream.getvalue()


EXPECTED = (
    Row(2, "pc-1", "Core i7-1260P", "", "16", "Windows 11", "g"),
    Row(3, "büro-2", "Apple M2", "", "8", "macOS 14.5", "g"),
)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "latin-1", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_file_is_read_however_it_was_saved(separator: str, encoding: str, end: str) -> None:
    assert list_file.rows(written(separator, end=end).encode(encoding), "list") == EXPECTED


def test_excels_own_first_line_says_the_separator() -> None:
    found = list_file.rows(f"sep=;\r\n{written(';')}".encode(), "list")
    assert [row.name for row in found] == ["pc-1", "büro-2"]
    assert found[0].line == 3


def test_what_powershell_writes_before_the_titles_is_left_out() -> None:
    found = list_file.rows(f"#TYPE Selected.CimInstance\r\n{written()}".encode("utf-16"), "list")
    assert [(row.line, row.name) for row in found] == [(3, "pc-1"), (4, "büro-2")]


@pytest.mark.parametrize(
    "titles",
    [
        "name,cpu,gpu,ram,os", "NAME,CPU,GPU,RAM,OS", "Computer,Processor,Video Controller,Memory,OS Version",
        "Device Name,CPU Model,Graphics Card,Installed RAM (GB),Operating System",
        "model,processor,graphics,mem,platform",
        '"Host name","Prozessor","Grafikkarte","Arbeitsspeicher","Betriebssystem"',
        "Computer Name,Processor Name,GPU 1,Total Memory GB,OS Name",
    ],
)  # fmt: skip
def test_titles_have_synonyms(titles: str) -> None:
    (row,) = list_file.rows(f"{titles}\npc-1,Apple M2,,16,macOS".encode(), "list")
    assert row[:6] == (2, "pc-1", "Apple M2", "", "16", "macOS")


def test_columns_come_in_any_order_and_others_do_not_matter() -> None:
    titles = "Location;RAM;Serial;OS;GPU 2;CPU;GPU 1;Computer;Notes"
    cells = "BER;16;X1;win11;NVIDIA T1000;i7-13700;Intel UHD;pc-9;=1+1"
    (row,) = list_file.rows(f"{titles}\n{cells}".encode(), "list")
    assert row == Row(2, "pc-9", "i7-13700", "NVIDIA T1000; Intel UHD", "16", "win11")


@pytest.mark.parametrize(("title", "unit"), [("RAM (GB)", "g"), ("Memory_MB", "m"), ("RAM", ""), ("memory [MiB]", "m"),
                                             ("TotalPhysicalMemory", ""), ("Total Memory (bytes)", "b")])  # fmt: skip
def test_a_title_says_the_unit(title: str, unit: str) -> None:
    (row,) = list_file.rows(f"name,cpu,{title}\na,Apple M2,16".encode(), "list")
    assert (row.unit, row.ram) == (unit, "16")


def test_rows_without_a_name_and_with_one_name() -> None:
    found = list_file.rows(b"cpu,name\nApple M1,\nApple M2,a\n\nApple M3,a\nApple M4\n", "list")
    assert [(row.line, row.name) for row in found] == [(2, "row 1"), (3, "a"), (5, "a"), (6, "row 4")]


def test_a_cell_that_is_too_long_is_a_row_not_known() -> None:
    (first, second) = list_file.rows(f"name,cpu\na,{'x' * 2000}\nb,Apple M2".encode(), "list")
    assert "a cell of 2000 characters" in listed.understood(first).why
    assert second.cpu == "Apple M2"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n \n", "is empty"),
        (b"a,b,c\n1,2,3\n", "no column cpu or gpu in its first line (a, b, c)"),
        (b"name,cpu\n", "has a header and no machine"),
        (b"name,cpu\n" + b'a,"' + b"x" * 200_000, "is a quote left open?"),
        (b"<!doctype html><html>", "is a web page"),
        (b"PK\x03\x04\x14\0\6\0\x08\0", "is a workbook or another zip file"),
        (b"name,cpu\n\0\0\0a", "list"),
        (b"name,cpu\n" + b"a,b\n" * (list_file.MOST_ROWS + 1), "more than 100000 rows"),
        (b",".join(b"x" for _ in range(300)) + b"\n1", "300 columns"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_one_line(content: bytes, said: str) -> None:
    with pytest.raises(PhibenchError) as caught:
        list_file.rows(content, "list")
    assert said in str(caught.value)
    assert caught.value.exit_code == BAD_INPUT
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PhibenchError, match="there is no file"):
        list_file.read(tmp_path / "none.csv")
    with pytest.raises(PhibenchError, match="it is a folder"):
        list_file.read(tmp_path)


_CELLS = st.sampled_from(
    ["Apple M2", "i7-1260P", "=cmd|' /C calc'!A0", "16 GB", "NVIDIA T1000; x", '"', "a\nb", "2x", "é"]
)
_FREE = st.text(max_size=40)


@given(st.binary(max_size=300))
@example(b"\xff\xfe")
@example(b"cpu\r\r\xa0\n\x85")
@example(b"sep=;\ncpu")
def test_any_bytes_are_rows_or_one_error(content: bytes) -> None:
    with contextlib.suppress(PhibenchError):
        assert list_file.rows(content, "list")


@given(st.lists(st.tuples(*[_CELLS | _FREE] * 5), max_size=6), st.sampled_from([",", ";", "\t"]))
def test_any_cells_are_machines_or_say_why(rows: list[tuple[str, ...]], separator: str) -> None:
    text = written(separator, (("name", "cpu", "gpu", "ram", "os"), *rows))
    with contextlib.suppress(PhibenchError):
        for row in list_file.rows(text.encode("utf-8", "replace"), "list"):
            one = listed.understood(row)
            assert (one.described is None) == bool(one.why)
            assert "\n" not in one.why
