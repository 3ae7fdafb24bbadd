"""Which programs pass for an FFmpeg."""

import asyncio

import imageio_ffmpeg
import pytest

from millrace.config.errors import SettingError
from millrace.programs import ffmpeg
from millrace.runtime.clock import VirtualClock


def script(folder, text):
    path = folder / "own"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "exit 0",
        "echo ffprobe version 9",
        "echo ffmpeg version 9 >&2",
        "while :; do echo more; done",
        "sleep 1000; echo ffmpeg version 9",
    ],
)
def test_what_does_not_answer_as_ffmpeg_does_is_refused(tmp_path, text):
    path = script(tmp_path, text)
    with pytest.raises(SettingError, match=f"cannot use {path} as FFmpeg"):
        asyncio.run(ffmpeg.check(path, clock=VirtualClock(auto_advance=True)))


def test_what_the_system_cannot_start_is_refused(tmp_path):
    path = tmp_path / "own"
    path.write_bytes(b"\x7fELF but no program")
    path.chmod(0o755)
    with pytest.raises(SettingError, match="cannot"):
        asyncio.run(ffmpeg.check(path))
    with pytest.raises(SettingError, match="there is no such program"):
        asyncio.run(ffmpeg.check(tmp_path / "none"))


def test_an_ffmpeg_is_taken_by_whatever_name(tmp_path):
    (tmp_path / "linked").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    asyncio.run(ffmpeg.check(tmp_path / "linked"))
    asyncio.run(ffmpeg.check(script(tmp_path, f'exec {imageio_ffmpeg.get_ffmpeg_exe()} "$@"')))
    asyncio.run(ffmpeg.check(None))


def test_the_one_of_the_package_is_found_without_running_it(monkeypatch):
    wanted = imageio_ffmpeg.get_ffmpeg_exe()
    monkeypatch.setattr("subprocess.Popen", None)
    ffmpeg._of_the_package.cache_clear()
    assert str(ffmpeg.binary(None)) == wanted


def test_where_the_package_has_none_that_of_the_system_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    ffmpeg._of_the_package.cache_clear()
    with pytest.raises(SettingError, match="cannot find FFmpeg: the package has none"):
        ffmpeg.binary(None)
    script(tmp_path, "exit 0").rename(tmp_path / "ffmpeg")
    assert ffmpeg.binary(None) == tmp_path / "ffmpeg"
    ffmpeg._of_the_package.cache_clear()
