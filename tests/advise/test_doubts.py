"""A machine that others keep busy: what is doubted is no reason for a no, leads nothing, may leave nothing to say."""

from __future__ import annotations

import math
from typing import Any

import fakes
import msgspec
import pytest
from fakes import SETUP, measured, run, workload
from hypothesis import given
from hypothesis import strategies as st

from phibench import catalog
from phibench.advise import limits, ranking, recommend
from phibench.advise.case import Doubted, Unknown
from phibench.advise.doubted import at_the_ends
from phibench.core.errors import NOTHING_FITS, TOO_BUSY
from phibench.core.nouns import Device, Estimate, Goal, Machine, Run, Verdict
from phibench.predict import costs, terms
from phibench.probe.busy import Busy, Program
from phibench.show import advice
from phibench.show import busy as show_busy

WHY = "too low: its threads had a core only 41% of the time"
CHAT = catalog.goal("chat")


def place(read: float = 13.3e9, most: float | None = 27e9, flops: float = 4e11) -> Machine:
    """``most`` None: nobody disturbed the probe."""
    doubt = WHY if most else ""
    quiet = fakes.machine()
    cpu = msgspec.structs.replace(
        quiet.devices[0], read_bytes_s=read, most_read_bytes_s=most, doubt=doubt, basis="probed",
        matrix_flops_s={"float32": flops}, matrix_doubt=doubt,
        most_matrix_flops_s={"float32": 2 * flops} if most else {},
    )  # fmt: skip
    return msgspec.structs.replace(quiet, devices=(cpu,))


def ran(decode_tps: float, busy_share: float | None = None) -> tuple[Run, ...]:
    """phi-4-mini Q4_K_M, whole, measured here."""
    steps = (1 / decode_tps,) * 3
    results = [measured(workload(0, 32, depth=368), steps), measured(workload(512, 0), (1.28,) * 3)]
    return (run(*(msgspec.structs.replace(r, busy_share=busy_share) for r in results)),)


def estimate(low: float, high: float, doubt: str = "", basis: str = "probed") -> Estimate:
    told = {"value": math.sqrt(low * high), "low": low, "high": high, "basis": basis, "because": "", "doubt": doubt}
    return msgspec.convert(told, Estimate)


# ------------------------------------------------------------------------------------------------ estimates


def test_an_estimate_covers_all_that_a_doubted_bandwidth_can_mean() -> None:
    cost = costs.step(costs.cost_sheet(SETUP), 0)
    low, doubted, high = (
        terms.terms(cost, here, here.devices[0]) for here in (place(13e9, None), place(13e9, 27e9), place(27e9, None))
    )
    assert low is not None
    assert doubted is not None
    assert high is not None

    def ends(found: terms.Terms) -> tuple[float, float]:
        factor = math.exp(terms.Z80 * found.sd)
        return found.total_s / factor, found.total_s * factor

    assert ends(doubted)[0] <= ends(high)[0] * 1.02  # kernels are added up in the middle, so nearly
    assert ends(doubted)[1] >= ends(low)[1] * 0.98
    assert high.total_s < doubted.total_s < low.total_s
    assert (low.doubt, high.doubt) == ("", "")
    assert WHY in doubted.doubt
    assert "13 GB/s to 27 GB/s" in doubted.because or "13 GB to 27 GB/s" in doubted.because


def test_times_are_as_doubtful_as_the_speeds_that_they_are_made_of() -> None:
    for verdict in recommend.advise(place(), CHAT, ()):
        for metric in ("ttft_s", "tpot_s", "answer_s"):
            if metric in verdict.estimates:
                assert verdict.estimates[metric].doubt


def test_what_was_measured_quietly_is_not_doubted_and_what_was_disturbed_is() -> None:
    def decode(busy_share: float) -> Estimate:
        found = recommend.advise(place(), CHAT, ran(7.9, busy_share))
        return next(v for v in found if v.setup == SETUP).estimates["decode_tps"]

    assert decode(0.01).doubt == ""
    assert "other programs kept 50%" in decode(0.5).doubt
    assert decode(0.5).high / decode(0.5).low > decode(0.01).high / decode(0.01).low


# ------------------------------------------------------------------------------------------------ verdicts


@given(
    st.floats(0.1, 100), st.floats(1, 10), st.floats(0.1, 100), st.sampled_from(["probed", "calibrated", "measured"])
)
def test_a_doubted_estimate_is_never_the_reason_for_a_no(low: float, wide: float, limit: float, basis: str) -> None:
    for metric in ("decode_tps", "ttft_s"):
        doubted = limits.judge(metric, estimate(low, low * wide, WHY, basis), limit)
        believed = limits.judge(metric, estimate(low, low * wide, "", basis), limit)
        assert doubted is not False
        assert believed is True or doubted is None


def test_a_busy_machine_says_not_known_where_a_quiet_one_says_no() -> None:
    busy, quiet = (recommend.advise(here, CHAT, ()) for here in (place(4e9, 9e9, 4e10), place(4e9, None, 4e10)))
    assert {v.verdict for v in quiet} <= {"no", "unknown"}
    answers = {v.setup: v for v in busy}
    turned = [v for v in quiet if v.verdict == "no" and not v.hard]
    assert turned
    for verdict in turned:
        doubted = answers[verdict.setup]
        assert doubted.verdict == "no" or doubted.doubted
    slow = next(v for v in busy if v.setup == SETUP)
    assert slow.verdict == "unknown"
    assert "(doubtful) may be below 6 tok/s" in str(slow.unknowns[0])
    assert str(slow.unknowns[0]).endswith(": phibench probe")


def test_memory_that_does_not_suffice_is_a_no_all_the_same() -> None:
    here = place()
    small = msgspec.structs.replace(here, limits=msgspec.structs.replace(here.limits, free_bytes=1 << 30))
    found = next(v for v in recommend.advise(small, CHAT, ()) if v.setup == SETUP)
    assert found.verdict == "no"
    assert "close other programs" in found.objections[0]


@pytest.mark.parametrize("tps", [7.9, 5.0, 3.0])
@pytest.mark.parametrize("busy_share", [None, 0.5])
def test_no_guess_leads_what_was_measured_because_of_a_doubt(tps: float, busy_share: float | None) -> None:
    """Seen: a probe of 13.3 GB/s; Q4_K_M at 7.9 tok/s, and the unmeasured int4 of another engine before it."""
    found = recommend.advise(place(), CHAT, ran(tps, busy_share))
    mine = [v for v in found if v.setup.variant == SETUP.variant and v.setup.quantization in ("Q4_K_M", "int4")]
    assert mine[0].setup == SETUP, [(str(v.setup), v.verdict) for v in mine]
    if tps > 6 and busy_share is None:
        assert mine[0].verdict == "yes"


def verdict(decode: Estimate, name: str, **told: bool) -> Verdict:
    setup = msgspec.structs.replace(SETUP, quantization=name)
    return Verdict(setup=setup, estimates={"decode_tps": decode}, **told)  # type: ignore[arg-type]


def test_what_is_doubted_counts_by_its_worse_end() -> None:
    goal = Goal(
        id="x", title="x", prompt_tokens=1, new_tokens=1, context=2, limits={"decode_tps": 10.0}, benchmarks=(),
        source="x",
    )  # fmt: skip
    doubtful, slow, slower = estimate(3, 30, WHY), estimate(8, 8, basis="measured"), estimate(1, 1, basis="measured")

    def told(decode: Estimate, name: str, **answer: Any) -> Verdict:
        missed = limits.miss("decode_tps", decode, 10.0)
        return msgspec.structs.replace(verdict(decode, name), missed=missed, **answer)

    guess = told(doubtful, "int4", doubted=True, unknowns=(Doubted("slow"),))
    sure, far = (told(e, name, objections=("too slow",)) for e, name in ((slow, "Q4_K_M"), (slower, "F16")))
    ordered = sorted((guess, far, sure), key=lambda v: ranking.order_key(goal, v))
    assert ordered == [sure, guess, far]


def test_what_a_measurement_under_bad_conditions_needs_is_another() -> None:
    found = next(v for v in recommend.advise(place(), CHAT, ran(5.0, 0.5)) if v.setup == SETUP)
    assert found.verdict == "unknown"
    assert "phibench run latency -m phi-4-mini-instruct -q Q4_K_M" in str(found.unknowns[0])
    decode = found.estimates["decode_tps"]
    assert decode.low == pytest.approx(5.0)  # that it did, whatever others took
    assert decode.low < decode.value < decode.high


# ------------------------------------------------------------------------------------------------ nothing to say


def answer(kind: str) -> Verdict:
    plain = Verdict(setup=SETUP)
    told = {
        "yes": plain,
        "no": msgspec.structs.replace(plain, objections=("too slow",)),
        "unknown": msgspec.structs.replace(plain, unknowns=(Unknown("not known"),)),
        "doubted": msgspec.structs.replace(plain, unknowns=(Doubted("slow"),), doubted=True),
        "doubted no": msgspec.structs.replace(plain, objections=("too large",), doubted=True),
    }
    return told[kind]


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        (("yes", "doubted", "no"), 0),
        (("doubted", "no"), TOO_BUSY),
        (("doubted", "unknown"), TOO_BUSY),
        (("unknown", "no"), 0),
        (("doubted no", "no"), NOTHING_FITS),  # quiet or not, it is too large
        (("no",), NOTHING_FITS),
    ],
)
def test_the_exit_code_of_an_advice(kinds: tuple[str, ...], code: int) -> None:
    found = tuple(map(answer, kinds))
    assert recommend.outcome(found, here=True) == code
    assert recommend.outcome(found, here=False) == (0 if code == TOO_BUSY else code)


NOW = Busy(look_s=1.0, cpus=2, share=0.7, programs=(Program(name="cc1plus", cpus=1.2), Program(name="rsync", cpus=0.2)))


def test_the_paragraph_says_what_is_doubtful_who_is_busy_and_what_to_type() -> None:
    here = place(4e9, 9e9, 4e10)
    verdicts, ends = (
        recommend.advise(here, CHAT, ()),
        at_the_ends(here, lambda there: recommend.advise(there, CHAT, ())),
    )
    text = show_busy.nothing_can_be_said(here, verdicts, ends, NOW, "recommend")
    for told in (
        "4 GB/s to 9 GB/s, too low: its threads had a core only 41%", "float32 40 GFLOP/s to 80 GFLOP/s",
        "cc1plus (1.2 cpus), rsync (20% of a cpu)", "phibench recommend",
        f"{sum(v.doubted and v.verdict == 'unknown' for v in verdicts)} setups depend",
    ):  # fmt: skip
        assert told in text
    calm = show_busy.nothing_can_be_said(here, verdicts, ends, Busy(), "recommend")
    assert "cc1plus" not in calm
    assert "Close what was running" in calm


@pytest.mark.parametrize(("read", "most"), [(4e9, 9e9), (1.2e10, 6e10), (2e10, 2.2e10)])
def test_at_both_ends_it_says_what_a_machine_without_doubt_is_told(read: float, most: float) -> None:
    """Seen: what came first among doubtful figures was called sure, and was the pick at neither end."""
    here = place(read, most, 2e11)

    def advise(machine: Machine) -> tuple[Verdict, ...]:
        return recommend.advise(machine, CHAT, ())

    slow, fast = at_the_ends(here, advise)
    assert slow is not None
    assert fast is not None
    assert not slow.doubted
    assert not fast.doubted
    for end, rate, times in ((slow, read, 1), (fast, most, 2)):
        cpu = here.device("cpu")
        assert cpu is not None
        sure = msgspec.structs.replace(
            cpu, read_bytes_s=rate, matrix_flops_s={k: times * v for k, v in cpu.matrix_flops_s.items()},
            most_read_bytes_s=None, most_matrix_flops_s={}, doubt="", matrix_doubt="",
        )  # fmt: skip
        assert advise(msgspec.structs.replace(here, devices=(sure,)))[0] == end
    text = show_busy.nothing_can_be_said(here, advise(here), (slow, fast), Busy(), "recommend")
    same = f"Either way the pick is {slow.setup} ("
    two = f"As slow as seen, the pick is {slow.setup} ({slow.level}); as fast as it can be, it is {fast.setup} "
    assert (same if slow.setup == fast.setup else two) in text


def test_the_host_of_a_virtual_machine_is_named_where_it_took_more() -> None:
    stolen = Busy(look_s=1.0, cpus=2, share=0.05, steal_share=0.4)
    assert show_busy.by(stolen) == "the host of this virtual machine"
    assert show_busy.by(Busy(look_s=1.0, cpus=2, share=0.05)) == ""
    assert show_busy.by(Busy(look_s=1.0, cpus=2, share=0.6)) == "other programs (60% of the cpus)"


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_says_once_what_is_doubted(width: int) -> None:
    here = place(4e9, 9e9, 4e10)
    text = advice.text(here, CHAT, CHAT.context, recommend.advise(here, CHAT, ()), 3, "table", width)
    assert max(map(len, text.splitlines())) <= width
    assert " ".join(text.split()).count("doubtful: read bandwidth 4 GB/s to 9 GB/s") == 1
    quiet = place(4e9, None, 4e10)
    assert "doubtful" not in advice.text(
        quiet, CHAT, CHAT.context, recommend.advise(quiet, CHAT, ()), 3, "table", width
    )


def test_a_device_without_a_doubt_has_no_line() -> None:
    assert show_busy.doubts(place(13e9, None)) == ()
    gpu = Device(kind="cuda:0", name="x", read_bytes_s=5e11, most_read_bytes_s=1e12, doubt="too low: busy")
    (line,) = show_busy.doubts(msgspec.structs.replace(place(13e9, None), devices=(gpu,)))
    assert line.startswith("doubtful: read bandwidth of cuda:0 500 GB/s to 1 TB/s, too low: busy; ")
