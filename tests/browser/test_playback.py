"""The ladder of `web-hls` plays: hls.js and a real decoder take it from the master, as players on the web do."""

import re
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from outside import ROOT

from browser.visiting import HERE, Visit

TUTORIAL = ROOT / "docs" / "tutorial" / "first-ladder.md"
RENDITIONS = [[640, 360], [854, 480], [1280, 720]]
"""In the order of hls.js, which is that of their bitrates."""
SECONDS, FRAMES, BORDER_S = 5.28, 132, 4.0
HARMLESS = {"bufferStalledError", "bufferNudgeOnStall", "aborted"}
"""What hls.js reports where a busy machine is late, and of loads that it gave up itself for another rendition."""


class Player:
    """The player's page, at the farm's own address: so the session of the status page opens the outputs to it."""

    def __init__(self, visit: Visit, hls_js: Path) -> None:
        self.page = visit.page
        visit.at_ring("player.html", HERE / "player.js", HERE / "sound.js", hls_js)

    def load(self, ladder: dict[str, Any], *, renditions: list[list[int]] = RENDITIONS, **config: Any) -> None:
        url = address(ladder, "master.m3u8")
        assert self.page.evaluate("([url, config]) => load(url, config)", [url, config]) == renditions

    def do(self, call: str) -> Any:
        return self.page.evaluate(call)


def address(ladder: dict[str, Any], name: str) -> str:
    """Where the farm serves an output."""
    (url,) = (output["url"] for output in ladder["outputs"] if output["name"] == name)
    return url


@pytest.fixture
def player(visit: Visit, hls_js: Path) -> Player:
    return Player(visit, hls_js)


def test_every_rendition_is_decoded_when_it_is_chosen(player: Player, ladder: dict[str, Any]) -> None:
    player.load(ladder, startLevel=0)
    player.do("play()")
    for level in (2, 0, 1):
        done = player.do(f"choose({level}, 10)")
        before, after = done["before"], done["after"]
        assert after["size"] == RENDITIONS[level]
        assert [frame for frame in after["frames"] if frame["size"] != RENDITIONS[level]] == []
        assert after["decoded"] >= before["decoded"] + 10
        assert after["time"] > before["time"] == 0
        assert after["audioBytes"] > before["audioBytes"]
        assert faults(after) == []


def test_the_change_between_two_renditions_is_seamless_and_playback_reaches_the_end(
    player: Player, ladder: dict[str, Any]
) -> None:
    player.load(ladder, startLevel=0)
    player.do("play()")
    player.do("hls.nextLevel = 2")
    final = player.do("end()")
    times = [frame["time"] for frame in final["frames"]]
    assert all(earlier < later for earlier, later in pairwise(times)), times
    for frame in final["frames"]:
        assert frame["size"] == RENDITIONS[0 if frame["time"] < BORDER_S - 0.001 else 2], frame
    assert times[0] < BORDER_S < times[-1]
    assert final["decoded"] == FRAMES
    assert final["duration"] == pytest.approx(SECONDS, abs=0.05)
    assert final["time"] == final["duration"]
    assert faults(final) == []


def test_a_seek_lands_ahead_of_what_is_loaded_and_back_again(player: Player, ladder: dict[str, Any]) -> None:
    player.load(ladder)
    for place, frame in ((4.5, 4.48), (1.0, 1.0), (5.0, 5.0)):
        there = player.do(f"seek({place})")
        assert there == {"landed": place, "frame": pytest.approx(frame, abs=0.001)}
    player.do("play()")
    final = player.do("end()")
    assert final["ended"]
    assert faults(final) == []


@pytest.fixture
def served(ladder: dict[str, Any], visit: Visit, tmp_path: Path) -> Iterator[str]:
    """What the tutorial lets its reader make: the ladder and a page in a folder, on a server for plain files."""
    for output in ladder["outputs"]:
        target = tmp_path / "out" / output["name"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(visit.farm.http("GET", output["url"]).content)
    (page,) = re.findall(r"^```html\n(.*?)^```", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "play.html").write_text(page)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path)) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """The server of `python3 -m http.server`, without its log."""

    def log_message(self, *_: object) -> None:
        pass


def test_the_page_of_the_tutorial_plays(visit: Visit, served: str, hls_js: Path) -> None:
    visit.serve("https://cdn.jsdelivr.net/npm/hls.js@1", hls_js)  # its public server, without the way there
    visit.page.goto(f"{served}/play.html")
    assert visit.page.title() == "My first ladder"
    film = visit.page.locator("#film")
    film.press("Space")  # "Press play."
    visit.page.wait_for_function(
        "(film) => film.getVideoPlaybackQuality().totalVideoFrames > 25", arg=film.element_handle()
    )
    assert film.evaluate("(film) => film.videoWidth") in {width for width, _ in RENDITIONS}


def faults(state: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in state["troubles"] if one["fatal"] or one["details"] not in HARMLESS]
