"""What was said of a test's memory before it began, beside what was seen; and how long a context could be."""

from __future__ import annotations

import msgspec

from phibench import backends, catalog
from phibench.analysis.max_context import max_context
from phibench.catalog.plans.base import Plan
from phibench.core import units
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Measured, Need, Setup, Workload

_SAME = 0.005  # of a buffer
_ROUNDED = 1 << 20  # bytes: a log speaks in MiB


def with_prediction(result: Measured, need: Need, plan: Plan | None, free: int | None) -> Measured:
    """The result with its prediction, and the longest context for which ``free`` bytes would do (None: not asked).

    What the test needed more, or less, than was predicted is taken off what is free.
    """
    result = msgspec.structs.replace(result, predicted=need)
    if plan is None or free is None or result.setup.device != "cpu":
        return result
    more = int(result.readings.get("host_needed_bytes", need.total_bytes)) - need.total_bytes
    most = largest_context(result.setup, plan, result.workload, free - more)
    if most is None:
        return result
    known = " and what this test used" if "host_needed_bytes" in result.readings else ", by arithmetic alone"
    note = f"largest context: computed from {units.gib(free)} of free memory{known}"
    readings = {**result.readings, "max_context_tokens": float(most)}
    return msgspec.structs.replace(result, readings=readings, notes=(*result.notes, note))


def with_engine_plan(result: Measured, plan: Plan) -> Measured:
    """The result with the engine's own plan of its buffers, and a note that compares it with what the engine made."""
    shape = catalog.variant(result.setup.variant).shape
    assert shape is not None, "a variant with a plan has a shape"
    try:
        planned = backends.load(result.setup.backend).planned(
            plan, shape, result.workload, backends.effective(result.setup)
        )
    except PhibenchError as error:
        return msgspec.structs.replace(result, notes=(*result.notes, str(error)))
    if note := _compared(planned, result.engine.buffers):
        result = msgspec.structs.replace(result, notes=(*result.notes, note))
    return msgspec.structs.replace(result, planned=planned)


def _compared(planned: dict[str, int], made: dict[str, int]) -> str:
    both = [use for use in planned if use in made]
    other = [use for use in both if abs(planned[use] - made[use]) > max(_ROUNDED, _SAME * made[use])]
    if other:
        told = ", ".join(f"{use} {units.gib(planned[use])} planned, {units.gib(made[use])} allocated" for use in other)
        return f"the engine did not allocate what it planned: {told}"
    return f"the engine allocated what it planned: {', '.join(both)}" if both else ""


def largest_context(setup: Setup, plan: Plan, workload: Workload, free: int) -> int | None:
    """Tokens of each of the workload's sequences; None where the variant's own limit is not known."""
    variant, options = catalog.variant(setup.variant), backends.effective(setup)
    shape, most = variant.shape, variant.context_tokens
    if shape is None or most is None:
        return None
    need, prompt, batch = backends.load(setup.backend).need, workload.prompt_tokens, workload.batch
    return max_context(lambda tokens: need(plan, shape, tokens, options, prompt, batch).total_bytes, most, free)
