"""Text to numbers and back."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phibench.core import units
from phibench.core.errors import BAD_INPUT, PhibenchError
from phibench.core.nouns import Setup

NAMES = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789._-", min_size=1, max_size=20)
VALUES = st.text("abcXYZ0189._-:/=@", min_size=1, max_size=12)
SETUPS = st.builds(
    Setup,
    variant=NAMES,
    quantization=NAMES,
    backend=NAMES,
    device=st.sampled_from(("cpu", "cuda:0", "rocm:1", "metal", "npu")),
    options=st.dictionaries(NAMES, VALUES, max_size=4).map(lambda options: tuple(sorted(options.items()))),
)


@given(SETUPS)
def test_a_setup_survives_being_written_and_read(setup: Setup) -> None:
    assert units.setup(str(setup)) == setup


def test_a_setup_has_a_default_device_and_sorted_options() -> None:
    setup = units.setup(" phi-4:Q4_K_M@llama_cpp?threads=2&n_ubatch=256 ")
    assert setup.device == "cpu"
    assert setup.options == (("n_ubatch", "256"), ("threads", "2"))
    assert str(setup) == "phi-4:Q4_K_M@llama_cpp/cpu?n_ubatch=256&threads=2"


@pytest.mark.parametrize(
    "text",
    ["", "phi-4", "phi-4:Q4_K_M", "phi-4@llama_cpp", ":Q4@b", "phi-4:Q4@b/", "phi-4:Q4@b?threads", "phi-4:Q4@b?=1",
     "phi-4:Q4@b?threads=", "phi-4:Q4@b?threads=1&threads=2", "a:b@c/d/e", "a:b@c\n/d?x=1\ny"],
)  # fmt: skip
def test_what_is_no_setup_is_refused_by_name(text: str) -> None:
    with pytest.raises(PhibenchError) as error:
        units.setup(text)
    assert error.value.exit_code == BAD_INPUT
    assert text.strip() in str(error.value)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    for read in (units.tokens, units.size_bytes, units.counts, units.setup):
        with contextlib.suppress(PhibenchError):
            read(text)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("8k", 8192), ("128K", 131_072), ("10M", 10 << 20), ("4096", 4096), (" 1k ", 1024), ("0", 0)],
)
def test_tokens(text: str, tokens: int) -> None:
    assert units.tokens(text) == tokens


@given(st.integers(0, 10**9))
def test_a_context_for_people_reads_back(count: int) -> None:
    assert units.tokens(units.context(count)) == count


@pytest.mark.parametrize("text", ["", "k", "8 kk", "-1", "1.5k", "8g", "1e3", "9" * 5000])
def test_what_is_no_number_of_tokens(text: str) -> None:
    with pytest.raises(PhibenchError, match="is not a number of tokens"):
        units.tokens(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("16GiB", 16 << 30), ("16GB", 16 * 10**9), ("16gib", 16 << 30), ("1.5 TiB", 3 << 39), ("512MiB", 512 << 20),
     ("100", 100), ("7b", 7), ("2kb", 2000), ("2ki", 2048)],
)  # fmt: skip
def test_size_bytes(text: str, size: int) -> None:
    assert units.size_bytes(text) == size


@given(st.integers(0, 10**12), st.sampled_from(["KiB", "MiB", "GiB", "TiB"]))
def test_binary_sizes_are_1024_apart_in_any_case(count: int, unit: str) -> None:
    power = "KMGT".index(unit[0]) + 1
    expected = count * 1024**power
    assert units.size_bytes(f"{count}{unit}") == units.size_bytes(f"{count} {unit.lower()}")
    assert units.size_bytes(f"{count}{unit}") == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("text", ["", "GB", "16 gigabytes", "-16GB", "1e9", "16GB16", "9" * 400, "1.GB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(PhibenchError, match="is not a size; write 16GiB or 16GB"):
        units.size_bytes(text)


@pytest.mark.parametrize(
    ("text", "values"),
    [("512", (512,)), ("128,512", (128, 512)), ("1-4", (1, 2, 3, 4)), ("128-512+128", (128, 256, 384, 512)),
     ("128-2048*2", (128, 256, 512, 1024, 2048)), ("1-2,2-3", (1, 2, 3)), ("0", (0,)), ("5-5", (5,)),
     ("128-500+128", (128, 256, 384)), ("2k,8K", (2048, 8192)), ("1k-4k*2", (1024, 2048, 4096))],
)  # fmt: skip
def test_counts_as_llama_bench_writes_them(text: str, values: tuple[int, ...]) -> None:
    assert units.counts(text) == values


@pytest.mark.parametrize("text", ["", ",", "a", "4-1", "0-8*2", "1-8*1", "1-8+0", "-1", "1-", "1-1000000", "8m", "k"])
def test_counts_that_never_end_or_are_none(text: str) -> None:
    with pytest.raises(PhibenchError):
        units.counts(text)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=50))
def test_a_list_of_counts_keeps_order_and_drops_repeats(values: list[int]) -> None:
    assert units.counts(",".join(map(str, values))) == tuple(dict.fromkeys(values))


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [(units.gb, 2_485_601_728, "2.49 GB"), (units.gb, 731e6, "731 MB"), (units.gb, 12, "12 B"),
     (units.gb, 1.2e12, "1.2 TB"), (units.gib, 24 << 30, "24 GiB"), (units.gib, 310 << 20, "310 MiB"),
     (units.gib, 3.5 * (1 << 30), "3.5 GiB"), (units.duration, 0.0008, "0.8 ms"), (units.duration, 12.44, "12.4 s"),
     (units.duration, 185, "3 min 5 s"), (units.duration, 7440, "2 h 4 min"), (units.duration, 0.9999, "1 s"),
     (units.duration, 3599.7, "1 h"), (units.context, 8192, "8k"), (units.context, 1000, "1000")],
)  # fmt: skip
def test_numbers_for_people(show: object, value: float, text: str) -> None:
    assert callable(show)
    assert show(value) == text


@given(st.floats(1e-6, 1e7))
def test_a_duration_never_has_an_exponent(seconds: float) -> None:
    assert "e+" not in units.duration(seconds)
