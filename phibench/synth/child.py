"""The process that writes synthetic files: what a quantizer does to it, it does not do to the command.

``python -m phibench.synth.child`` reads one order on stdin and prints a line for each piece, and at last what it made
or why not. It leaves when its stdin closes, as it does when the parent is gone.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable

import msgspec

from phibench.core import processes
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Artifact
from phibench.synth.messages import Event, Made, Order, Refused, Wrote


def main() -> None:
    private, board = processes.private_output(), processes.Board()
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    processes.leave_with_parent()
    board.show("preparing")

    def say(event: Event) -> None:
        line = msgspec.json.encode(event) + b"\n"
        while line:
            line = line[os.write(private, line) :]

    try:
        say(Made(artifact=_made(order, say)))
    except PhibenchError as error:
        say(Refused(reason=str(error), exit_code=error.exit_code))


def _made(order: Order, say: Callable[[Event], None]) -> Artifact:
    writer = importlib.import_module(f"{__package__}.{order.format}")
    found: Artifact = writer.ensure(
        order.variant, order.quantization, order.layers, lambda done, total: say(Wrote(done=done, total=total))
    )
    return found


if __name__ == "__main__":
    main()
