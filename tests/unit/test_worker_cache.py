"""The cache of finished pieces: what is taken is what was kept, whoever is killed, however full the disk is; and its bounds."""

import errno
import os
import shutil
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from millrace.domain.media.proof import Maker
from millrace.domain.media.recipe import Recipe
from millrace.worker import cache as cache_module
from millrace.worker.cache import Cache, CacheTerms

MAKER = Maker(node="one", task="j1.1", attempt=2)
DAY_S = 86400.0


class Watch:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)  # files have the times of the machine

    def __call__(self) -> datetime:
        return self.at

    def pass_s(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def recipe(number: int = 0) -> Recipe:
    return Recipe(source="a" * 64, build="b" * 64, arguments=("-i", str(number)))


def a_cache(folder: Path, watch: Watch | None = None, **terms: float) -> Cache:
    given = {"most_bytes": 10**6, "unused_s": 7 * DAY_S, **terms}
    return Cache(CacheTerms(folder=folder / "cache", **given), now=watch or Watch())


def piece(folder: Path, name: str = "p", data: bytes = b"segment") -> Path:
    path = folder / name
    (path / "deep").mkdir(parents=True)
    (path / "seg-0.m4s").write_bytes(data)
    (path / "deep" / "index.m3u8").write_bytes(b"list")
    return path


def files(path: Path) -> dict[str, bytes]:
    return {one.relative_to(path).as_posix(): one.read_bytes() for one in path.rglob("*") if one.is_file()}


def test_what_was_kept_is_taken_with_who_made_it_and_when(tmp_path: Path) -> None:
    watch = Watch()
    cache, made = a_cache(tmp_path, watch), piece(tmp_path)
    assert cache.take(recipe(), tmp_path / "t") is None
    cache.keep(recipe(), made, MAKER)
    assert cache.has(recipe())
    facts = cache.take(recipe(), tmp_path / "below" / "t")
    assert facts is not None
    assert (facts.made_by, facts.made_at, facts.size) == (MAKER, watch.at.isoformat(timespec="seconds"), 11)
    assert files(tmp_path / "below" / "t") == files(made) == {"seg-0.m4s": b"segment", "deep/index.m3u8": b"list"}


def test_a_piece_may_be_one_file(tmp_path: Path) -> None:
    cache = a_cache(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"film")
    cache.keep(recipe(), tmp_path / "a.mp4", MAKER)
    assert cache.take(recipe(), tmp_path / "b.mp4")
    assert (tmp_path / "b.mp4").read_bytes() == b"film"


def test_keeping_takes_no_second_room_and_taking_shares_no_file(tmp_path: Path) -> None:
    cache, made = a_cache(tmp_path), piece(tmp_path)
    cache.keep(recipe(), made, MAKER)
    assert (made / "seg-0.m4s").stat().st_nlink == 2
    assert cache.take(recipe(), tmp_path / "t")
    assert (tmp_path / "t" / "seg-0.m4s").stat().st_nlink == 1
    # Whoever writes into an output that he was given changes nobody else's.
    (tmp_path / "t" / "seg-0.m4s").write_bytes(b"other")
    assert cache.take(recipe(), tmp_path / "t2")
    assert (tmp_path / "t2" / "seg-0.m4s").read_bytes() == b"segment"


def test_what_is_no_key_is_forgotten_nowhere(tmp_path: Path) -> None:
    cache = a_cache(tmp_path)
    cache.keep(recipe(), piece(tmp_path), MAKER)
    for key in ("..", "../p", "", "films", str(tmp_path / "p"), recipe().key + "/piece"):
        cache.forget(key)
    assert cache.take(recipe(), tmp_path / "t")
    assert (tmp_path / "p").exists()


def test_without_links_it_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "other file system")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    monkeypatch.setattr(os, "copy_file_range", refuse)
    cache, made = a_cache(tmp_path), piece(tmp_path)
    cache.keep(recipe(), made, MAKER)
    assert (made / "seg-0.m4s").stat().st_nlink == 1
    assert cache.take(recipe(), tmp_path / "t")
    assert files(tmp_path / "t") == files(made)


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / "piece" / "seg-0.m4s").write_bytes(b"segmenu"),
        lambda entry: (entry / "piece" / "seg-0.m4s").write_bytes(b"segmen"),
        lambda entry: (entry / "piece" / "deep" / "index.m3u8").unlink(),
        lambda entry: (entry / "facts.json").write_bytes(b""),
        lambda entry: (entry / "facts.json").write_bytes(b"\xff{"),
    ],
)
def test_what_is_damaged_is_not_taken_and_nothing_of_it_is_left(tmp_path: Path, damage: object) -> None:
    cache = a_cache(tmp_path)
    cache.keep(recipe(), piece(tmp_path), MAKER)
    damage(cache.folder / recipe().key)  # type: ignore[operator]
    assert cache.take(recipe(), tmp_path / "t") is None
    assert not (tmp_path / "t").exists()


def test_what_was_found_damaged_is_made_and_kept_again(tmp_path: Path) -> None:
    cache, made = a_cache(tmp_path), piece(tmp_path)
    cache.keep(recipe(), made, MAKER)
    kept = cache.folder / recipe().key / "piece" / "seg-0.m4s"
    kept.unlink()
    kept.write_bytes(b"wrong!!")
    assert cache.take(recipe(), tmp_path / "t") is None
    cache.keep(recipe(), made, MAKER)
    assert cache.take(recipe(), tmp_path / "t")


def test_an_entry_under_the_key_of_another_recipe_is_not_taken(tmp_path: Path) -> None:
    cache = a_cache(tmp_path)
    cache.keep(recipe(0), piece(tmp_path), MAKER)
    shutil.copytree(cache.folder / recipe(0).key, cache.folder / recipe(1).key)
    assert cache.take(recipe(1), tmp_path / "t") is None
    assert not cache.has(recipe(1))


@pytest.mark.parametrize(
    "other",
    [
        replace(recipe(), source="c" * 64),
        replace(recipe(), build="c" * 64),
        replace(recipe(), arguments=("-i", "0", "x")),
        replace(recipe(), arguments=("-i0",)),
        replace(recipe(), cores=2),
        replace(recipe(), format=2),
    ],
)
def test_another_recipe_is_another_piece(tmp_path: Path, other: Recipe) -> None:
    cache = a_cache(tmp_path)
    cache.keep(recipe(), piece(tmp_path), MAKER)
    assert not cache.has(other)
    assert cache.take(other, tmp_path / "t") is None


def test_who_is_killed_while_keeping_leaves_no_entry_and_the_rest_goes_with_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch()
    cache, made = a_cache(tmp_path, watch), piece(tmp_path)

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(Path, "rename", killed)
    monkeypatch.setattr(cache_module, "remove", lambda _: None)
    with pytest.raises(Killed):
        cache.keep(recipe(), made, MAKER)
    monkeypatch.undo()
    (left,) = cache.folder.iterdir()
    assert not cache.has(recipe())
    os.utime(left, (watch.at.timestamp(), watch.at.timestamp()))
    cache.trim(surely=True)
    assert left.exists()  # somebody may be writing it
    watch.pass_s(3601)
    cache.trim(surely=True)
    assert not left.exists()


def test_a_link_that_an_engine_left_is_not_followed(tmp_path: Path) -> None:
    cache = a_cache(tmp_path)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_bytes(b"key")
    made = piece(tmp_path)
    (made / "seg-1.m4s").symlink_to(tmp_path / "secret" / "key")
    inner = piece(tmp_path, "q")
    (inner / "more").symlink_to(tmp_path / "secret")
    (tmp_path / "r").symlink_to(tmp_path / "secret")
    for number, path in enumerate((made, inner, tmp_path / "r")):
        cache.keep(recipe(number), path, MAKER)
        assert not cache.has(recipe(number))


def test_what_was_unused_for_longest_goes_first(tmp_path: Path) -> None:
    watch = Watch()
    cache = a_cache(tmp_path, watch, most_bytes=250)
    for number in range(2):
        cache.keep(recipe(number), piece(tmp_path, str(number), b"x" * 96), MAKER)
        watch.pass_s(10)
    assert cache.take(recipe(0), tmp_path / "t")
    watch.pass_s(10)
    cache.keep(recipe(2), piece(tmp_path, "2", b"x" * 96), MAKER)
    assert [cache.has(recipe(number)) for number in range(3)] == [True, False, True]


def test_what_is_larger_than_all_of_it_is_not_kept(tmp_path: Path) -> None:
    cache = a_cache(tmp_path, most_bytes=250)
    cache.keep(recipe(0), piece(tmp_path, "0", b"x" * 96), MAKER)
    cache.keep(recipe(1), piece(tmp_path, "1", b"x" * 300), MAKER)
    assert [cache.has(recipe(number)) for number in range(2)] == [True, False]


def test_what_nobody_uses_goes_after_its_time(tmp_path: Path) -> None:
    watch = Watch()
    cache = a_cache(tmp_path, watch)
    for number in range(2):
        cache.keep(recipe(number), piece(tmp_path, str(number)), MAKER)
    cache.note("f" * 64, b"plan")
    watch.pass_s(4 * DAY_S)
    assert cache.take(recipe(0), tmp_path / "t")
    watch.pass_s(4 * DAY_S)
    cache.trim()
    assert [cache.has(recipe(number)) for number in range(2)] == [True, False]
    assert cache.noted("f" * 64) is None


def test_it_makes_room_where_the_disk_gets_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    cache = a_cache(tmp_path, watch, keep_free_bytes=1000)
    for number in range(3):
        cache.keep(recipe(number), piece(tmp_path, str(number), b"x" * 96), MAKER)
        watch.pass_s(1)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=850))
    cache.trim()
    assert [cache.has(recipe(number)) for number in range(3)] == [False, False, True]


def test_a_full_disk_costs_the_piece_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, made = a_cache(tmp_path), piece(tmp_path)
    cache.keep(recipe(0), made, MAKER)

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", full)
    assert cache.take(recipe(0), tmp_path / "t") is None
    assert not (tmp_path / "t").exists()
    monkeypatch.setattr(Path, "hardlink_to", full)
    cache.keep(recipe(1), made, MAKER)
    assert [cache.has(recipe(number)) for number in range(2)] == [True, False]
    assert not list(cache.folder.glob(".part-*"))
    monkeypatch.undo()
    assert cache.take(recipe(0), tmp_path / "t")


def test_two_that_keep_take_and_trim_at_once_are_in_nobodys_way(tmp_path: Path) -> None:
    watch = Watch()
    caches = [
        a_cache(tmp_path, watch, most_bytes=400) for _ in range(3)
    ]  # as those of three workers that share the folder
    for number in range(8):
        piece(tmp_path, f"p{number}", bytes([number]) * 96)
    errors: list[BaseException] = []

    def work(mine: Cache, name: str) -> None:
        try:
            for turn in range(40):
                number = turn % 8
                mine.keep(recipe(number), tmp_path / f"p{number}", MAKER)
                target = tmp_path / "taken" / name / str(turn)
                if mine.take(recipe(number), target) is not None:
                    assert files(target) == files(tmp_path / f"p{number}")
                else:
                    assert not target.exists()
                mine.trim(surely=True)
        except BaseException as error:  # noqa: BLE001  a thread's error is looked at below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(mine, f"{n}")) for n, mine in enumerate(caches)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not errors
    assert (
        sum(path.stat().st_size for path in caches[0].folder.rglob("*") if "piece" in path.parts and path.is_file())
        <= 400
    )
    assert not list(caches[0].folder.glob(".part-*"))
    watch.pass_s(1)
    caches[0].keep(recipe(0), tmp_path / "p0", MAKER)
    assert caches[1].take(recipe(0), tmp_path / "last")
