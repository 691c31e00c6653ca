"""The program: its commands, signals, and one line for every error."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from typing import Any

import click

from phibench.cli import ask, look, measure, options, recommend
from phibench.cli.options import cli
from phibench.core.errors import FAILED, INTERRUPTED, PhibenchError

_COMMANDS = (  # the order in which a misspelled command is told what there is
    measure.quickstart, ask.probe, ask.doctor, ask.models, ask.hardware, measure.run, measure.calibrate, look.results,
    look.report, look.compare, measure.verify, look.import_, recommend.recommend, look.dashboard, look.cache,
)  # fmt: skip
_RECORDS = 500_000  # made between looks for garbage: facts of tensors by the hundred thousand are none
for _each in _COMMANDS:
    cli.add_command(_each)


def _terminate(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """The console script: one line for a user's error, a traceback only for a bug."""
    gc.set_threshold(_RECORDS)
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, _terminate)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123  closed by the shell: >&-
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a name that the terminal cannot show is no reason to stop
    try:
        cli.main(standalone_mode=False)
    except PhibenchError as error:
        options.note(f"phibench: {error}")
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        sys.exit(error.exit_code)
    except click.NoSuchOption as error:
        guess = f"; did you mean {error.possibilities[0]}?" if error.possibilities else "."
        options.note(f"phibench: unknown option {error.option_name}{guess} See phibench {_command()}--help")
        sys.exit(error.exit_code)
    except click.ClickException as error:
        options.note(f"phibench: {' '.join(error.format_message().split())} See phibench {_command()}--help")
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        options.note("phibench: interrupted")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe has gone: nothing more to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        options.note(f"phibench: {error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        sys.exit(FAILED)


def _command() -> str:
    return f"{sys.argv[1]} " if len(sys.argv) > 1 and sys.argv[1] in cli.commands else ""


if __name__ == "__main__":
    main()
