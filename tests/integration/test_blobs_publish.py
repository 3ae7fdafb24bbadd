import asyncio
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from millrace.blobs import disk, publish
from millrace.blobs.disk import NotSupported, explain
from millrace.blobs.local import LocalBlobs
from millrace.blobs.publish import DestinationExists, recover
from millrace.blobs.values import BlobsFull, BlobsRefused


def folder(path: Path, word: str) -> Path:
    (path / "video").mkdir(parents=True)
    for number in range(4):
        (path / "video" / f"{number}.m4s").write_text(f"{word} {number}" * 50)
    (path / "master.m3u8").write_text(word)
    return path


def content(path: Path) -> dict[str, str]:
    return {str(p.relative_to(path)): p.read_text() for p in path.rglob("*") if p.is_file()}


def names(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir())


@pytest.fixture(params=["exchange", "two renames"])
def renames(request, monkeypatch):
    if request.param == "two renames":

        def unsupported(*_):
            raise NotSupported

        monkeypatch.setattr(publish, "rename_with", unsupported)


@pytest.mark.usefixtures("renames")
def test_a_folder_appears_under_its_name_and_nothing_else_is_left(tmp_path):
    expected = content(folder(tmp_path / "copy", "new"))
    publish.publish(folder(tmp_path / "work", "new"), tmp_path / "deep" / "out")
    assert content(tmp_path / "deep" / "out") == expected
    assert names(tmp_path) == ["copy", "deep"]
    assert names(tmp_path / "deep") == ["out"]


@pytest.mark.usefixtures("renames")
def test_what_exists_is_refused_and_the_source_stays(tmp_path):
    folder(tmp_path / "out", "old")
    work = folder(tmp_path / "work", "new")
    with pytest.raises(DestinationExists, match=r"^cannot publish .*out: it exists"):
        publish.publish(work, tmp_path / "out")
    assert content(tmp_path / "out")["master.m3u8"] == "old"
    assert content(work)["master.m3u8"] == "new"
    assert names(tmp_path) == ["out", "work"]


@pytest.mark.usefixtures("renames")
def test_overwrite_leaves_only_the_new(tmp_path):
    folder(tmp_path / "out", "old")
    (tmp_path / "out" / "extra").write_text("of the old one")
    publish.publish(folder(tmp_path / "work", "new"), tmp_path / "out", overwrite=True)
    assert "extra" not in content(tmp_path / "out")
    assert content(tmp_path / "out")["master.m3u8"] == "new"
    assert names(tmp_path) == ["out"]


@pytest.mark.usefixtures("renames")
def test_single_files_and_empty_folders_and_links(tmp_path):
    (tmp_path / "work.mp4").write_text("new")
    (tmp_path / "empty").mkdir()
    publish.publish(tmp_path / "work.mp4", tmp_path / "empty")
    assert (tmp_path / "empty").read_text() == "new"
    (tmp_path / "victim").write_text("keep me")
    (tmp_path / "link").symlink_to("victim")
    (tmp_path / "work.mp4").write_text("newer")
    with pytest.raises(DestinationExists):
        publish.publish(tmp_path / "work.mp4", tmp_path / "link")
    publish.publish(tmp_path / "work.mp4", tmp_path / "link", overwrite=True)
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "link").read_text() == "newer"
    assert (tmp_path / "victim").read_text() == "keep me"


def test_a_source_on_another_file_system_is_copied(tmp_path):
    other = Path("/dev/shm") / f"millrace-test-{os.getpid()}"
    if not other.parent.is_dir() or other.parent.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    publish.publish(folder(other, "new"), tmp_path / "out")
    assert content(tmp_path / "out")["master.m3u8"] == "new"
    assert not other.exists()


def test_a_failed_rename_gives_the_source_back(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publish, "rename_with", full)
    work = folder(tmp_path / "work", "new")
    with pytest.raises(BlobsFull, match=r"^cannot publish .*no space"):
        publish.publish(work, tmp_path / "out")
    assert content(work)["master.m3u8"] == "new"
    assert names(tmp_path) == ["work"]


def killed_at(step: int, action) -> bool:
    """Run `action` in a forked child that kills itself with SIGKILL just before its nth change of the disk."""
    pid = os.fork()
    if pid == 0:
        try:
            left = step

            def counted(function):
                def call(*arguments, **more):
                    nonlocal left
                    left -= 1
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return function(*arguments, **more)

                return call

            for name in ("rename", "replace", "fsync", "mkdir", "rmdir", "unlink", "link"):
                setattr(os, name, counted(getattr(os, name)))
            publish.rename_with = counted(publish.rename_with)
            action()
        except BaseException:  # noqa: BLE001  a child of fork must never return into pytest
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.usefixtures("renames")
def test_a_kill_at_every_step_leaves_the_old_or_the_new_whole(tmp_path):
    new = content(folder(tmp_path / "model-new", "new"))
    old = content(folder(tmp_path / "model-old", "old"))
    seen = set()
    for step in range(1, 200):
        place = tmp_path / str(step)
        folder(place / "out", "old")
        work = folder(place / "work", "new")
        killed = killed_at(step, lambda: publish.publish(work, place / "out", overwrite=True))  # noqa: B023  called at once
        recover(place / "out")
        found = content(place / "out")
        assert found in (old, new), step
        seen.add(found["master.m3u8"])
        assert [n for n in names(place) if n not in ("out", "work")] == []
        if not killed:
            break
    assert seen == {"old", "new"}
    assert step > 10


def test_a_kill_at_every_step_of_the_first_publication_shows_all_or_nothing(tmp_path):
    new = content(folder(tmp_path / "model", "new"))
    for step in range(1, 200):
        place = tmp_path / str(step)
        work = folder(place / "work", "new")
        killed = killed_at(step, lambda: publish.publish(work, place / "out"))  # noqa: B023  called at once
        assert not (place / "out").exists() or content(place / "out") == new, step
        if not killed:
            break
    assert not killed
    assert content(place / "out") == new


def test_a_kill_at_every_step_of_a_put_shows_all_or_nothing(tmp_path):
    async def source():
        for _ in range(3):
            yield b"x" * 10_000

    async def put(place):
        await LocalBlobs(place).put("a/b/film.mp4", source())

    for step in range(1, 60):
        place = tmp_path / str(step)
        place.mkdir()
        killed = killed_at(step, lambda: asyncio.run(put(place)))  # noqa: B023  called at once
        public = [p for p in place.rglob("*") if p.is_file() and ".millrace" not in str(p.relative_to(place))]
        assert [p.stat().st_size for p in public] in ([], [30_000]), step
        later = datetime.now(UTC) + timedelta(days=2)
        asyncio.run(LocalBlobs(place).sweep(now=later, older_than=timedelta(days=1)))
        private = place / ".millrace-incoming"
        assert not private.exists() or names(private) == []
        if not killed:
            break
    assert not killed
    assert step > 5
    assert len(public) == 1


def test_the_next_publication_mends_what_a_crash_left(tmp_path):
    folder(tmp_path / ".millrace-old-out-0123456789ab", "old")
    folder(tmp_path / ".millrace-part-out-0123456789ab" / "content", "half")
    with pytest.raises(DestinationExists):
        publish.publish(folder(tmp_path / "work", "new"), tmp_path / "out")
    assert content(tmp_path / "out")["master.m3u8"] == "old"
    assert names(tmp_path) == ["out", "work"]


def test_a_put_killed_half_way_leaves_no_public_name(tmp_path):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:

        async def source():
            yield b"x" * 100_000
            os.write(write, b"half")
            await asyncio.Event().wait()

        asyncio.run(LocalBlobs(tmp_path).put("film.mp4", source()))
        os._exit(0)
    assert os.read(read, 4) == b"half"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(read)
    os.close(write)
    assert names(tmp_path) == [".millrace-incoming"]

    async def seen():
        return [info async for info in LocalBlobs(tmp_path).list()]

    assert asyncio.run(seen()) == []


@pytest.mark.parametrize(
    ("number", "kind"), [(28, BlobsFull), (122, BlobsFull), (13, BlobsRefused), (16, BlobsRefused), (30, BlobsRefused)]
)
def test_errors_of_the_disk_become_sentences(number, kind):
    error = explain("store x", OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert str(error).startswith("cannot store x: ")


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    full = Path("/dev/full")
    with (
        pytest.raises(BlobsFull, match="no space is left"),
        disk.explained("write"),
        full.open("wb", buffering=0) as file,
    ):
        file.write(b"x")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))

    async def source():
        yield b"x"

    (tmp_path / ".millrace-incoming").mkdir()
    with pytest.raises(BlobsFull, match=r"^cannot store film in"):
        asyncio.run(LocalBlobs(tmp_path).put("film", source()))
    assert names(tmp_path / ".millrace-incoming") == []
    assert names(tmp_path) == [".millrace-incoming"]


def test_what_will_be_moved_is_on_the_disk_before(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(publish, "sync_file", lambda path: synced.append(path.name))
    work = folder(tmp_path / "work", "new")
    publish.settle(work, tmp_path / "not" / "yet" / "there")
    assert sorted(synced) == ["0.m4s", "1.m4s", "2.m4s", "3.m4s", "master.m3u8"]
    publish.settle(tmp_path / "gone", tmp_path / "out")  # says nothing: what is wrong is said when it is published
    assert names(tmp_path) == ["work"]


def test_what_will_be_copied_is_not(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(publish, "sync_file", lambda path: synced.append(path.name))
    real = os.lstat
    monkeypatch.setattr(
        os,
        "lstat",
        lambda path: os.stat_result((*real(path)[:2], 1 if Path(path).name == "work" else 2, *real(path)[3:])),
    )
    publish.settle(folder(tmp_path / "work", "new"), tmp_path / "out")
    assert synced == []
