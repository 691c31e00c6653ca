"""``recommend --explain`` and ``--why-not``: what they print, and that the flags they name do what they say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import Phibench

from phibench.advise.rules import RULES
from phibench.core.errors import BAD_INPUT, NOTHING_FITS

DESKTOP = ("--gpu", "RTX 3060", "--ram", "16GiB")
SMALL = ("--cpu", "i5-8250U", "--ram", "4GiB")


def document(phibench: Phibench, *words: str, code: int = 0) -> Any:
    done = phibench("recommend", *words, "-o", "json")
    assert done.code == code, done.err
    return json.loads(done.out)


@pytest.mark.parametrize(
    ("machine", "setup", "code"),
    [
        (DESKTOP, "phi-4:Q6_K@llama_cpp/cuda:0", 0),
        (DESKTOP, "phi-4:IQ4_XS@llama_cpp/cpu", 0),
        ((*DESKTOP, "--goal", "long-context"), "phi-3-medium-128k-instruct:Q4_K_M@llama_cpp/cuda:0", 0),
        (SMALL, "phi-4-mini", NOTHING_FITS),
    ],
)
def test_with_the_flags_it_is_a_yes(phibench: Phibench, machine: tuple[str, ...], setup: str, code: int) -> None:
    found = document(phibench, *machine, "--why-not", setup, code=code)
    assert found.keys() == {"setup", "verdict", "change", "reasons", "left"}
    assert found["verdict"] == "no"
    assert found["reasons"]
    change = found["change"]
    assert change.keys() == {"text", "flags", "setup"}
    listed = document(phibench, *machine, *change["flags"], "--top", "all")["candidates"]
    assert [row["verdict"] for row in listed if row["setup"] == change["setup"]] == ["yes"]
    assert document(phibench, *machine, *change["flags"], "--why-not", change["setup"])["verdict"] == "yes"


def test_what_no_amount_cures_says_so(phibench: Phibench) -> None:
    done = phibench("recommend", *DESKTOP, "--why-not", "phi-3.5-vision")
    assert done.code == 0
    assert "is not for this goal" in done.out
    assert done.out.rstrip().endswith("nothing on this machine changes that")
    assert document(phibench, *DESKTOP, "--why-not", "phi-3.5-vision")["change"] is None


def test_more_memory_adds_to_what_was_given(phibench: Phibench) -> None:
    given = ("--more-memory", "1GiB")
    first, then = (
        document(phibench, *DESKTOP, *more, "--why-not", "phi-3.5-moe:Q4_K_M@llama_cpp/cuda:0")["change"]
        for more in ((), given)
    )
    assert first["flags"][0] == then["flags"][0] == "--more-memory"
    assert first["flags"] == then["flags"], "the flag that stands last counts"


def test_where_nothing_fits_the_answer_is_what_would(phibench: Phibench) -> None:
    done = phibench("recommend", *SMALL)
    assert done.code == NOTHING_FITS
    text = " ".join(done.out.split())
    assert "The nearest is phi-4-mini-instruct:Q3_K_M@llama_cpp/cpu. What would make it fit: +1.7 GiB" in text
    for size, fits in (("5.7GiB", True), ("5.6GiB", False)):
        assert (document(phibench, *SMALL, "--ram", size)["candidates"][0]["verdict"] == "yes") is fits


def test_every_candidate_says_why_and_a_no_what_would_change_it(phibench: Phibench) -> None:
    rows = document(phibench, "--cpu", "i5-8250U", "--ram", "8GiB", "--top", "12")["candidates"]
    assert all(row["why"] for row in rows)
    assert {row["verdict"] for row in rows if row["change"]} == {"no"}
    assert rows[0]["why"].startswith("Phi-4-mini-instruct at Q4_K_M: the best of the family for chat that serves here")
    assert rows[1]["why"] == "behind phi-4-mini-instruct:Q4_K_M: weaker answers for chat"


def test_an_explanation_has_every_rule_and_the_order_down_to_what_decides(phibench: Phibench) -> None:
    found = document(phibench, *DESKTOP, "--explain", "phi-3.5-mini")
    assert [rule["rule"] for rule in found["rules"]] == [rule.__name__.replace("_", " ") for rule in RULES]
    assert {rule["answer"] for rule in found["rules"]} == {"nothing"}
    assert [key["decides"] for key in found["order"]["keys"]] == [False, False, False, True]
    assert found["order"]["keys"][-1]["name"] == "tier"
    assert found["estimates"]["decode_tps"]["because"]
    said = " ".join(phibench("recommend", *DESKTOP, "--explain", "phi-3.5-mini").out.split())
    assert "this decides, answers better: the variant's tier for this goal: 5 of 9; above: 4 of 9" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--why-not", "phi-4", "--explain", "phi-4"), "cannot be asked together"),
        (("--why-not", "phi-4", "--settle", "1s"), "--why-not and --settle cannot be asked together"),
        (("--explain", "phi-4", "--run"), "--explain and --run cannot be asked together"),
        (("--settle", "1s", "--more-memory", "1GiB"), "leave out --more-memory"),
        (("--more-memory", "", *DESKTOP), "'' is not a size"),
        (("--why-not", "phi-4", "-o", "csv"), "text or JSON"),
        (("--explain", "phi-4", "--machines", "list.csv"), "--explain is about one machine"),
        (("--more-memory", "1GiB", "--machines", "list.csv"), "leave out --more-memory"),
        (("--why-not", "phy-4", *DESKTOP), "unknown variant 'phy-4'; did you mean"),
        (("--max-answer", "0", *DESKTOP), "--max-answer 0"),
    ],
)
def test_what_goes_not_together_is_said_in_a_line(phibench: Phibench, words: tuple[str, ...], said: str) -> None:
    done = phibench("recommend", *words)
    assert (done.code, done.out) == (BAD_INPUT, "")
    assert said in done.err


def test_what_was_left_out_is_said_to_be_so(phibench: Phibench) -> None:
    said = " ".join(phibench("recommend", *DESKTOP, "-m", "phi-2", "--why-not", "phi-4").out.split())
    assert (
        "comfortable, left out by -m, -q or -b Nothing fits. The nearest is phi-2" in said
    )  # what is asked for is none


def test_a_change_that_is_typed_behind_the_question_is_answered(phibench: Phibench) -> None:
    """Seen: "-q Q6_K" was the remedy, and with it the same no was printed again."""
    asked = ("--gpu", "RTX 3060 12 GB", "--why-not", "phi-4:Q8_0")
    change = next(line for line in phibench("recommend", *asked).out.splitlines() if "(-q " in line)
    flag, _, setup = change.partition("(")[2].partition("): ")
    said = " ".join(phibench("recommend", *asked, *flag.split()).out.split())
    assert f"left out by -m, -q or -b still left: {setup}: usable, place " in said
    assert document(phibench, *asked[:2], *flag.split(), *asked[2:])["left"] == setup
    assert "(-q " not in said  # a build was asked for
    assert "still left" not in phibench("recommend", *asked).out
    assert "still left" not in phibench("recommend", *asked, "-m", "phi-2").out  # nothing of it is


def test_a_variant_alone_is_looked_for_where_something_can_run_it(phibench: Phibench) -> None:
    """Seen: of places that all take too little context, the one whose engine does not know the device."""
    words = ("--cpu", "i5-1135G7", "--ram", "64GiB", "--context", "128k", "--why-not", "phi-4")
    said = phibench("recommend", *words).out
    assert "@llama_cpp/cpu" in said.splitlines()[0]
    assert "context 16k instead of 128k" in said


@pytest.mark.parametrize("columns", ["22", "26", "40"])
def test_a_terminal_may_be_narrow(phibench: Phibench, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert phibench("recommend", *DESKTOP).code == 0
