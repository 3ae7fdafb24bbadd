"""A worker whose FFmpeg is shut in: what it can see, what is told, and what is refused."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from fake_master import FakeMaster
from farm_worker import FFMPEG, ffmpeg_source, running
from test_worker_ffmpeg import ended, film, spec

from millrace.engines.ffmpeg.engine import FFmpeg
from millrace.process.sandbox import Able, Demand, Mechanism
from millrace.programs.ffmpeg import check_sandbox
from millrace.runtime.clock import SystemClock
from millrace.worker.proofs import EngineSource
from millrace.worker.shut_in import CannotShutIn, way_in


def curious(folder: Path, canary: Path) -> EngineSource:
    """An FFmpeg that first says on stderr what it finds in a file that is none of its business, and leaves a mark."""
    folder.mkdir()
    try:
        os.link(FFMPEG, folder / "ffmpeg")
    except OSError:
        shutil.copy(FFMPEG, folder / "ffmpeg")
    script = folder / "curious"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *progress*) cat {canary} >&2; touch {canary.parent}/spoilt 2>/dev/null;; esac\n'
        f'exec {folder}/ffmpeg "$@"\n'
    )
    script.chmod(0o755)
    return EngineSource(
        name="ffmpeg", binary=script, encoders=("libx264", "aac"), bind=lambda working: FFmpeg(script, working=working)
    )


@pytest.mark.parametrize("demand", [Demand.REQUIRE, Demand.OFF])
def test_an_engine_sees_its_input_and_nothing_of_others(tmp_path: Path, demand: Demand) -> None:
    media = tmp_path / "media"
    media.mkdir()
    canary = media / "of-somebody-else"
    canary.write_text("the-secret")
    engine = curious(tmp_path / "bin", canary)
    if demand is Demand.REQUIRE and not whole(engine):
        pytest.skip("no namespaces are to be had here")

    async def main() -> None:
        with FakeMaster() as master:
            async with running(master, tmp_path, [engine], roots=[media], sandbox=demand):
                source = film(media / "film.mp4")
                task = await ended(master, master.add(spec(input=str(source), output=str(media / "out"))))
                assert task.failure is None, task.log
                assert (media / "out" / "video.mp4").stat().st_size == task.outputs[0].size
                shut = demand is Demand.REQUIRE
                assert ("the-secret" in task.log) is not shut
                assert (media / "spoilt").exists() is not shut
                assert ("files hidden" in task.facts["sandbox"]["in_force"]) is shut
                assert ("it is switched off" in task.facts["sandbox"]["missing"]) is not shut
                assert "sandbox: " in task.log

    asyncio.run(main())


def test_a_link_that_an_engine_leaves_leads_nobody_out(tmp_path: Path) -> None:
    """Whoever reads an output back and publishes it is not shut in."""
    media, folder = tmp_path / "media", tmp_path / "bin"
    media.mkdir()
    (tmp_path / "canary").write_text("the-secret")
    engine = curious(folder, tmp_path / "canary")
    engine.binary.write_text(engine.binary.read_text().replace("cat ", f"ln -s {tmp_path}/canary notes.txt; cat "))

    async def main() -> None:
        with FakeMaster() as master:
            async with running(master, tmp_path, [engine], roots=[media], sandbox=Demand.AUTO):
                source = film(media / "film.mp4")
                task = await ended(master, master.add(spec(input=str(source), output=str(media / "out"))))
                assert task.failure == ("output", "cannot take the output: notes.txt is neither file nor folder")
                assert not (media / "out").exists()

    asyncio.run(main())


def test_without_any_sandbox_films_of_strangers_are_refused_and_the_operators_own_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = tmp_path / "media"
    media.mkdir()

    async def nothing(*_: object, **__: object) -> Able:
        return Able(mechanism=Mechanism.NONE, refused=("namespaces: not here",))

    async def main(demand: Demand) -> list[str | None]:
        with FakeMaster() as master:
            async with running(master, tmp_path / demand, [ffmpeg_source()], roots=[media], sandbox=demand):
                source = film(media / "film.mp4") if not list(media.iterdir()) else media / "film.mp4"
                master.uploads["u1"] = source.read_bytes()
                jobs = [master.add(spec(input=where)) for where in ("upload://u1", str(source))]
                return [task.failure and task.failure[0] for task in [await ended(master, job) for job in jobs]]

    monkeypatch.setattr("millrace.worker.shut_in.able", nothing)
    for demand in Demand:
        (tmp_path / demand).mkdir()
    assert asyncio.run(main(Demand.AUTO)) == ["capability", None]
    assert asyncio.run(main(Demand.OFF)) == [None, None]


def whole(engine: EngineSource) -> bool:
    found = asyncio.run(way_in(Demand.AUTO, [engine.binary], clock=SystemClock()))
    return found is not None and found.whole


def test_what_is_required_and_not_there_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Able(mechanism=Mechanism.FILTER, refused=("namespaces: Operation not permitted",))

    async def only_filter(*_: object, **__: object) -> Able:
        return found

    monkeypatch.setattr("millrace.worker.shut_in.able", only_filter)
    with pytest.raises(
        CannotShutIn, match=r"cannot shut engines in: namespaces: Operation not permitted; .*--sandbox auto"
    ):
        asyncio.run(way_in(Demand.REQUIRE, [Path("/bin/true")], clock=SystemClock()))
    assert asyncio.run(way_in(Demand.AUTO, [Path("/bin/true")], clock=SystemClock())) is found
    assert asyncio.run(way_in(Demand.OFF, [Path("/bin/true")], clock=SystemClock())) is None


def test_what_is_not_in_force_is_told_once_by_who_runs_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    async def only_filter(*_: object, **__: object) -> Able:
        return Able(mechanism=Mechanism.FILTER, refused=("namespaces: unshare: Operation not permitted",))

    async def main() -> None:
        await check_sandbox("auto", None)
        with FakeMaster() as master:
            async with running(master, tmp_path, [ffmpeg_source()], sandbox=Demand.AUTO):
                pass

    monkeypatch.setattr("millrace.worker.shut_in.able", only_filter)
    monkeypatch.setattr("millrace.worker.shut_in.log.warning", lambda event, **facts: told.append((event, facts)))
    asyncio.run(main())
    ((event, facts),) = told
    assert event == "worker.sandbox_not_whole"
    assert "not in force: processes of its own" in facts["sandbox"]
    assert facts["sandbox"].endswith("namespaces: unshare: Operation not permitted")
