"""What commands draw fits the terminal, however narrow, and hides nothing that was asked for."""

import io
import os
from contextlib import redirect_stdout
from pathlib import Path

import msgspec
import pytest
from job_sample import job, output
from rich.console import Console
from rich.text import Text

from millrace.cli import show
from millrace.cli.options import Output
from millrace.cli.progress import Picture
from millrace.cli.transcode.summary import Summary, tell
from millrace.domain.records import Outcome
from millrace.process.sandbox import confinement
from millrace.wire.v1.jobs import SlaView

WIDTHS = (40, 60, 80, 120)
VIDEO = {
    "type": "video",
    "codec": "h264",
    "width": 1280,
    "height": 720,
    "fps": 23.976,
    "frames": 86400,
    "duration_s": 3600.0,
    "bitrate": 15_612_000,
}
AUDIO = {"type": "audio", "codec": "aac", "channels": 2, "duration_s": 3600.0, "bitrate": 135_000}
PICTURE = {
    "type": "video",
    "codec": "mjpeg",
    "width": 800,
    "height": 450,
    "fps": 25.0,
    "frames": 1,
    "duration_s": 0.04,
    "bitrate": 2_422_200,
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(params=WIDTHS)
def width(request, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(request.param))
    return request.param


def told(summary, *, on=Terminal):
    with redirect_stdout(on()) as screen:
        tell(summary, as_json=False)
    return Text.from_ansi(screen.getvalue()).plain


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("state", ["queued", "assigned", "processing", "retrying"])
def test_the_progress_shows_bar_percentage_and_time_left_on_any_terminal(columns, state):
    console = Console(width=columns, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(Picture(job(state=state)))
    first, second, *more = console.file.getvalue().splitlines()
    assert more == []
    assert max(len(first), len(second)) <= columns
    assert "…" not in first
    for part in ("job 12345", " 43 %", "ETA 1:02:05"):
        assert part in first
    assert "━" in first or columns == 40
    assert second.startswith("  encode  129 fps  1.83x")
    assert "…" not in second


def test_the_bar_stays_where_it_is_while_the_job_changes():
    starts = set()
    for state, eta_s in (("assigned", None), ("processing", None), ("processing", 3.0), ("paused", 3725.0)):
        console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system=None)
        console.print(Picture(msgspec.structs.replace(job(state=state, eta_s=eta_s), number=1)))
        line = console.file.getvalue().splitlines()[0]
        starts.add((line.index("━"), line.rindex("━")))
    assert starts == {(15, 27)}  # 43 % of 32 columns


def test_the_final_table_is_whole_on_any_terminal(width):
    note = "The input has 1280x720 pixels and is never enlarged: made 1280x720, 854x480, 640x360."
    done = job(output("720p/video.m3u8", VIDEO), output("audio-0/a.m3u8", AUDIO), state="completed", notes=[note])
    place = Path("/a/folder/with a space/and-a-name-that-is-much-longer-than-forty-columns/out")
    text = told(Summary.of(done, place, None))
    lines = [line for line in text.splitlines() if str(place) not in line]
    assert max(map(len, lines)) <= width
    assert "…" not in text
    for cell in ("1280x720 23.976 fps", "15612 kbit/s", "86400", "1.0 MB", "60x", "2 channels", "135 kbit/s"):
        assert cell in text
    assert str(place / "720p" / "video.m3u8") in text
    assert note in " ".join(text.split())


def test_the_vmaf_of_what_was_compared_is_in_the_table():
    def summary(**proof):
        outputs = output("a.mp4", VIDEO, AUDIO), output("b.mp4", VIDEO)
        files = [
            {"path": "a.mp4", "type": "video", **proof},
            {"path": "a.mp4", "type": "audio"},
            {"path": "b.mp4", "type": "video"},
        ]
        return Summary.of(job(*outputs, state="completed", proof={"files": files}), Path("/out"), None)

    compared = summary(vmaf={"mean": 93.456})
    assert [row.vmaf for row in compared.renditions] == [93.456, None, None]
    assert "93.5" in told(compared)
    assert "VMAF" not in told(summary())


def test_what_the_sandbox_lacks_is_noted_unless_it_was_switched_off():
    def notes(missing):
        return Summary.of(job(sandbox={"missing": missing}), Path("/out"), None).notes

    (note,) = notes(["files hidden", "fresh /tmp"])
    assert note.endswith("Not in force: files hidden, fresh /tmp.")
    assert notes([]) == notes(list(confinement(None).missing)) == []


def test_where_the_table_fits_it_is_a_table(width):
    done = job(output("720p/video.m3u8", VIDEO), state="completed")
    text = told(Summary.of(done, Path("/out"), None))
    assert text.startswith("rendition") == (width >= 80)


def test_a_pipe_gets_one_line_for_each_row(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    summary = Summary.of(job(output("720p/video.m3u8", VIDEO), state="completed"), Path("/o" * 60), None)
    text = told(summary, on=io.StringIO)
    assert len(text.splitlines()) == 4


def test_of_a_picture_nothing_is_told_that_only_a_film_has(width):
    summary = Summary.of(job(output("sprite-001.jpg", PICTURE), state="completed"), Path("/out"), None)
    (row,) = summary.document()["renditions"]
    assert row == {
        "name": "sprite-001.jpg", "type": "image", "codec": "mjpeg", "size": 1_048_576, "width": 800, "height": 450,
    }  # fmt: skip
    text = told(summary)
    assert "800x450" in text
    for nonsense in ("fps", "kbit/s", "frames", "speed", "Play"):
        assert nonsense not in text


def test_of_an_audio_file_no_resolution_and_no_frames_are_told(width):
    text = told(Summary.of(job(output("audio.m4a", AUDIO), state="completed"), Path("/out"), None))
    for absent in ("resolution", "frames"):
        assert absent not in text
    for there in ("2 channels", "135 kbit/s", "60x", f"Play {os.sep}out"):
        assert there in " ".join(text.split())


def test_colours_in_cells_take_no_room(width):
    row = ["name", "[green]" + "x" * 15 + "[/green]", "[green]" + "y" * 14 + "[/green]"]
    with redirect_stdout(Terminal()) as screen:
        show.table(["a column for no terminal" * 10, "b", "c"], [row], empty="", blocks=True)
    lines = Text.from_ansi(screen.getvalue()).plain.splitlines()
    assert lines == ["name", f"  b {'x' * 15}  c {'y' * 14}"]


@pytest.mark.parametrize(
    ("compliant", "reason", "said"),
    [
        (True, "compliant", "kept"),
        (True, "not_sla_worthy", "does not count"),
        (True, "external_failure_platform_ok", "kept: external failure platform ok"),
        (False, "queue_time_exceeded", "missed: queue time exceeded"),
    ],
)
def test_a_service_level_is_told_in_words(compliant, reason, said):
    assert show.service_level(SlaView(compliant=compliant, reason=reason)) == said


def test_an_attempt_that_was_handed_back_says_why(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    found = job()
    (attempt,) = found.attempts
    handed = msgspec.structs.replace(attempt, outcome=Outcome.HANDED_BACK, reason="there is too little room")
    show.job_record(msgspec.structs.replace(found, attempts=[handed]), Output.TABLE)
    assert "there is too little room" in capsys.readouterr().out


def test_what_others_wrote_does_nothing_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    word = "x\x1b]0;owned\x07\u202egpj.exe\x9b2J [/bold]\nnext"
    show.table(["name"], [[show.escape(word)]], empty="")
    show.lines([("name", show.escape(word))])
    out = capsys.readouterr().out
    assert out.count(r"x\x1b]0;owned\x07\u202egpj.exe\x9b2J [/bold]\nnext") == 2
    assert show.harmless("a\r\n\tb\x1b[2J", keep="\r\n\t") == "a\r\n\tb\\x1b[2J"
    assert show.escape("Größe 日本 🎬") == "Größe 日本 🎬"
