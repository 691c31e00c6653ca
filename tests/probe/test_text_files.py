"""Numbers from files of the kernel: what is no whole number of its unit is no number at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import plant

from phibench.probe.system import gauges, smaps, text_files


@pytest.mark.parametrize(
    ("word", "number"),
    [("42\n", 42), (" -7 ", -7), ("9223372036854775807", (1 << 63) - 1), ("9223372036854775808", None),
     ("7\x1c\n", 7), ("٣٢", None), ("1_000", None), ("4.0", None), ("", None)],
)  # fmt: skip
def test_a_number_is_decimal_and_fits_into_63_bits(word: str, number: int | None) -> None:
    assert text_files.integer(word) == number


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("MemTotal:  16 kB\nMemFree:  8 kB", {"MemTotal": 16 << 10, "MemFree": 8 << 10}),
        ("MemTotal:  16 kB\r\nMemFree:  8 kB\r\n", {"MemTotal": 16 << 10, "MemFree": 8 << 10}),
        ("MemTotal:  16 kB\nMemFree:  8", {"MemTotal": 16 << 10}),  # cut off before its unit: not 8 bytes
        ("Threads:\t3\nHugePages_Total:  2\n", {"Threads": 3, "HugePages_Total": 2}),
        ("anon 5\nfile 6", {"anon": 5, "file": 6}),
        (f"MemTotal: {'9' * 19} kB\nMemFree: 8 kB\n", {"MemFree": 8 << 10}),
    ],
)
def test_counters_have_their_unit_and_a_size_that_can_be(tmp_path: Path, text: str, found: dict[str, int]) -> None:
    plant(tmp_path, {"counters": text})
    assert text_files.counters(tmp_path / "counters") == found


def test_a_mapping_with_more_memory_of_its_own_than_it_has_counts_none(tmp_path: Path) -> None:
    """The kernel adds up a mapping while it changes; and lines of its head may be anything."""
    head = "7f00-7f01 r--p 00000000 fe:00 7 /lib/a.so\n"
    root = plant(tmp_path, {"proc/self/smaps": f"{head}Rss: 4 kB\nAnonymous: 8 kB\nReferenced: 4 kB\n"})
    found = smaps.file_pages(None, root)
    assert found is not None
    assert (found.libraries, found.libraries_touched) == (0, 0)
    plant(tmp_path, {"proc/self/smaps": f"{head}Rss: 4 kB\n7f00-7f01 r--p 0 fe:00 {'1' * 5000} /x\n"})
    found = smaps.file_pages(None, root)
    assert found is not None
    assert found.libraries == 4 << 10


def test_ticks_below_zero_are_no_ticks(tmp_path: Path) -> None:
    plant(tmp_path, {"proc/stat": "cpu  100 5 50 9000 30 0 20 -1 0 0\n"})
    assert gauges.ticks(tmp_path) == {}
