"""Which programs pass for an FFmpeg."""

import asyncio
import hashlib
from pathlib import Path

import imageio_ffmpeg
import pytest
from fake_master import KEY, FakeMaster

from millrace.config.errors import SettingError
from millrace.config.settings import WorkerSettings
from millrace.programs import ffmpeg
from millrace.programs.worker import WorkerProgram
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


def named(folder: Path, version: str) -> Path:
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\necho 'ffmpeg version {version} Copyright (c) the FFmpeg developers'\n")
    program.chmod(0o755)
    return program


def test_an_old_one_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"cannot use .*: it is ffmpeg version 4\.4\.2, and 5\.1 is the oldest"):
        asyncio.run(ffmpeg.check(named(tmp_path, "4.4.2")))
    asyncio.run(ffmpeg.check(named(tmp_path, "5.1.9-0+deb12u1")))


def test_it_is_known_by_its_bytes(tmp_path: Path) -> None:
    program = named(tmp_path, "7.1.5")
    found = asyncio.run(ffmpeg.identify(program))
    assert (found.path, found.version) == (str(program), "7.1.5")
    assert found.sha256 == hashlib.sha256(program.read_bytes()).hexdigest()
    assert asyncio.run(ffmpeg.identify(program, found.sha256)) == found
    program.write_text(program.read_text() + "# changed\n")
    with pytest.raises(SettingError, match=r"its SHA-256 is [0-9a-f]{64}, and MILLRACE_FFMPEG_SHA256 wants"):
        asyncio.run(ffmpeg.identify(program, found.sha256))


def test_a_worker_tells_which_it_runs_and_does_not_start_with_another(tmp_path: Path) -> None:
    async def main(**changes: object) -> object:
        with FakeMaster() as master:
            settings = WorkerSettings(
                masters=(master.url,), api_key=KEY, state=tmp_path / "state", proofs=tmp_path / "proofs.json", **changes
            )
            async with WorkerProgram(settings):
                (node,) = master.nodes.values()
                return node["request"].facts["ffmpeg"]

    told = asyncio.run(main())
    assert told["sha256"] == hashlib.sha256(Path(told["path"]).read_bytes()).hexdigest()
    assert told["version"].startswith(("n9", "9", "N-"))
    with pytest.raises(SettingError, match="MILLRACE_FFMPEG_SHA256 wants"):
        asyncio.run(main(ffmpeg_sha256="0" * 64))
