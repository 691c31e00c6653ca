"""The command line: parse, call, print; the only place where measuring and advising meet.

In: flags and arguments. Out: text on stdout, progress and notes on stderr, an exit code. A command imports what it
needs when it runs: ``phibench --help`` loads click and no more.
"""

from phibench.cli.app import main
from phibench.cli.options import cli

__all__ = ["cli", "main"]
