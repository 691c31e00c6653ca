"""``python -m phibench`` is the command."""

from phibench.cli import main

main()
