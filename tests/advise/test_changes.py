"""What would make a no a yes: that it does, and that nothing smaller does. That what is said of an order is so."""

from __future__ import annotations

import functools
import itertools

import changed
import msgspec
import pytest

from phibench import catalog
from phibench.advise import explain, ranking, recommend
from phibench.advise.asked_for import candidate_of, find
from phibench.advise.changes import Search
from phibench.advise.moves import Again, Inquiry, with_more_memory
from phibench.core.errors import BAD_INPUT, PhibenchError
from phibench.core.nouns import Goal, Verdict
from phibench.machine.asked import described

MACHINES = {"desktop": ("RTX 3060", None, "16GiB"), "laptop": (None, "i5-8250U", "8GiB"), "mac": (None, "M2", "16GiB")}


@functools.cache
def question(name: str, goal: str = "chat") -> Inquiry:
    return Inquiry(described(*MACHINES[name]).machine, catalog.goal(goal))


@functools.cache
def advice(name: str, goal: str = "chat") -> tuple[Verdict, ...]:
    asks = question(name, goal)
    return recommend.advise(asks.machine, asks.goal, ())


def search(name: str, setup: str, goal: str = "chat") -> Search:
    asks = question(name, goal)
    found = find(setup, asks.machine, asks.goal, (), advice(name, goal))
    return Search(Again(asks, found.one, found.setup))


def test_a_change_turns_its_refusal_and_one_step_less_does_not() -> None:
    """200 and 50 in the proof (benchmarks/proofs/changes.py)."""
    found = changed.asked(seed=7, amounts=25, nothing=6, tries=100)
    assert found == changed.Figures(25, [], 6, [])


@pytest.mark.parametrize(
    ("machine", "setup", "goal", "text", "flags"),
    [
        ("desktop", "phi-4:Q6_K@llama_cpp/cuda:0", "chat", "Q4_1 instead of Q6_K", ("-q", "Q4_1")),
        ("desktop", "phi-4:IQ4_XS@llama_cpp/cpu", "chat",
         "accept 3 tok/s, 18 s to the first token and 96 s for the answer",
         ("--min-tps", "3", "--max-ttft", "18", "--max-answer", "96")),
        ("desktop", "phi-2:Q8_0@llama_cpp/cuda:0", "chat", "context 2k instead of 8k", ("--context", "2k")),
        ("laptop", "phi-3.5-mini-instruct:Q3_K_M@llama_cpp/cpu", "reasoning", None, None),
    ],
)  # fmt: skip
def test_the_smallest_change(machine: str, setup: str, goal: str, text: str, flags: tuple[str, ...] | None) -> None:
    change = search(machine, setup, goal).change()
    assert (change and (change.text, change.flags)) == (text and (text, flags))


def test_of_a_yes_nothing_is_to_be_changed() -> None:
    assert search("desktop", "phi-4").change() is None


def test_each_kind_that_is_enough_alone_is_told_the_one_that_costs_least_first() -> None:
    found = [change.text for change in search("desktop", "phi-4:Q6_K@llama_cpp/cuda:0").single]
    assert found == ["Q4_1 instead of Q6_K", "+2 GiB of cuda:0"]


def test_with_more_memory_what_was_measured_stays() -> None:
    import fakes

    run = fakes.run(fakes.measured(fakes.workload(0, 16)))
    grown, runs = with_more_memory(run.machine, (run,), 64 << 30)
    assert grown.limits.free_bytes == run.machine.limits.free_bytes + (64 << 30)
    assert grown.memory_bytes == run.machine.memory_bytes
    assert [r.machine.identity for r in runs] == [grown.identity]
    assert grown.identity != run.machine.identity, "or there was nothing to show"


# --------------------------------------------------------------------------------------------------- the order in words


def test_every_part_of_a_key_has_its_words_and_nothing_else_has() -> None:
    assert tuple(ranking.words()) == ranking.Key._fields
    assert {*explain._BEHIND} == {*explain._VALUES} == {*ranking.Key._fields}
    refused = advice("laptop")[-1]
    assert refused.verdict == "no"
    assert len(explain._NOT_YES) == len(ranking.order_key(question("laptop").goal, refused).not_yes)
    assert all(ranking.words().values())


@pytest.mark.parametrize("goal", ["chat", "reasoning", "edge", "long-context"])
@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_said_of_two_neighbours_is_so(machine: str, goal: str) -> None:
    asks, verdicts = question(machine, goal).goal, advice(machine, goal)
    for above, below in itertools.pairwise(verdicts):
        part = explain.decides(asks, above, below)
        one, other = (ranking.order_key(asks, v) for v in (above, below))
        assert getattr(one, part) < getattr(other, part)
        assert one[: one._fields.index(part)] == other[: one._fields.index(part)]
        said = explain.behind(asks, above, below)
        if said.startswith("slower"):
            assert ranking.tps(below) < ranking.tps(above)
        if "is lost" in said:
            assert ranking.loss(below) > ranking.loss(above)
        parts = explain.order(asks, above, below)
        assert [p.name for p in parts] == list(one._fields[: one._fields.index(part) + 1])


def holds(goal: Goal, verdicts: tuple[Verdict, ...], said: str) -> bool:
    """Whether what is said of the first is so of all of them, each asked by itself."""
    pick = verdicts[0]
    tier = functools.partial(ranking.tier, goal)
    serve = [v for v in verdicts if v.verdict == "yes" and v.setup.variant != pick.setup.variant]
    rivals = [v for v in serve if "comfortable" not in said or v.comfortable]
    if "without thinking first" in said:
        rivals = [v for v in rivals if not ranking.is_thinking(goal, v.setup.variant)]
    if "the only one" in said:
        return not rivals
    better = [v for v in rivals if tier(v.setup.variant) <= tier(pick.setup.variant)]
    if "none of the family" in said:
        better = [v for v in better if tier(v.setup.variant) < tier(pick.setup.variant)]
    return bool(rivals) and not better


@pytest.mark.parametrize("goal", ["chat", "code", "math", "reasoning", "edge", "long-context", "fine-tuning"])
@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_said_of_the_first_is_so(machine: str, goal: str) -> None:
    asks, verdicts = question(machine, goal).goal, advice(machine, goal)
    said = explain.why(asks, verdicts[0], None, verdicts, explain.ROWS_ALONE)
    if verdicts[0].verdict != "yes":
        assert said.startswith(f"{verdicts[0].level}: ")
        return
    assert holds(asks, verdicts, said), said
    if "nobody feels" in said:
        assert asks.felt_tps
        assert ranking.tps(verdicts[0]) >= asks.felt_tps


# ------------------------------------------------------------------------------------------------------- what is asked


def test_a_bare_variant_is_its_best_row() -> None:
    asks = question("desktop")
    found = find("Phi-4-mini", asks.machine, asks.goal, (), advice("desktop"))
    assert found.setup == next(v.setup for v in advice("desktop") if v.setup.variant == "phi-4-mini-instruct")
    assert found.weighed.verdict.verdict == "yes"


def test_what_nobody_publishes_is_weighed_as_well() -> None:
    asks = question("desktop")
    tried = {v.setup.quantization for v in advice("desktop") if v.setup.variant == "phi-3.5-mini-instruct"}
    name = next(row.id for row in catalog.quantizations("gguf") if row.id not in tried)
    text = f"phi-3.5-mini:{name.lower()}@llama_cpp/cuda"
    found = find(text, asks.machine, asks.goal, (), advice("desktop"))
    assert (str(found.setup), found.place) == (f"phi-3.5-mini-instruct:{name}@llama_cpp/cuda:0", None)
    assert {rule.__name__ for rule in found.weighed.answers} >= {"fits_in_memory", "is_fast_enough"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ph4-mini", "did you mean"), ("phi-4:Q9", "unknown quantization 'Q9'"), ("phi-4:Q8_0@lama_cpp", "'llama_cpp'"),
        ("phi-4:Q8_0@llama_cpp/cuda:7", "did you mean 'cuda:0'?"),
        ("phi-4:Q8_0@llama_cpp/cpu?type=1", "unknown option"),
        ("phi-4:@llama_cpp/cpu", "is not a setup"), ("phi-4:Q8_0@null", "answers nothing"),
    ],
)  # fmt: skip
def test_a_setup_of_nothing_is_one_line(text: str, said: str) -> None:
    asks = question("desktop")
    with pytest.raises(PhibenchError, match=said.replace("?", r"\?")) as caught:
        find(text, asks.machine, asks.goal, (), advice("desktop"))
    assert caught.value.exit_code == BAD_INPUT
    assert "\n" not in str(caught.value)


def test_a_candidate_is_found_again_by_its_verdict() -> None:
    for verdict in advice("desktop"):
        again = candidate_of(question("desktop").machine, verdict.setup)
        assert msgspec.structs.replace(verdict.setup, options=()) == again.setup
        assert again.build == verdict.build
