"""Texts that leave the machine name nobody."""

from __future__ import annotations

import pytest

from phibench.core import text
from phibench.core.errors import PhibenchError


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("cannot read /home/anna/phi.gguf: gone", "cannot read ~/phi.gguf: gone"),
        ("in '/Users/anna/Library'", "in '~/Library'"),  # macOS
        (r"C:\Users\anna\AppData\Local", r"~\AppData\Local"),
        (r"c:\\users\\anna\\x", r"~\\x"),  # as JSON writes it
        ("C:/Users/Anna Maria Doe/phi", "~/phi"),
        ("/mnt/c/Users/anna/phi", "~/phi"),  # WSL
        (r"C:\Users\anna or /etc/x", "~ or /etc/x"),
        ("/var/home/anna/x", "/var~/x"),  # Fedora's immutable systems
        ("/" * 500_000 + "home", "/" * 500_000 + "home"),  # a name that is none takes no time
        ("at home/office, /usr/lib", "at home/office, /usr/lib"),
    ],
)
def test_a_home_folder_of_anybody_is_left_out(said: str, shown: str) -> None:
    assert text.scrub(said) == shown


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-32"])
def test_a_file_cut_off_within_a_character_is_refused_where_it_must_be_whole(encoding: str) -> None:
    """The last number of such a file may be cut, too."""
    content = ("name = 'Zoë'\n" * 9 + "free_bytes = 257€").encode(encoding)
    assert text.decoded(content, "m.toml").endswith("257€")
    with pytest.raises(PhibenchError, match=r"m.toml is cut off in the middle of a character; save it again"):
        text.decoded(content[:-1], "m.toml")
    assert text.decoded(content[:-1], "m.toml", whole=False).endswith("257")
