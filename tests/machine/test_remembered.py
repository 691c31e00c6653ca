"""What the cache remembers of a machine: a figure that cannot be is forgotten with its file, and measured again."""

from __future__ import annotations

import json

import pytest

from phibench.analysis import trust
from phibench.core import folders
from phibench.machine import figures, inventory

SLOW = {"method": figures.METHOD, "bandwidth": {"read_bytes_s": 4e10, "copy_bytes_s": 4e10, "because": "3 s"}}
TEST = {"backend": "null", "device": "cpu", "build": "1", "processor": "x", "usable": True, "kl_max": 1e-5,
        "test": trust.VERSION}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"),
    [("read_bytes_s", -1.0), ("copy_bytes_s", -4e10), ("copy_bytes_s", "4e10"), ("most_read_bytes_s", -1.0)],
)
def test_a_rate_that_cannot_be(key: str, value: object) -> None:
    folders.cache_dir().mkdir(parents=True)
    path = folders.cache_dir() / "machine.json"
    path.write_text(json.dumps({"here": SLOW}))
    assert list(figures.read()) == ["here"]
    path.write_text(json.dumps({"here": SLOW | {"bandwidth": {"read_bytes_s": 4e10, "because": ""} | {key: value}}}))
    assert figures.read() == {}


def test_a_distance_that_cannot_be() -> None:
    folders.cache_dir().mkdir(parents=True)
    path = folders.cache_dir() / "selftests.json"
    path.write_text(json.dumps([TEST]))
    assert [one.kl_max for one in inventory._remembered()] == [1e-5]
    path.write_text(json.dumps([TEST | {"kl_max": -1e-5}]))
    assert inventory._remembered() == []
