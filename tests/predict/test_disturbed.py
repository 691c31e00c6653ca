"""What was measured beside other programs: they only hold up, by how much is not known, and quiet launches say it."""

from __future__ import annotations

import math

import msgspec
import pytest
from fakes import SETUP, machine, measured, run, workload
from hypothesis import given
from hypothesis import strategies as st

from phibench.core.nouns import Estimate, Machine, Measured
from phibench.predict import calibration, costs
from phibench.predict.fit import HELD_UP
from phibench.predict.speed import Knowledge

BYTES_S = 25e9
COST = costs.step(costs.cost_sheet(SETUP, 8), 16)
QUIET_S = COST.bytes / BYTES_S


def here() -> Machine:
    m = machine()
    return msgspec.structs.replace(m, devices=(msgspec.structs.replace(m.devices[0], read_bytes_s=BYTES_S / 0.7),))


def slice_of(seconds: float, busy_share: float | None, launch: int = 0) -> Measured:
    one = measured(workload(0, 32), (seconds,), layers=8)
    return msgspec.structs.replace(one, busy_share=busy_share, launch=launch)


def told(*results: Measured) -> Estimate:
    found = Knowledge(here(), (run(*results),)).tokens_s(SETUP, COST)
    assert found is not None
    return found


@given(busy=st.floats(0.1, 0.7), part=st.floats(0.2, 0.8))
def test_the_interval_holds_what_a_quiet_machine_does(busy: float, part: float) -> None:
    """Whatever part of the most they were held up by; ends are no 80 % interval's to hold."""
    most = HELD_UP * -math.log1p(-busy)
    found = told(slice_of(QUIET_S * math.exp(part * most), busy))
    assert found.low < 1 / QUIET_S < found.high


@given(busy=st.floats(0.1, 0.7))
def test_others_only_hold_up_so_it_can_be_faster_alone(busy: float) -> None:
    assert told(slice_of(QUIET_S, busy)).high > told(slice_of(QUIET_S, 0.0)).high


def test_many_disturbed_launches_know_no_better_than_one() -> None:
    one = told(slice_of(2 * QUIET_S, 0.4))
    many = told(*(slice_of(2 * QUIET_S, 0.4, launch) for launch in range(12)))
    assert many.high / many.low > 0.9 * one.high / one.low
    assert many.low < 1 / QUIET_S < many.high


def test_disturbed_launches_of_many_days_know_no_better_either() -> None:
    """Their drifts are many; what held them up may have been the same program every day."""
    days = [
        run(msgspec.structs.replace(slice_of(2 * QUIET_S, 0.4), at=f"2026-07-{day:02}T10:00:00Z"))
        for day in range(1, 13)
    ]
    one, many = (Knowledge(here(), runs).tokens_s(SETUP, COST) for runs in (days[:1], days))
    assert one is not None
    assert many is not None
    assert many.high / many.low > 0.8 * one.high / one.low
    assert many.low < 1 / QUIET_S < many.high


def test_a_quiet_launch_ends_the_doubt_of_disturbed_ones() -> None:
    disturbed = [slice_of(2 * QUIET_S, 0.4, launch) for launch in range(6)]
    both, quiet = told(*disturbed, slice_of(QUIET_S, 0.0, 6)), told(slice_of(QUIET_S, 0.0))
    assert both.value == pytest.approx(quiet.value, rel=0.1)
    assert both.high / both.low < 1.1 * quiet.high / quiet.low
    assert not both.doubt


def test_a_test_too_short_to_look_is_as_disturbed_as_its_launch() -> None:
    """16 tokens of a slice take less than a look; the prompt of the same launch took long enough."""

    def shares(*results: Measured) -> list[float]:
        found = calibration.points(here(), (run(*results),))
        return [launch.busy_share for point in found if point.phase == "decode" for launch in point.launches]

    prompt = msgspec.structs.replace(measured(workload(256, 0), (1.0,), layers=8), busy_share=0.4)
    assert shares(slice_of(QUIET_S, None), prompt) == [0.4]
    assert shares(slice_of(QUIET_S, 0.1), prompt) == [0.1]
    later = msgspec.structs.replace(slice_of(QUIET_S, None, 1), at="2026-07-01T12:00:00Z")
    assert shares(later, prompt) == [0.0]  # another launch, hours later: nobody looked
    assert shares(slice_of(QUIET_S, None)) == [0.0]


def test_runs_of_other_days_keep_their_own_shares() -> None:
    quiet, busy = run(slice_of(QUIET_S, None)), run(slice_of(QUIET_S, 0.5))
    points = calibration.points(here(), (quiet, busy))
    assert sorted(point.busy_share for point in points) == [0.0, 0.5]


def test_a_launch_that_is_too_short_to_look_was_as_disturbed_as_what_was_measured_nearest() -> None:
    def at(second: int, busy: float | None, launch: int) -> Measured:
        return msgspec.structs.replace(slice_of(QUIET_S, busy, launch), at=f"2026-01-01T00:00:{second:02}Z")

    def shares(*results: Measured) -> list[float]:
        found = calibration.points(here(), (run(*results),))
        return [launch.busy_share for point in found for launch in point.launches]

    assert shares(at(0, 0.1, 0), at(20, 0.5, 1), at(22, None, 2)) == [0.1, 0.5, 0.5]
    assert shares(at(0, 0.5, 0), at(50, None, 1)) == [0.5, 0.0]  # half a minute is another time
