"""Have synthetic files written by a process of its own, and hear how far it is."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import msgspec

from phibench.core import ends, extras, processes, text
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Artifact
from phibench.synth import cache, messages
from phibench.synth.messages import Event, Made, Order, Refused

PROGRAM = "phibench.synth.child"
SILENCE_S = 600.0  # a disk may take minutes to take what was written (fsync)
_THEN = f"{ends.DOCTOR}; -m FILE measures files of your own"


_EVENT: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def ask(order: Order, progress: Callable[[int, int], None] | None, oom_kills: Callable[[], int | None]) -> Artifact:
    """What the writer made. Nothing half-written stays, however it ended and whatever interrupted us.

    ``oom_kills``: as of ``processes.Child``. Raises PhibenchError: the writer's own, or DiedError.
    """
    try:
        with processes.Child(PROGRAM, oom_kills=oom_kills) as child:
            return _heard(order, child, progress)
    except BaseException:
        cache.sweep()
        raise


def _heard(order: Order, child: processes.Child, progress: Callable[[int, int], None] | None) -> Artifact:
    child.tell(msgspec.json.encode(order))
    for event in child.events(_EVENT, processes.silence_s(SILENCE_S)):
        if isinstance(event, Made):
            return event.artifact
        if isinstance(event, Refused):
            raise PhibenchError(event.reason, event.exit_code)
        if progress:
            progress(event.done, event.total)
    raise _died(order, child)


def _died(order: Order, child: processes.Child) -> processes.DiedError:
    package = importlib.import_module(f"{messages.__package__}.{order.format}").QUANTIZER
    version = extras.version(package)  # None: another build of it, under a name of its own
    engine = f"{package} {version}" if version else package
    end = child.end()
    end = msgspec.structs.replace(end, said=text.scrub(end.said))
    doing = ends.DOING[child.phase].format("synthetic weights")
    return processes.DiedError(ends.sentence(engine, end, doing, _THEN), end, child.phase, engine)
