"""What is really offered of a variant: one file each in ``builds/``, repositories in the order of their worth.

The makers' own stand first, then those that most people know. A repository's facts hold for each of its builds, but
where a build says otherwise; ``{}`` in ``file`` is the quantization.
"""

from __future__ import annotations

import functools

from phibench import catalog
from phibench.core import files
from phibench.core.nouns import Build, Noun

_FOLDER = catalog.FOLDER / "builds"


class _Row(Noun, frozen=True, kw_only=True):
    quantization: str
    path: str | None = None
    bytes: int | None = None
    exact: bool = False
    devices: tuple[str, ...] = ()
    made: bool = False
    note: str = ""
    source: str = ""


class _Repository(Noun, frozen=True, kw_only=True):
    """``publisher``: where it is another name than the owner's."""

    name: str
    publisher: str = ""
    format: str
    official: bool = False
    file: str = ""
    branch: str = ""
    devices: tuple[str, ...] = ()
    note: str = ""
    source: str
    builds: tuple[_Row, ...]


class _Offers(Noun, frozen=True, kw_only=True):
    repository: tuple[_Repository, ...] = ()


@functools.cache
def builds(variant_id: str) -> tuple[Build, ...]:
    """What is offered of this variant, the official ones first; none where nobody has looked."""
    path = _FOLDER / f"{variant_id}.toml"
    if not path.exists():
        return ()
    return tuple(
        _build(variant_id, repository, row)
        for repository in files.read_strict(path, _Offers).repository
        for row in repository.builds
    )


def offered(variant_id: str, fmt: str, quantization_id: str, device_kind: str) -> Build | None:
    """The first build of this file that suits a kind of device ("cpu", "cuda"), if any does."""
    return next(iter(all_offered(variant_id, fmt, quantization_id, device_kind)), None)


@functools.cache
def all_offered(variant_id: str, fmt: str, quantization_id: str, device_kind: str) -> tuple[Build, ...]:
    """All builds of this file that suit a kind of device, in their order."""
    return tuple(
        build
        for build in builds(variant_id)
        if (build.format, build.quantization) == (fmt, quantization_id)
        and (not build.devices or device_kind in build.devices)
    )


@functools.cache
def repositories(fmt: str, quantization_id: str, device_kind: str) -> tuple[str, ...]:
    """Repositories that offer any Phi so: what stands in more of them is met more often."""
    found = (b.repository for v in catalog.variants() for b in all_offered(v.id, fmt, quantization_id, device_kind))
    return tuple(dict.fromkeys(found))


def _build(variant_id: str, repository: _Repository, row: _Row) -> Build:
    named = repository.file.replace("{}", row.quantization) or None
    return Build(
        variant=variant_id,
        quantization=row.quantization,
        format=repository.format,
        publisher=repository.publisher or repository.name.partition("/")[0],
        repository=repository.name,
        branch=repository.branch,
        path=row.path or named,
        bytes=row.bytes,
        exact=row.exact,
        devices=row.devices or repository.devices,
        official=repository.official,
        made=row.made,
        note="; ".join(filter(None, (row.note, repository.note))),
        source=row.source or repository.source,
    )
