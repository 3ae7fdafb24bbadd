"""What every blob store promises, over a folder and over a real S3 server."""

import asyncio
import errno
import hashlib
import os
import secrets

import pytest

from millrace.blobs.location import open_blobs
from millrace.blobs.s3 import S3Blobs
from millrace.blobs.values import BlobIncomplete, BlobKeyInvalid, BlobMissing, Stored

KEYS = {
    "AWS_ACCESS_KEY_ID": "test-key",
    "AWS_SECRET_ACCESS_KEY": "test-secret-value",
}  # those of the fixture `s3_endpoint`
BIG = os.urandom(1024) * (20 * 1024)  # 20 MiB: more than one part of a multipart upload


@pytest.fixture(params=["local", "s3"])
def blobs(request, tmp_path):
    if request.param == "local":
        return open_blobs(tmp_path / "blobs", environ={})
    endpoint = request.getfixturevalue("s3_endpoint")
    return open_blobs(f"s3://media/{secrets.token_hex(4)}?endpoint={endpoint}", environ=KEYS)


async def of(*chunks: bytes):
    for chunk in chunks:
        yield chunk


async def read(blobs, key, **more) -> bytes:
    return b"".join([chunk async for chunk in blobs.get(key, **more)])


async def keys(blobs, prefix="") -> list[str]:
    return sorted([info.key async for info in blobs.list(prefix)])


def stored(data: bytes) -> Stored:
    return Stored(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def test_what_was_put_comes_back_with_its_size_and_hash(blobs, tmp_path):
    (tmp_path / "source").write_bytes(b"from a file")

    async def scene():
        assert await blobs.put("a/b.txt", of(b"hello ", b"", b"world"), size_bytes=11) == stored(b"hello world")
        assert await blobs.put("a/c.txt", tmp_path / "source") == stored(b"from a file")
        assert await blobs.put("empty", of()) == stored(b"")
        assert await read(blobs, "a/b.txt") == b"hello world"
        assert await read(blobs, "a/c.txt") == b"from a file"
        assert await read(blobs, "empty") == b""
        info = await blobs.stat("a/b.txt")
        assert (info.key, info.size_bytes) == ("a/b.txt", 11)
        assert info.modified.utcoffset() is not None

    asyncio.run(scene())


def test_a_version_names_these_bytes_and_no_others(blobs):
    async def scene():
        versions = []
        for data in (b"one", b"two"):
            await blobs.put("a/b.txt", of(data))
            versions += [(await blobs.stat("a/b.txt")).version, (await blobs.stat("a/b.txt")).version]
        assert versions[0] == versions[1]
        assert versions[2] == versions[3]
        assert versions[0] != versions[2] or versions[0] == ""
        assert bool(versions[0]) == isinstance(blobs, S3Blobs)

    asyncio.run(scene())


def test_a_blob_of_several_parts_is_whole(blobs):
    async def scene():
        chunks = (BIG[at : at + 3_000_000] for at in range(0, len(BIG), 3_000_000))
        assert await blobs.put("big", of(*chunks), size_bytes=len(BIG)) == stored(BIG)
        assert await read(blobs, "big") == BIG
        assert await read(blobs, "big", start=17_000_000, end=17_000_010) == BIG[17_000_000:17_000_010]

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (3, 5, b"34"),
        (8, 99, b"89"),
        (10, None, b""),
        (50, 60, b""),
        (5, 5, b""),
        (6, 5, b""),
    ],
)
def test_ranges_are_cut_at_the_size(blobs, start, end, expected):
    async def scene():
        await blobs.put("digits", of(b"0123456789"))
        assert await read(blobs, "digits", start=start, end=end) == expected

    asyncio.run(scene())


def test_put_replaces(blobs):
    async def scene():
        await blobs.put("x", of(b"a long first version"))
        await blobs.put("x", of(b"second"))
        assert await read(blobs, "x") == b"second"

    asyncio.run(scene())


def test_a_reader_keeps_the_version_that_it_began(blobs):
    async def scene():
        await blobs.put("x", of(BIG))
        reader = blobs.get("x")
        first = await anext(reader)
        await blobs.put("x", of(b"new"))
        return first + b"".join([chunk async for chunk in reader])

    if type(blobs).__name__ == "LocalBlobs":  # the S3 server of these tests cuts its own readers off; real ones do not
        assert asyncio.run(scene()) == BIG


def test_missing_blobs_say_so(blobs):
    async def scene():
        assert not await blobs.exists("no/such")
        await blobs.delete("no/such")
        with pytest.raises(BlobMissing, match=r"^cannot .*no such blob"):
            await blobs.stat("no/such")
        with pytest.raises(BlobMissing, match=r"^cannot .*no such blob"):
            await read(blobs, "no/such")
        with pytest.raises(BlobMissing):
            await read(blobs, "no/such", start=1)
        assert await keys(blobs) == []

    asyncio.run(scene())


def test_list_goes_by_folder_and_delete_removes(blobs):
    async def scene():
        for key in ("a/1", "a/b/2", "ab/3", "4"):
            await blobs.put(key, of(b"x"))
        assert await keys(blobs) == ["4", "a/1", "a/b/2", "ab/3"]
        assert await keys(blobs, "a") == await keys(blobs, "a/") == ["a/1", "a/b/2"]
        assert await keys(blobs, "none") == []
        assert await blobs.exists("a/b/2")
        await blobs.delete("a/b/2")
        assert not await blobs.exists("a/b/2")
        assert not await blobs.exists("a")
        assert await keys(blobs, "a") == ["a/1"]

    asyncio.run(scene())


@pytest.mark.parametrize(
    "key", ["a b/ü.mp4", "percent%20.mp4", "hash#1?.mp4", "plus+and&.mp4", "quote'\"(1)[2]~.mp4", "日本/語.m3u8"]
)
def test_unusual_names_are_names(blobs, key):
    async def scene():
        await blobs.put(key, of(b"x"))
        assert await keys(blobs) == [key]
        assert await read(blobs, key) == b"x"
        await blobs.delete(key)
        assert await keys(blobs) == []

    asyncio.run(scene())


WRONG = ["", "/a", "a/", "a//b", ".", "..", "a/../b", "../a", "a/.", "a\nb", "a\0b", "a\x7fb", "a\\b", "\ud800", "e\u0301", ".millrace-x/a", "x" * 201, "a/" * 450 + "b"]  # fmt: skip


@pytest.mark.parametrize("key", WRONG, ids=range(len(WRONG)))
def test_wrong_keys_are_refused_everywhere(blobs, key):
    async def scene():
        for call in (
            lambda: blobs.put(key, of(b"x")),
            lambda: blobs.stat(key),
            lambda: blobs.exists(key),
            lambda: blobs.delete(key),
            lambda: anext(blobs.get(key)),
        ):
            with pytest.raises(BlobKeyInvalid, match=r"^cannot use "):
                await call()

    asyncio.run(scene())


@pytest.mark.parametrize("size", [0, 10, 12])
def test_another_size_than_announced_stores_nothing(blobs, size):
    async def scene():
        await blobs.put("x", of(b"old"))
        with pytest.raises(BlobIncomplete, match=f"{size} bytes were announced and 11 came"):
            await blobs.put("x", of(b"hello world"), size_bytes=size)
        assert await read(blobs, "x") == b"old"

    asyncio.run(scene())


@pytest.mark.parametrize("before", [b"", b"some", BIG], ids=len)
def test_a_source_that_fails_stores_nothing_and_its_error_comes_through(blobs, before):
    class CutError(Exception):
        pass

    async def failing():
        yield before
        raise CutError("connection lost")

    async def scene():
        with pytest.raises(CutError, match="connection lost"):
            await blobs.put("x", failing())
        assert await keys(blobs) == []

    asyncio.run(scene())


def test_a_cancelled_put_stores_nothing(blobs):
    async def scene():
        begun = asyncio.Event()

        async def endless():
            yield b"x" * 100_000
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(blobs.put("x", endless()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await keys(blobs) == []

    asyncio.run(scene())


def test_many_writers_of_one_key_leave_one_whole_version(blobs):
    async def scene():
        versions = [bytes([n]) * 300_000 for n in range(8)]
        await asyncio.gather(*(blobs.put("x", of(v[:100_000], v[100_000:])) for v in versions))
        assert await read(blobs, "x") in versions

    asyncio.run(scene())


def test_a_file_that_is_adopted_is_a_blob_and_stays_where_it_was(blobs, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"made")

    async def scene():
        for data in (b"made", b"made anew"):
            source.unlink()
            source.write_bytes(data)
            await blobs.adopt("a/b.m4s", source)
            assert await read(blobs, "a/b.m4s") == data
            assert source.read_bytes() == data
        source.unlink()
        assert await read(blobs, "a/b.m4s") == b"made anew"
        assert await keys(blobs) == ["a/b.m4s"]

    asyncio.run(scene())


def test_a_blob_that_is_lent_can_be_read_there_until_it_is_let_go(blobs, tmp_path):
    async def scene():
        await blobs.put("a/b.m4s", of(b"made"))
        if await blobs.lend("a/b.m4s", tmp_path / "lent"):
            await blobs.delete("a/b.m4s")
            assert (tmp_path / "lent").read_bytes() == b"made"
        else:
            assert not (tmp_path / "lent").exists()

    asyncio.run(scene())


def test_on_one_file_system_a_folder_takes_and_lends_without_a_copy(tmp_path):
    source, blobs = tmp_path / "source", open_blobs(tmp_path / "blobs", environ={})
    source.write_bytes(b"made")

    async def scene():
        await blobs.adopt("a/b.m4s", source)
        assert await blobs.lend("a/b.m4s", tmp_path / "lent")
        with pytest.raises(BlobMissing):
            await blobs.lend("a/other.m4s", tmp_path / "other")

    asyncio.run(scene())
    assert (tmp_path / "lent").samefile(source)


def test_between_two_file_systems_a_folder_copies(tmp_path, monkeypatch):
    source, blobs = tmp_path / "source", open_blobs(tmp_path / "blobs", environ={})
    source.write_bytes(b"made")

    def elsewhere(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    async def scene():
        monkeypatch.setattr(os, "link", elsewhere)
        await blobs.adopt("a/b.m4s", source)
        assert await read(blobs, "a/b.m4s") == b"made"
        assert not await blobs.lend("a/b.m4s", tmp_path / "lent")

    asyncio.run(scene())
    assert source.stat().st_nlink == 1
