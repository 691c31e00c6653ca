"""Texts that leave the machine name nobody."""

from __future__ import annotations

import pytest

from phibench.core import text


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
