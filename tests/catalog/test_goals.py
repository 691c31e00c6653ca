"""Tiers rest on scores or say why not; every variant has its place; the seed guide, which Phi for which use."""

from __future__ import annotations

import itertools

import pytest

from phibench import catalog
from phibench.catalog import plans
from phibench.core.metrics import METRICS
from phibench.core.nouns import Goal, Variant

VARIANTS = {v.id: v for v in catalog.variants()}
GOALS = pytest.mark.parametrize("goal", catalog.goals(), ids=lambda g: g.id)
NOISE = 3.0  # points: what scores of one benchmark differ by between two pipelines
GIB = 1 << 30


def score(variant: Variant, benchmark: str) -> float | None:
    """The best documented one, of equals the first in the file."""
    kinds = ("primary", "secondary", "memory")
    found = [s for s in variant.scores if s.benchmark == benchmark]
    return min(found, key=lambda s: kinds.index(s.source_kind)).value if found else None


def lead(goal: Goal, higher: str, lower: str) -> float | None:
    """By how many points the lower variant scores higher, at most; None: no benchmark of the goal has both."""
    both = [(score(VARIANTS[lower], b), score(VARIANTS[higher], b)) for b in goal.benchmarks]
    return max((a - b for a, b in both if a is not None and b is not None), default=None)


def stood(goal: Goal) -> list[str]:
    return [name for tier in goal.tiers for name in tier]


def leaders(goal_id: str, place: int = 0) -> set[str]:
    """Of the first tier, or a later one, that has a variant which does not think where the goal avoids it."""
    goal = catalog.goal(goal_id)
    wanted = goal.thinking == "wanted"
    tiers = [{name for name in tier if wanted or not VARIANTS[name].reasoning} for tier in goal.tiers]
    return [tier for tier in tiers if tier][place]


# ------------------------------------------------------------------------------------------------------- evidence


@GOALS
def test_every_variant_stands_in_one_tier_or_is_not_for_this_goal(goal: Goal) -> None:
    named = [*stood(goal), *goal.not_for]
    assert len(named) == len(set(named))
    assert set(named) == set(VARIANTS)
    assert all(goal.tiers)


@GOALS
def test_a_reason_reads_well_after_its_variant(goal: Goal) -> None:
    for reason in (*goal.not_for.values(), *goal.despite.values()):
        assert reason == reason.strip()
        assert not reason.endswith(".")
        assert len(reason) < 120
    assert all(reason.startswith(("it ", "its ", "a token of it ", "even ", "no ")) for reason in goal.not_for.values())


@GOALS
def test_no_tier_contradicts_a_score_without_saying_why(goal: Goal) -> None:
    against = set()
    for better, worse in itertools.combinations(goal.tiers, 2):
        for higher, lower in itertools.product(better, worse):
            points = lead(goal, higher, lower)
            if points is not None and points > NOISE:
                against.add(f"{lower} < {higher}")
    assert set(goal.despite) == against  # none is missing, none is needless


@GOALS
def test_who_stands_in_a_tier_can_do_what_the_goal_asks(goal: Goal) -> None:
    for name in stood(goal):
        variant = VARIANTS[name]
        able = {
            "reasoning": variant.reasoning,
            "function_calling": variant.function_calling,
            "multilingual": len(variant.languages) > 1,
            "image": "image" in variant.modalities_in,
            "audio": "audio" in variant.modalities_in,
            "open_licence": variant.license == "MIT",
        }
        assert all(able[ability] for ability in goal.requires), name
        if variant.context_tokens:
            assert goal.prompt_tokens + goal.new_tokens <= variant.context_tokens, name


@GOALS
def test_limits_and_comfort_are_metrics_and_comfort_is_stricter(goal: Goal) -> None:
    assert set(goal.limits) | set(goal.comfort) <= set(METRICS)
    for metric, comfortable in goal.comfort.items():
        if metric in goal.limits:
            sign = 1 if METRICS[metric].better == "higher" else -1
            assert comfortable * sign > goal.limits[metric] * sign
    if goal.felt_tps is not None:
        assert goal.felt_tps > max(goal.comfort.get("decode_tps", 0), goal.limits["decode_tps"])


@GOALS
def test_the_work_fits_into_the_context(goal: Goal) -> None:
    thinking = (goal.thinking_tokens or 0) if goal.thinking == "wanted" else 0
    assert goal.prompt_tokens + thinking + goal.new_tokens <= goal.context
    if goal.training:
        assert goal.training.sequence_tokens == goal.context


@GOALS
def test_losses_of_builds_that_people_use_tie(goal: Goal) -> None:
    usual = [catalog.quantization(name).kld for name in ("Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")]
    coarse = catalog.quantization("Q4_0").kld
    assert coarse is not None
    assert max(kld or 0.0 for kld in usual) <= goal.equal_loss
    assert goal.equal_loss < coarse or goal.training  # four bits that were trained on lose nothing


def test_phi_silica_is_no_download() -> None:
    assert all("phi-silica" in goal.not_for for goal in catalog.goals())


@GOALS
def test_phi_4_multimodal_stands_below_phi_4_mini_whose_text_it_has(goal: Goal) -> None:
    both = ("phi-4-mini-instruct", "phi-4-multimodal-instruct")
    places = [i for name in both for i, tier in enumerate(goal.tiers) if name in tier]
    if "phi-4-mini-instruct" in stood(goal):
        assert places == sorted(set(places))


# ------------------------------------------------------------------------- the seed guide, which Phi for which use

MINIS = {"phi-4-mini-instruct", "phi-3.5-mini-instruct", "phi-3-mini-4k-instruct", "phi-3-mini-128k-instruct"}
MIXTURE = "phi-3.5-moe-instruct"


@pytest.mark.parametrize("goal", ["phone", "edge", "battery"])
def test_on_device_and_phone_mini(goal: str) -> None:
    assert leaders(goal) == {"phi-4-mini-instruct"}
    assert "phi-3.5-mini-instruct" in leaders(goal, 1)
    assert not any((VARIANTS[name].parameters or 0) > 8e9 for name in stood(catalog.goal(goal)))


def test_general_chat_mini_or_phi_4() -> None:
    assert leaders("chat") == {"phi-4"}
    assert {"phi-4-mini-instruct", MIXTURE} <= leaders("chat", 1)


@pytest.mark.parametrize("goal", ["reasoning", "math"])
def test_reasoning_and_mathematics_the_reasoning_line(goal: str) -> None:
    assert [leaders(goal, place) for place in (0, 1)] == [{"phi-4-reasoning-plus"}, {"phi-4-reasoning"}]
    assert "phi-4-mini-reasoning" in leaders(goal, 2)


def test_vision_vision_or_multimodal() -> None:
    assert "phi-4-multimodal-instruct" in leaders("vision")
    assert all("vision" in name for place in (1, 2) for name in leaders("vision", place))


def test_speech_multimodal() -> None:
    assert stood(catalog.goal("speech")) == ["phi-4-multimodal-instruct"]


def test_long_documents_the_128k_line() -> None:
    assert leaders("long-context") == {MIXTURE, "phi-4-mini-instruct", "phi-3.5-mini-instruct"}
    for name in leaders("long-context") | leaders("long-context", 1):
        assert VARIANTS[name].context_tokens == 131_072


def test_code_the_phi_4_family() -> None:
    assert leaders("code") == {"phi-4"}
    assert "phi-4-mini-instruct" in leaders("code", 1)


def test_cost_bound_mini_in_four_bits() -> None:
    """All losses up to four bits' are alike and no speed is too much: of a tier the fewest bytes lead."""
    goal = catalog.goal("battery")
    assert leaders("battery") <= MINIS
    four = catalog.quantization("Q4_K_M").kld
    assert four is not None
    assert goal.equal_loss >= four
    assert goal.felt_tps is None


def test_servers_phi_4_then_the_mixture_of_experts() -> None:
    assert [leaders("enterprise", place) for place in (0, 1)] == [{"phi-4"}, {MIXTURE}]


def test_a_mini_in_four_bits_keeps_the_memory_of_a_phone_and_of_a_board() -> None:
    weights = plans.plan(VARIANTS["phi-4-mini-instruct"], "Q4_K_M", fmt="gguf").file_bytes
    for goal in map(catalog.goal, ("phone", "edge")):
        kv = (VARIANTS["phi-4-mini-instruct"].kv_bytes_per_token_f16 or 0) * goal.context
        assert weights + kv < goal.comfort["host_needed_bytes"] - 0.25 * GIB
    assert weights < catalog.goal("phone").limits["disk_bytes"]
