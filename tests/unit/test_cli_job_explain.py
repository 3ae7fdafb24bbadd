"""What `millrace jobs explain` prints: a short page about a job that waits, that runs, and that is done."""

import pytest

from millrace.cli.jobs.explain import _page
from millrace.domain.media.split import Chunking, Course
from millrace.domain.states import State
from millrace.wire.v1.explanation import (
    CandidateView,
    ChunkView,
    DecisionView,
    Explanation,
    SpentView,
    WayView,
)

EMPTY = Explanation(
    job="j", number=7, state=State.QUEUED, profile="web-hls", input="/media/film.mp4", waits="", candidates=[], source=None,
    decision=None, steps={}, notes=[], chunks=[], expected=None, actual=None, job_s=None,
)  # fmt: skip
VIDEO = {
    "type": "video", "codec": "h264", "width": 1920, "height": 1080, "fps": 23.976, "frames": 172_627,
    "key_frames": {"count": 3600, "apart_s": 2.0, "longest_s": 5.005},
}  # fmt: skip
SOURCE = {
    "duration_s": 7200.0,
    "streams": [VIDEO, {"type": "audio", "codec": "aac", "layout": "stereo", "language": "eng"}],
}


def page(capsys: pytest.CaptureFixture[str], **fields: object) -> list[str]:
    found = Explanation(**{**{name: getattr(EMPTY, name) for name in EMPTY.__struct_fields__}, **fields})
    _page(found)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_of_a_job_that_waits_it_says_why_and_who_could_take_it(capsys: pytest.CaptureFixture[str]) -> None:
    candidates = [
        CandidateView(node="one", state="ready", free=2, lacks=""),
        CandidateView(node="two", state="draining", free=0, lacks="the engine ffmpeg"),
    ]
    shown = page(capsys, waits="1 of 2 nodes can run it", candidates=candidates)
    assert shown[:4] == ["job 7, queued", "input /media/film.mp4", "profile web-hls", "waits 1 of 2 nodes can run it"]
    assert shown[4].startswith("The worker that takes it reads the input first")
    assert shown[-3:] == ["node state free slots lacks", "one ready 2", "two draining 0 the engine ffmpeg"]


def test_of_a_job_that_is_done_it_has_what_was_found_decided_and_spent(capsys: pytest.CaptureFixture[str]) -> None:
    ways = [
        WayView(
            course=course, chunks=chunks, workers=workers, repeated_frames=0, time_s=time_s, cpu_s=5000.0,
            chosen=course is Course.SPREAD,
        )
        for course, chunks, workers, time_s in ((Course.WHOLE, 1, 1, 3000.0), (Course.CHUNKS, 4, 1, 2600.0), (Course.SPREAD, 9, 3, 900.0))
    ]  # fmt: skip
    decision = DecisionView(
        reason="9 chunks on 3 workers", asked=Chunking.AUTO, cores=2, helpers=2, piece_frames=96, ways=ways
    )
    chunks = [
        ChunkView(
            number=number, first_frame=number * 960, frames=960, length_s=40.0, task=number + 3, node_name="two",
            state=State.COMPLETED, took_s=12.5,
        )
        for number in range(30)
    ]  # fmt: skip
    shown = page(
        capsys, state=State.COMPLETED, source=SOURCE, decision=decision, steps={"sound": "encoded once"}, notes=["A note."], chunks=chunks,
        expected=SpentView(time_s=900.0, cpu_s=5000.0), actual=SpentView(time_s=950.0, cpu_s=None), job_s=1000.0,
    )  # fmt: skip
    text = "\n".join(shown)
    assert (
        "found 2 h 00 min; 1920x1080 in h264, 23.976 frames a second, 172,627 frames, a key frame every 2.00 s (at most 5.00 s apart)"
        in text
    )
    assert "sound in aac, stereo eng" in text
    assert "decided 9 chunks on 3 workers" in shown
    assert (
        "counted with 2 cores of each worker, and 2 parts that others could begin; the job asks for chunks: auto"
        in shown
    )
    assert "sound encoded once" in shown
    assert "note A note." in shown
    assert "* chunks on several workers 9 3 0 frames 15 min 00 s 1 h 23 min" in shown
    assert "whole 1 1 0 frames 50 min 00 s 1 h 23 min" in shown
    assert "1 960 to 1,919 40.0 s 4 two completed 12.5 s" in shown
    assert "and 6 more: --output json lists all of them" in shown
    assert shown[-4:] == [
        "expected actual", "encode 15 min 00 s 15 min 50 s", "of all cores 1 h 23 min -", "whole job - 16 min 40 s",
    ]  # fmt: skip


def test_chunks_of_one_worker_name_no_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    chunk = ChunkView(
        number=0, first_frame=0, frames=10, length_s=None, task=None, node_name=None, state=None, took_s=None
    )
    assert page(capsys, chunks=[chunk])[-2:] == ["chunk frames length", "0 0 to 9"]
