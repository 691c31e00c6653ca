"""What a reader says of a file that it does not take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from phibench.core.errors import PhibenchError


def refusal(read: Callable[[Path], object], path: Path, code: int = 2) -> str:
    """The one line with which ``read`` refuses it, and leaves with ``code``."""
    with pytest.raises(PhibenchError) as error:
        read(path)
    assert error.value.exit_code == code
    assert "\n" not in str(error.value)
    return str(error.value)
