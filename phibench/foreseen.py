"""What was said of a test's memory before it began, beside what was seen; and how long a context could be."""

from __future__ import annotations

import msgspec

from phibench import backends, catalog, units
from phibench.catalog.plan import Plan
from phibench.longest import longest
from phibench.nouns import Measured, Need, Setup, Workload


def beside(result: Measured, need: Need, plan: Plan | None, free: int | None) -> Measured:
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
    note = f"largest context: reckoned for {units.gib(free)} that were free, and what this test needed"
    readings = {**result.readings, "max_context_tokens": float(most)}
    return msgspec.structs.replace(result, readings=readings, notes=(*result.notes, note))


def largest_context(setup: Setup, plan: Plan, workload: Workload, free: int) -> int | None:
    """Tokens of each of the workload's sequences; None where the variant's own limit is not known."""
    variant, options = catalog.variant(setup.variant), backends.effective(setup)
    shape, most = variant.shape, variant.context_tokens
    if shape is None or most is None:
        return None
    need, prompt, batch = backends.load(setup.backend).need, workload.prompt_tokens, workload.batch
    return longest(lambda tokens: need(plan, shape, tokens, options, prompt, batch).total_bytes, most, free)
