"""The whole advice on the real catalog: three answers, one order, nothing invented."""

from __future__ import annotations

import functools
import json
import math
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from fakes import GIB, SETUP, machine, measured, run, workload
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phibench import backends, catalog
from phibench.advise import ranking, recommend, rules
from phibench.advise.candidates import Narrowed
from phibench.advise.limits import judge
from phibench.catalog import builds
from phibench.core import extras, metrics
from phibench.core.errors import BAD_INPUT, NOTHING_FITS, PhibenchError
from phibench.core.nouns import Basis, Build, Device, Estimate, Goal, Limits, Machine, Run, Setup, Verdict
from phibench.show import advice, advice_document

# the fixture is the same for every example
SLOW = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def place(free_gib: float = 21, bandwidth: float | None = 41e9, flops: float | None = 400e9) -> Machine:
    m = machine()
    cpu = msgspec.structs.replace(m.devices[0], read_bytes_s=bandwidth, flops_s=flops, basis="probed")
    free = int(free_gib * GIB)
    limits = Limits(cpus=2, threads=2, memory_bytes=max(free, 24 * GIB), free_bytes=free)
    return msgspec.structs.replace(m, devices=(cpu,), limits=limits)


def quick() -> tuple[Run, ...]:
    """pp512 at 40 tok/s, and behind the goal's prompt and half its answer 12."""
    deep = measured(workload(0, 32, depth=368), (1 / 12, 1 / 11.8, 1 / 12.2))
    results = (measured(workload(512, 0), (1.28, 1.27, 1.29)), deep)
    return (run(*results),)


@functools.cache
def chat() -> tuple[Verdict, ...]:
    return recommend.advise(place(), catalog.goal("chat"), quick())


def find(verdicts: tuple[Verdict, ...], text: str) -> Verdict:
    return next(v for v in verdicts if str(v.setup) == text)


# ------------------------------------------------------------------------------------------ end to end


def test_a_small_laptop_is_told_phi_4_mini_for_chat() -> None:
    """2 cores, 24 GB, 41 GB/s: phi-4 is too slow to read along, phi-4-mini in 4 bits is what the field would take."""
    best = ranking.shown(chat(), 1)[0]
    assert best.verdict == "yes"
    assert best.setup.variant == "phi-4-mini-instruct"
    assert best.setup.quantization in ("Q4_K_M", "Q4_K_S", "IQ4_NL")
    phi4 = find(chat(), "phi-4:Q4_K_M@llama_cpp/cpu")
    assert phi4.verdict == "no"
    assert any("Decode" in o for o in phi4.objections)
    moe = find(chat(), "phi-3.5-moe-instruct:Q4_K_M@llama_cpp/cpu")
    assert any("GiB" in o for o in moe.objections)


def test_what_was_measured_here_is_quoted_and_its_neighbours_are_calibrated() -> None:
    known = find(chat(), str(SETUP)).estimates
    assert known["decode_tps"].basis == "measured"
    assert known["decode_tps"].value == pytest.approx(12)
    assert known["prefill_tps"].basis == "calibrated"  # pp512 was measured, the goal's prompt is another
    other = find(chat(), "phi-4:Q4_K_M@llama_cpp/cpu").estimates
    assert other["decode_tps"].basis == other["ttft_s"].basis == "calibrated"


def test_every_variant_and_quantization_is_a_candidate_once_and_null_is_none() -> None:
    setups = [str(v.setup) for v in chat()]
    assert len(set(setups)) == len(setups)
    assert not any(v.setup.backend == "null" for v in chat())
    assert all(v.build for v in chat())  # SETUP, which was measured, is offered too


def test_what_nobody_publishes_is_a_candidate_where_it_is_asked_for_or_was_measured_here() -> None:
    unpublished = Setup(variant="phi-4-reasoning", quantization="IQ2_M", backend="llama_cpp")
    assert builds.offered("phi-4-reasoning", "gguf", "IQ2_M", "cpu") is None
    assert not [v for v in chat() if v.setup == unpublished]
    (mine,) = recommend.advise(place(), catalog.goal("chat"), (), only=Narrowed(
        variants=("phi-4-reasoning",), quantizations=("IQ2_M",), backends=("llama_cpp",)))  # fmt: skip
    assert (mine.setup, mine.build) == (unpublished, None)
    everything = recommend.advise(place(), catalog.goal("chat"), (), only=Narrowed(any_build=True))
    assert {v.setup.variant for v in everything} == {v.id for v in catalog.variants()}
    seen = run(measured(workload(512, 0), (1.28, 1.27, 1.29), setup=unpublished))
    found = recommend.advise(place(), catalog.goal("chat"), (seen,))
    assert [v.build for v in found if v.setup == unpublished] == [None]


@pytest.mark.parametrize("goal", [g.id for g in catalog.goals()])
def test_every_goal_of_the_catalog_gets_an_answer_with_reasons(goal: str) -> None:
    for verdict in recommend.advise(place(), catalog.goal(goal), quick()):
        if verdict.verdict != "yes":
            assert all((*verdict.objections, *verdict.unknowns))


def test_a_fast_gpu_elsewhere_takes_a_larger_model() -> None:
    """A machine that is not here, from a data sheet (RTX 4090), no runs."""
    gpu = Device(
        kind="cuda:0", name="RTX 4090", memory_bytes=24 * GIB, read_bytes_s=1008e9, flops_s=165e12, basis="spec"
    )
    desktop = msgspec.structs.replace(place(), devices=(gpu,))
    best = recommend.advise(desktop, catalog.goal("chat"), ())[0]
    assert best.verdict == "yes"
    assert best.setup.variant.startswith("phi-4")
    assert best.setup.device == "cuda:0"
    assert best.estimates["decode_tps"].basis == "spec"
    assert advice.rows([best])[0]["memory"].endswith("GiB")


def test_without_bandwidth_or_runs_nothing_is_promised() -> None:
    verdicts = recommend.advise(place(bandwidth=None, flops=None), catalog.goal("chat"), ())
    assert {v.verdict for v in verdicts} == {"no", "unknown"}
    assert recommend.outcome(verdicts, here=True) == 0
    assert not any("decode_tps" in v.estimates for v in verdicts)


def test_nothing_fits_into_a_tiny_machine() -> None:
    verdicts = recommend.advise(place(free_gib=0.25), catalog.goal("chat"), ())
    assert recommend.outcome(verdicts, here=True) == NOTHING_FITS


def test_what_the_user_asks_replaces_the_goals_own() -> None:
    goal = catalog.goal("chat")
    strict = recommend.advise(place(), goal, quick(), min_tps=100)
    assert not any(v.verdict == "yes" for v in strict)
    patient = msgspec.structs.replace(goal, limits={"ttft_s": 1.0, "decode_tps": 10.0})
    loose = recommend.advise(place(), patient, quick(), min_tps=0.1, max_ttft=1e6)
    assert any(v.verdict == "yes" and v.setup.variant == "phi-4" for v in loose)
    short = recommend.advise(place(), goal, quick(), context=1024)
    full = find(chat(), str(SETUP)).estimates["kv_bytes"].value
    assert find(short, str(SETUP)).estimates["kv_bytes"].value == full / 8


def test_a_context_too_short_for_the_goal_is_an_error_with_the_remedy() -> None:
    with pytest.raises(PhibenchError, match="--context 1k"):
        recommend.advise(place(), catalog.goal("chat"), (), context=100)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"min_tps": 0.0}, "--min-tps 0.0 makes no sense; write 0.001 to 1000000, or leave it out"),
        ({"min_tps": -5.0}, "--min-tps -5.0 makes no sense"),
        ({"min_tps": math.nan}, "--min-tps nan makes no sense"),
        ({"min_tps": math.inf}, "--min-tps inf makes no sense"),
        ({"max_ttft": 0.0}, "--max-ttft 0.0 makes no sense"),
        ({"max_ttft": -1.0}, "--max-ttft -1.0 makes no sense"),
        ({"max_ttft": math.nan}, "--max-ttft nan makes no sense"),
        ({"thinking_tokens": -5}, "--thinking-tokens -5 makes no sense; write 0 to 1000000, or leave it out"),
        ({"thinking_tokens": 10**400}, "--thinking-tokens 1000"),
        ({"min_tps": 1e308}, "--min-tps 1e+308 makes no sense"),
        ({"max_ttft": 5e-324}, "--max-ttft 5e-324 makes no sense"),
        ({"context": 0}, "--context 0 holds no token; write 4096 or 4k"),
        ({"context": 10 << 20}, "--context 10485760 is too long: no Phi reads more than 131072 tokens"),
    ],
)
def test_what_makes_no_sense_is_one_line_with_the_flag_and_the_remedy(asked: dict[str, Any], line: str) -> None:
    with pytest.raises(PhibenchError) as caught:
        recommend.advise(place(), catalog.goal("chat"), (), **asked)
    assert str(caught.value).startswith(line)
    assert caught.value.exit_code == BAD_INPUT


@pytest.mark.usefixtures("few_quantizations")
@pytest.mark.parametrize("figure", [0.001, 1e6])
def test_the_most_extreme_figures_get_an_answer(figure: float) -> None:
    goal = catalog.goal("chat")
    found = recommend.advise(place(), goal, quick(), min_tps=figure, max_ttft=figure, thinking_tokens=round(figure))
    assert len(advice.rows(found)) == len(found)


def test_hints_say_what_to_install_and_never_speak_against_a_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.load("llama_cpp"), "installed", lambda: None)
    monkeypatch.setattr(backends.load("torch"), "installed", lambda: "1.0")
    compiled = f"llama_cpp is not installed here, takes a C++ compiler: {extras.line('llama-cpp')}"
    best = chat()[:1]
    assert recommend.hints(best) == (compiled,)
    for name in ("torch", "onnxruntime"):
        monkeypatch.setattr(backends.load(name), "installed", lambda: None)
    ready = f"onnxruntime is not installed here: {extras.line('onnxruntime')}"
    assert recommend.hints(best) == (compiled, ready)
    assert recommend.advise(place(), catalog.goal("chat"), quick()) == chat()


# ------------------------------------------------------------------------------------------------ order


def test_where_nothing_fits_the_nearest_comes_first() -> None:
    """Not the best model that is far too slow, and not one that cannot run at all."""
    verdicts = recommend.advise(place(bandwidth=10e9, flops=50e9), catalog.goal("chat"), ())
    assert recommend.outcome(verdicts, here=True) == NOTHING_FITS
    assert verdicts[0].setup.variant == "phi-4-mini-instruct"
    assert all(" is below " in text or " is over " in text for text in verdicts[0].objections)
    soft = [v.hard == 0 for v in verdicts]
    assert soft == sorted(soft, reverse=True)


def test_on_two_slow_cores_what_was_measured_leads_and_it_is_said_that_nothing_keeps_up() -> None:
    """Seen on Zen 3: 4.9 tok/s measured, and before it three guesses of other engines that might do six."""
    here, goal = place(free_gib=12, bandwidth=20e9, flops=250e9), catalog.goal("chat")
    seen = run(measured(workload(0, 32, depth=368), (1 / 4.9,) * 3), measured(workload(512, 0), (2.05,) * 3))
    verdicts = recommend.advise(here, goal, (msgspec.structs.replace(seen, machine=here),))
    assert (verdicts[0].setup, verdicts[0].level) == (SETUP, "no")
    assert any("Decode 4.9 tok/s" in text for text in verdicts[0].objections)
    text = " ".join(advice.text(here, goal, goal.context, verdicts, 5, "table", 100).split())
    assert (
        f"nothing here keeps up with reading: 6 tok/s are asked for, the fastest that was measured is {SETUP}" in text
    )


def test_yes_comes_first() -> None:
    answers = [v.verdict == "yes" for v in chat()]
    assert answers == sorted(answers, reverse=True)


def test_the_order_is_total_and_does_not_depend_on_where_it_starts() -> None:
    goal = catalog.goal("chat")
    keys = [ranking.order_key(goal, v) for v in chat()]
    assert len(set(keys)) == len(keys)
    shuffled = random.Random(0).sample(chat(), len(chat()))
    assert tuple(sorted(shuffled, key=lambda v: ranking.order_key(goal, v))) == chat()


# One verdict that all is well with; each case changes one thing. "phi-4" leads "phi-4-mini-instruct" by its tier.
GOAL = Goal(
    id="t", title="T", prompt_tokens=1, new_tokens=1, context=8, benchmarks=(), felt_tps=15.0,
    limits={"quant_kld": 0.1}, tiers=(("phi-4", "phi-4-reasoning"), ("phi-4-mini-instruct",)),
)  # fmt: skip
BUILD = Build(variant="x", quantization="x", format="gguf", publisher="x", repository="x/y", source="test")


def told(
    variant: str = "phi-4", quantization: str = "Q8_0", options: dict[str, str] | None = None, *, decode: float = 20.0,
    loss: float = 0.001, basis: Basis = "spec", backend: str = "llama_cpp", **more: Any,
) -> Verdict:  # fmt: skip
    setup = Setup(
        variant=variant, quantization=quantization, backend=backend, device="cuda:0",
        options=tuple((options or {}).items()),
    )  # fmt: skip

    def known(value: float, basis: Basis) -> Estimate:
        return Estimate(value=value, low=value, high=value, basis=basis, because="test")

    estimates = {"decode_tps": known(decode, basis), "quant_kld": known(loss, "published")}
    return Verdict(setup=setup, estimates=estimates, **{"build": BUILD, "comfortable": True, **more})


def no(by: float = 2.0, **more: Any) -> Verdict:
    return told(objections=("too slow",), missed=by, comfortable=False, **more)


MINI: dict[str, Any] = {"variant": "phi-4-mini-instruct"}
TORCH: dict[str, Any] = {"backend": "torch"}


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        pytest.param(told(**MINI, comfortable=False, decode=1, loss=0.09), no(by=1.01), id="yes before not yes"),
        pytest.param(no(by=1.3, **MINI), no(by=1.5), id="not yes: the nearest first"),
        pytest.param(no(by=1.21), no(by=1.22, **MINI), id="not yes: near alike, then the tier"),
        pytest.param(no(by=9), no(by=9.01, overflows=1.2), id="not yes: what fits before what has no room"),
        pytest.param(
            no(by=9, quantization="Q4_K_M", loss=0.03),
            no(by=2, quantization="IQ2_M", loss=0.3),
            id="not yes: what answers well enough before what is near",
        ),
        pytest.param(no(by=9), no(by=1, hard=1), id="not yes: what an amount cures first"),
        pytest.param(told(**MINI, comfortable=False), told("phi-4-reasoning"), id="no thinking where it is not wanted"),
        pytest.param(told(**MINI), told(comfortable=False), id="comfortable before a better tier"),
        pytest.param(told(decode=16, loss=0.05), told(**MINI, decode=99), id="a better tier before all of a build"),
        pytest.param(told(loss=0.09), told(build=None), id="published before what nobody has"),
        pytest.param(told(decode=1), told(**TORCH), id="another engine before torch"),
        pytest.param(told(**TORCH), told(loss=0.09), id="torch where no other has a build as good"),
        pytest.param(told(**TORCH, basis="measured", decode=14), told(decode=9), id="torch that was measured faster"),
        pytest.param(told(loss=0.05), told(quantization="Q5_0"), id="no type that was superseded"),
        pytest.param(told(loss=0.05, decode=1), told(loss=0.07), id="loss that is noticed"),
        pytest.param(told(loss=0.05, decode=5), told(options={"n_gpu_layers": "3"}), id="whole before split"),
        pytest.param(told(loss=0.05, decode=5), told(options={"type_k": "q8_0", "type_v": "q8_0"}), id="KV in f16"),
        pytest.param(told(loss=0.05, decode=14), told(decode=9), id="speed that is felt before loss that is not"),
        pytest.param(told(decode=15), told(loss=0.05, decode=90), id="loss before speed that nobody feels"),
        pytest.param(told(loss=0.0014, decode=30), told(loss=0.0006, decode=20), id="Q8_0 and F16 tie, so the faster"),
        pytest.param(told(basis="measured"), told(basis="calibrated"), id="of equals the measured one"),
        pytest.param(told("phi-4"), told("phi-4-reasoning-plus"), id="at last the name"),
    ],
)
def test_what_decides_before_what(better: Verdict, worse: Verdict) -> None:
    assert ranking.order_key(GOAL, better) < ranking.order_key(GOAL, worse)


def test_where_thinking_is_wanted_it_is_no_fault() -> None:
    patient = msgspec.structs.replace(GOAL, thinking="wanted", tiers=(("phi-4-reasoning",), ("phi-4",)))
    thinks, plain = told("phi-4-reasoning"), told()
    assert ranking.order_key(patient, thinks) < ranking.order_key(patient, plain)
    assert ranking.order_key(GOAL, plain) < ranking.order_key(GOAL, thinks)


# ------------------------------------------------------------------------------------------ properties


@pytest.fixture
def few_quantizations() -> Iterator[None]:
    """All variants, but only some of the 24 GGUF quantizations: a tenth of a second an advice."""
    some = tuple(q for q in catalog.quantizations("gguf") if q.id in ("F16", "BF16", "Q4_K_M", "IQ3_S"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "quantizations", lambda fmt=None: some if fmt in (None, "gguf") else ())
        yield


def yes(verdicts: tuple[Verdict, ...]) -> set[str]:
    """Whatever the type of its KV cache: a smaller one is tried from 16k tokens on."""
    return {str(v.setup).partition("?type_k")[0] for v in verdicts if v.verdict == "yes"}


def refused(verdicts: tuple[Verdict, ...]) -> set[str]:
    """With every type of KV cache that was tried."""
    found = {str(v.setup).partition("?type_k")[0] for v in verdicts if v.verdict == "no"}
    return found - {str(v.setup).partition("?type_k")[0] for v in verdicts if v.verdict != "no"}


@SLOW
@pytest.mark.usefixtures("few_quantizations")
@given(st.floats(0.5, 32), st.floats(1, 4), st.floats(1e10, 1e12), st.floats(1, 10))
def test_more_memory_or_bandwidth_never_turns_a_yes_into_less(
    free_gib: float, more_memory: float, bandwidth: float, faster: float
) -> None:
    goal = catalog.goal("chat")
    small = recommend.advise(place(free_gib, bandwidth, 2e12), goal, ())
    large = recommend.advise(place(free_gib * more_memory, bandwidth * faster, 2e12), goal, ())
    assert yes(small) <= yes(large)
    assert refused(large) <= refused(small)


@SLOW
@pytest.mark.usefixtures("few_quantizations")
@given(st.floats(0.1, 50), st.floats(1, 5), st.floats(0.1, 100), st.floats(1, 5), st.integers(512, 30_000))
def test_a_stricter_limit_never_adds_a_yes(
    min_tps: float, faster: float, max_ttft: float, sooner: float, context: int
) -> None:
    def ask(tps: float, ttft: float, tokens: int) -> tuple[Verdict, ...]:
        return recommend.advise(place(), catalog.goal("chat"), quick(), min_tps=tps, max_ttft=ttft, context=tokens)

    loose, strict = ask(min_tps, max_ttft, context), ask(min_tps * faster, max_ttft / sooner, context * 2)
    assert yes(strict) <= yes(loose)
    assert refused(loose) <= refused(strict)


def test_unknown_never_counts_as_yes() -> None:
    goal = catalog.goal("chat")
    for v in chat():
        for metric, limit in goal.limits.items():
            if v.verdict == "yes":
                assert judge(metric, v.estimates[metric], limit) is True


def test_no_number_without_an_interval_around_it_and_a_reason() -> None:
    for v in chat():
        for metric, e in v.estimates.items():
            assert e.low <= e.value * (1 + 1e-9), (v.setup, metric)
            assert e.value <= e.high * (1 + 1e-9), (v.setup, metric)
            assert e.because


# ----------------------------------------------------------------------------------------------- shown


def test_the_table_has_one_row_per_variant_unless_everything_is_asked_for() -> None:
    rows = advice.rows(ranking.shown(chat(), 5))
    assert [r["rank"] for r in rows] == ["1", "2", "3", "4", "5"]
    assert len({r["setup"].split(":")[0] for r in rows}) == 5
    assert len(advice.rows(chat())) == len(chat())


def test_a_row_names_the_benchmark_and_tells_bases_apart() -> None:
    row = next(r for r in advice.rows(chat()) if r["setup"] == str(SETUP))
    assert row["quality"] == "52.8 MMLU-Pro"
    assert row["decode tok/s"] == "12"
    assert row["TTFT"].startswith("~6.")
    row = next(r for r in advice.rows(chat()) if r["setup"].startswith("phi-4:Q4_K_M"))
    assert row["decode tok/s"].startswith("~")
    assert "Decode" in row["why"]


def test_a_command_is_told_once_per_row() -> None:
    verdicts = recommend.advise(place(bandwidth=None, flops=None), catalog.goal("chat"), ())
    unknown = next(v for v in verdicts if v.verdict == "unknown" and len(v.unknowns) > 1)
    verdicts = (unknown,)
    row = advice.rows(ranking.shown(verdicts, 1))[0]
    assert row["level"] == "perhaps"
    command = f": {rules.command(unknown.setup)}"
    assert row["why"].count(command) == 1
    assert row["why"].endswith(command)
    told = advice_document.to_json(place(), catalog.goal("chat"), None, verdicts, 1)["candidates"][0]["unknowns"]
    assert len(told) > 1
    assert all(text.endswith(command) for text in told)


def test_json_is_what_the_interface_says() -> None:
    goal = catalog.goal("chat")
    document: dict[str, Any] = json.loads(msgspec.json.encode(advice_document.to_json(place(), goal, None, chat())))
    assert document["schema"] == 1
    assert document["goal"] == "chat"
    assert document["context"] == goal.context
    assert document["machine"]["devices"][0]["kind"] == "cpu"
    assert len(document["candidates"]) == len(chat())
    for candidate in document["candidates"]:
        assert set(candidate) == {
            "setup", "variant", "quantization", "backend", "device", "options", "verdict", "level", "loss_class",
            "published", "repository", "file", "estimates", "objections", "unknowns", "why", "change",
        }  # fmt: skip
        assert candidate["level"] in ("comfortable", "usable", "perhaps", "no")
        assert candidate["published"] == (candidate["repository"] is not None)
        for metric, estimate in candidate["estimates"].items():
            assert metric in metrics.METRICS or metric == "device_peak_bytes"
            always = {"value", "low", "high", "basis", "because"}
            scores = {"benchmark", "carried_from"} if metric == "quality" else set()
            assert estimate is None or always | scores <= set(estimate) <= always | scores | {"grounds", "doubt"}
    excluded = next(c for c in document["candidates"] if c["variant"] == "phi-1")
    assert excluded["estimates"]["decode_tps"] is None


def test_top_counts_variants() -> None:
    assert len(ranking.shown(chat(), 3)) == 3
