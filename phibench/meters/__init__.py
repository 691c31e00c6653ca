"""What looks on while a model runs: energy counters, memory, sensors. A suite's metrics decide which.

One file per kind. A meter that cannot be read raises NotMeasurableError, with the remedy, before a model
is opened: nothing is ever filled in for it.

In: a job. Out: what was read in each window of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from phibench.core.metrics import metered
from phibench.core.nouns import Job
from phibench.meters.contract import Meters


@contextlib.contextmanager
def watching(job: Job) -> Iterator[Meters]:
    """The meters of the job's suite, opened before its model. Raises NotMeasurableError where one cannot be read."""
    names = job.suite.metrics
    with contextlib.ExitStack() as stack:
        energy = sensors = memory = None
        if metered(names, "energy"):
            from phibench.meters import energy as of_energy

            energy = stack.enter_context(of_energy.watching(job.setup.device))
        if metered(names, "window"):
            from phibench.meters import sensors as of_sensors

            sensors = of_sensors.of(job.setup.device)
        if metered(names, "memory"):
            from phibench.meters import memory as of_memory

            memory = stack.enter_context(of_memory.opened(job))
        yield Meters(energy, sensors, memory)
