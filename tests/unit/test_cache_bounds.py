"""Which finished pieces of films a master deletes, and what of an archive of one a worker believes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from test_worker_cache import MAKER, a_cache, files, piece, recipe

from millrace.api.cache import CacheBounds, beyond
from millrace.blobs.values import BlobInfo
from millrace.worker.archive import ArchiveError, pack, unpack
from millrace.worker.cache import Facts, File

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def blobs(*ages_h: float) -> list[BlobInfo]:
    return [
        BlobInfo(key=f"cache/t/{number}", size_bytes=10, modified=NOW - timedelta(hours=age))
        for number, age in enumerate(ages_h)
    ]


def gone(found: list[BlobInfo], most_bytes: int, hours: float | None) -> list[str]:
    bounds = CacheBounds(most_bytes=most_bytes, unused=None if hours is None else timedelta(hours=hours))
    return sorted(info.key[-1] for info in beyond(found, bounds, now=NOW))


def test_the_oldest_goes_until_the_rest_fits() -> None:
    assert gone(blobs(3, 1, 2), 20, None) == ["0"]
    assert gone(blobs(3, 1, 2), 30, None) == []
    assert gone(blobs(3, 1, 2), 29, None) == ["0"]
    assert gone(blobs(3, 1, 2), 0, None) == ["0", "1", "2"]


def test_what_nobody_used_for_long_goes() -> None:
    assert gone(blobs(3, 1, 2), 100, 2) == ["0"]


def packed(tmp_path: Path) -> tuple[Facts, Path]:
    cache, made = a_cache(tmp_path), piece(tmp_path)
    cache.keep(recipe(), made, MAKER)
    facts = cache.facts(recipe())
    assert facts is not None
    pack(facts, made, tmp_path / "archive")
    return facts, made


def test_a_piece_arrives_as_it_was_sent(tmp_path: Path) -> None:
    facts, made = packed(tmp_path)
    assert unpack(tmp_path / "archive", recipe(), tmp_path / "t") == facts
    assert files(tmp_path / "t") == files(made)


def test_another_piece_or_a_damaged_one_is_not_taken(tmp_path: Path) -> None:
    packed(tmp_path)
    with pytest.raises(ArchiveError, match="another recipe"):
        unpack(tmp_path / "archive", recipe(1), tmp_path / "t1")
    data = (tmp_path / "archive").read_bytes()
    for number, other in enumerate((data[:-1], data[:-1] + b"!", b"", b"{}\n", b"\xff" + data)):
        (tmp_path / "other").write_bytes(other)
        with pytest.raises(ArchiveError):
            unpack(tmp_path / "other", recipe(), tmp_path / f"t2-{number}")


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "a//b", ".hidden", "a/.b", "a\\b"])
def test_no_file_of_it_lies_elsewhere(tmp_path: Path, name: str) -> None:
    facts, _ = packed(tmp_path)
    lying = replace(facts, files={name: File(7, facts.files["seg-0.m4s"].sha256)})
    (tmp_path / "archive").write_bytes(msgspec.json.encode(lying) + b"\nsegment")
    with pytest.raises(ArchiveError, match="no file's name"):
        unpack(tmp_path / "archive", recipe(), tmp_path / "deep" / "t")
    assert not (tmp_path / "evil").exists()
