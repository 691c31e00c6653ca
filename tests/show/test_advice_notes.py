"""The sentences below the advice: what a row trades, where to get it, what was measured, what is in the system."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from picks import machine

from phibench import catalog
from phibench.advise import platforms, ranking
from phibench.advise.recommend import advise
from phibench.core.nouns import Basis, Build, Estimate, Goal, Machine, Setup, Verdict
from phibench.machine.asked import described
from phibench.show import advice, advice_notes

CHAT = catalog.goal("chat")
GIB = 1 << 30


def told(
    variant: str = "phi-4-mini-instruct", quantization: str = "Q6_K", decode: float | None = 20.0,
    loss: float | None = 0.004, basis: Basis = "spec", backend: str = "llama_cpp", **more: Any,
) -> Verdict:  # fmt: skip
    def known(value: float, basis: Basis) -> Estimate:
        return Estimate(value=value, low=value, high=value, basis=basis, because="test")

    found = {"decode_tps": decode and known(decode, basis), "quant_kld": loss and known(loss, "published")}
    setup = Setup(variant=variant, quantization=quantization, backend=backend, device="cpu")
    return Verdict(setup=setup, estimates={name: e for name, e in found.items() if e}, **more)


def below(*verdicts: Verdict, shown: int | None = None, goal: Goal = CHAT, on: Machine | None = None) -> list[str]:
    chosen = verdicts[:shown]
    return advice_notes.below(on or machine("laptop, 16 GB"), goal, verdicts, chosen)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (told("phi-4", decode=8), "better answers, 0.4 times as fast"),
        (told("phi-2", decode=39), "weaker answers, 1.9 times as fast"),
        (told("phi-2", decode=260), "weaker answers, 13 times as fast"),
        (told(decode=25), ""),
        (told("phi-4-mini-reasoning"), "thinks before it answers"),
        (told(loss=0.03), "a coarser build"),
        (told(loss=0.001), ""),
        (told(loss=None, decode=None), ""),
        (told(comfortable=True), "memory left for others"),
    ],
)
def test_a_row_says_what_it_trades(other: Verdict, words: str) -> None:
    assert advice_notes.trade(CHAT, told(), other) == words


def test_a_finer_build_is_said_only_where_it_can_be_noticed() -> None:
    assert advice_notes.trade(CHAT, told(loss=0.03), told(loss=0.004)) == "a finer build"
    assert advice_notes.trade(catalog.goal("fine-tuning"), told(loss=0.03), told(loss=0.004)) == ""


@pytest.mark.parametrize(
    ("build", "words"),
    [
        ({"path": "x-Q6_K.gguf", "bytes": 3_160_000_000}, "offered as a/b: x-Q6_K.gguf, 3.16 GB"),
        ({}, "offered as a/b, about 2.5 GB"),
        ({"bytes": 1_000_000_000, "note": "of the makers"}, "offered as a/b, 1 GB (of the makers)"),
    ],
)
def test_where_it_is_offered_with_its_size(build: dict[str, Any], words: str) -> None:
    found = Build(variant="x", quantization="x", format="gguf", publisher="x", repository="a/b", source="test", **build)
    size = Estimate(value=2.5e9, low=2.5e9, high=2.5e9, basis="exact", because="test")
    verdict = told(build=found)
    verdict = msgspec.structs.replace(verdict, estimates={**verdict.estimates, "disk_bytes": size})
    assert advice_notes.where(verdict) == words


@pytest.mark.parametrize(
    ("backend", "tool"),
    [
        ("llama_cpp", "llama-quantize"),
        ("onnxruntime", "onnxruntime_genai.models.builder"),
        ("torch", "as it is opened"),
    ],
)
def test_of_what_nobody_offers_it_is_said_how_it_is_made(backend: str, tool: str) -> None:
    words = advice_notes.where(told(backend=backend))
    assert words.startswith("offered by nobody; ")
    assert tool in words
    assert "microsoft/Phi-4-mini-instruct" in words


def test_what_was_measured_of_a_shown_variant_is_said_where_another_build_of_it_is_shown() -> None:
    guess, seen = told(quantization="Q3_K_M", unknowns=()), told(decode=4.9, basis="measured", objections=("slow",))
    line = "1 was measured here as phi-4-mini-instruct:Q6_K@llama_cpp/cpu: 4.9 tok/s (no)"
    assert line in below(guess, seen, shown=1)
    assert not any("was measured" in note for note in below(seen, guess, shown=1))  # it is the row itself
    assert not any("was measured" in note for note in below(guess, told("phi-2", basis="measured"), shown=1))


def no(decode: float, basis: Basis = "spec", **more: Any) -> Verdict:
    return told(decode=decode, basis=basis, objections=("x",), **more)


def test_that_nothing_keeps_up_is_said_with_the_fastest_and_only_where_it_is_true() -> None:
    slow = below(no(3), no(4.9, "measured", quantization="Q4_K_M"))
    assert slow[0] == (
        "nothing here keeps up with reading: 6 tok/s are asked for, the fastest that was measured is "
        "phi-4-mini-instruct:Q4_K_M@llama_cpp/cpu with 4.9"
    )
    assert "that is predicted is" in below(no(3), no(4))[0]
    for fine in (
        below(no(3), told(unknowns=())),  # one that serves
        below(no(7)),  # fast enough, refused for something else
        below(no(3, overflows=2.0)),  # has no room, so its speed is no matter
    ):
        assert not any("keeps up" in note for note in fine)
    patient = msgspec.structs.replace(CHAT, limits={"decode_tps": 40.0})
    assert below(no(30), goal=patient)[0].startswith("nothing here is as fast as asked for: 40 tok/s")


@pytest.mark.parametrize(("goal", "what"), [("vision", "pictures add"), ("speech", "speech adds")])
def test_what_is_not_measured_of_pictures_and_speech_is_said(goal: str, what: str) -> None:
    remark = f"phibench measures the text part; what {what} is predicted, or published"
    assert remark in below(told(), goal=catalog.goal(goal))
    assert remark not in below(told())


# ---------------------------------------------------------------------------------------- beside the table

X_ELITE, LUNAR_LAKE = machine("Snapdragon X Elite, 16 GB"), machine("Core Ultra 258V, 32 GB")


def silica(on: Machine, goal: Goal = CHAT) -> bool:
    return any("Phi Silica is already in Windows" in line for line in platforms.lines(on, goal))


def test_phi_silica_is_told_of_on_a_copilot_pc_for_text_that_has_room() -> None:
    assert silica(X_ELITE)
    assert silica(LUNAR_LAKE)
    assert not silica(msgspec.structs.replace(LUNAR_LAKE, os="linux"))
    assert not silica(machine("laptop, 16 GB"))  # its NPU is none, or too slow
    assert not silica(described(None, "Snapdragon X Elite X1E-80-100", "8GiB", "windows").machine)
    for other in ("vision", "speech", "long-context", "fine-tuning"):
        assert not silica(X_ELITE, catalog.goal(other)), other
    assert not silica(X_ELITE, msgspec.structs.replace(CHAT, context=65536))


def test_an_npu_is_told_of_with_the_package_that_its_maker_runs() -> None:
    lines = [line for line in platforms.lines(LUNAR_LAKE, CHAT) if "its NPU" in line]
    assert len(lines) == 1
    assert "by " in lines[0]
    assert "not measured by phibench" in lines[0]
    assert not platforms.lines(machine("RTX 4090"), CHAT)
    assert not any("its NPU" in line for line in platforms.lines(LUNAR_LAKE, catalog.goal("vision")))


def test_lines_of_a_platform_stand_below_the_advice() -> None:
    verdicts = advise(X_ELITE, CHAT, ())
    assert set(platforms.lines(X_ELITE, CHAT)) <= set(below(*verdicts[:3], on=X_ELITE))


# ---------------------------------------------------------------------------------------- the words of a row


def test_under_each_row_stand_its_place_and_why_it_is_there() -> None:
    first, other, refused = told(), told("phi-2", decode=39), no(3)
    rows = [{"why": ""}, {"why": ""}, {"why": "Decode ~3 tok/s is below 6 tok/s"}]
    chosen = (first, msgspec.structs.replace(other, setup=msgspec.structs.replace(
        other.setup, device="cuda:0", options=(("n_gpu_layers", "12"),))), refused)  # fmt: skip
    why, *rest = advice_notes.of_each(CHAT, chosen, chosen, rows, tell_place=True)
    assert why.startswith("llama_cpp/cpu: Phi-4-mini-instruct at Q6_K: ")
    assert rest == [
        "llama_cpp/cuda:0?n_gpu_layers=12: weaker answers, 1.9 times as fast",
        "llama_cpp/cpu: Decode ~3 tok/s is below 6 tok/s",
    ]
    assert advice_notes.of_each(CHAT, chosen, chosen, rows, tell_place=False)[1:] == [
        "weaker answers, 1.9 times as fast",
        "Decode ~3 tok/s is below 6 tok/s",
    ]


def test_on_what_the_speeds_rest_is_said_once() -> None:
    range_ = "; the range in brackets holds 8 times in 10"
    assert advice_notes.known_from([told(), told()]) == [f"Speeds: estimated from data sheets{range_}"]
    assert advice_notes.known_from([told(basis="measured")]) == ["Speeds: measured here"]
    assert advice_notes.known_from([told(decode=None)]) == []
    mixed = advice_notes.known_from([told(basis="measured"), told(), told(basis="probed"), told(basis="measured")])
    assert mixed == [
        "Speeds: 1, 4 measured here; 3 estimated from this machine's bandwidth and matrix rate; "
        f"2 estimated from data sheets{range_}"
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", ["Pi 5, 4 GB", "laptop with 8 GB GPU", "RTX 4090", "H100", "two RTX 3090"])
@pytest.mark.parametrize("goal", ["chat", "vision", "long-context", "fine-tuning"])
def test_a_screen_says_all_that_decides_and_asks_for_no_legend(name: str, goal: str, width: int) -> None:
    place, asks = machine(name), catalog.goal(goal)
    verdicts = advise(place, asks, ())
    text = advice.text(place, asks, asks.context, verdicts, 5, "table", width)
    assert max(map(len, text.splitlines())) <= width
    assert "??" not in text
    assert "no room for:" not in text
    lines = text.splitlines()
    for rank, verdict in enumerate(ranking.shown(verdicts, 5), start=1):
        start = next(i for i, line in enumerate(lines) if line.startswith(f"{rank} "))
        entry = " ".join(" ".join(lines[start : start + 8]).split())
        if width >= 80:
            assert verdict.setup.model in lines[start]
            assert verdict.level in lines[start]
        assert verdict.setup.place.split("/")[0] in "".join(text.split())
        assert all(reason.split()[0] in entry for reason in verdict.objections[:1])
