"""Where inputs come from and outputs go to, with real servers, folders and processes."""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import threading
from collections.abc import Sequence

import pytest
import uvicorn
from fake_master import ranged
from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from millrace.blobs import publish as publishing
from millrace.blobs.local import LocalBlobs
from millrace.client.errors import StaleError
from millrace.outbound.addresses import EVERYWHERE
from millrace.outbound.guard import Guard
from millrace.runtime.clock import SystemClock, VirtualClock
from millrace.worker.control import Control
from millrace.worker.deliver import Delivery, Product
from millrace.worker.deliver_folder import FolderDestination
from millrace.worker.engines_alive import EnginesAlive, end_leftovers, start_ticks
from millrace.worker.failure import HandBackError, TaskFailedError
from millrace.worker.fetch import Came, Fetching, FetchLimits
from millrace.worker.fetch_http import HttpFetch
from millrace.worker.identity import StateFolder, StateUnusableError
from millrace.worker.object_store import ObjectDestination, ObjectFetch, place_of
from millrace.worker.scratch import Scratch

FILM = bytes(range(256)) * 2000


@contextlib.contextmanager
def served(*routes):
    """A web server in a thread; gives its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(Starlette(routes=list(routes)), log_level="critical", lifespan="off", ws="none")
    )
    thread = threading.Thread(target=lambda: asyncio.run(server._serve([listener])), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)
        listener.close()


class Films:
    def __init__(self):
        self.asked = []
        self.cut = []
        self.tag = '"one"'
        self.forged = "none"
        self.status = []
        self.data = FILM

    def film(self, request):
        self.asked.append(request.headers.get("range"))
        if self.status:
            return Response(b"", status_code=self.status.pop(0))
        if request.headers.get("if-none-match") in (self.tag, self.forged):
            return Response(status_code=304, headers={"etag": self.tag})
        if request.headers.get("if-range", self.tag) != self.tag:
            request = type("Whole", (), {"headers": {}})()
        response = ranged(request, self.data, self.cut)
        response.headers["etag"] = self.tag
        return response

    def hop(self, request):
        left = int(request.path_params["left"])
        return RedirectResponse(f"/hop/{left - 1}" if left else "/film.mp4?signature=secret")

    def routes(self):
        return [Route("/film.mp4", self.film), Route("/hop/{left}", self.hop)]


def fetched(tmp_path, path, films, *, limits=None, guard=None):
    """Fetch `path` from a server of films; the bytes."""
    return came(tmp_path, path, films, limits=limits, guard=guard)[1]


def came(tmp_path, path, films, *, limits=None, guard=None, known=""):
    """Fetch it, unless it is the known version; what the server said of it, and the bytes."""

    async def main(url):
        clock = SystemClock()
        fetch = HttpFetch(guard or Guard(allowed=EVERYWHERE), clock=clock, draw=lambda: 0.0)
        target = tmp_path / "input"
        try:
            said = await fetch(
                Fetching(
                    location=url + path if path.startswith("/") else path, target=target, known=known,
                    limits=limits or FetchLimits(silence_s=5.0), control=Control(clock), told=lambda *_: None,
                )
            )  # fmt: skip
        finally:
            await fetch.close()
        return said, target.read_bytes()

    with served(*films.routes()) as url:
        return asyncio.run(main(url))


def test_a_film_by_http(tmp_path):
    assert fetched(tmp_path, "/film.mp4", Films()) == FILM


def test_a_broken_connection_is_taken_up_where_it_broke(tmp_path):
    films = Films()
    films.cut = [1000, 0, 200_000]
    assert fetched(tmp_path, "/film.mp4", films) == FILM
    assert films.asked == [None, "bytes=1000-", "bytes=1000-", "bytes=201000-"]


def test_a_film_that_changed_meanwhile_is_not_mixed(tmp_path):
    films = Films()
    films.cut = [1000]
    film = films.film

    def changing(request):
        response = film(request)
        films.tag, films.data = '"two"', FILM[::-1]
        return response

    films.film = changing
    assert fetched(tmp_path, "/film.mp4", films) == FILM[::-1]
    assert films.asked == [None, "bytes=1000-"]


def test_a_server_names_the_version_that_came_and_is_asked_whether_it_still_has_it(tmp_path):
    films = Films()
    assert came(tmp_path, "/film.mp4", films) == (Came(version='"one"'), FILM)
    assert came(tmp_path, "/film.mp4", films, known='"one"') == (Came(version='"one"', is_known=True), b"")
    assert came(tmp_path, "/film.mp4", films, known='"other"') == (Came(version='"one"'), FILM)


@pytest.mark.parametrize("path", ["/film.mp4", "/hop/0"])
def test_what_a_weak_tag_or_a_place_behind_a_redirect_names_may_be_another_one_the_next_time(tmp_path, path):
    films = Films()
    films.tag = 'W/"one"' if path == "/film.mp4" else '"one"'
    assert came(tmp_path, path, films) == (Came(), FILM)


@pytest.mark.parametrize(("path", "forged"), [("/film.mp4", '"other"'), ("/hop/0", '"one"')])
def test_a_server_that_says_of_another_file_that_it_is_known_has_to_send_it(tmp_path, path, forged):
    films = Films()
    films.forged = forged
    assert came(tmp_path, path, films, known=forged)[1] == FILM


def test_a_server_that_breaks_off_always_is_given_up(tmp_path):
    films = Films()
    films.cut = [0] * 10
    with pytest.raises(TaskFailedError, match="tried 4 times") as caught:
        fetched(tmp_path, "/film.mp4", films)
    assert caught.value.failure.failure_class == "network"


def test_a_server_that_recovers(tmp_path):
    films = Films()
    films.status = [503, 429]
    assert fetched(tmp_path, "/film.mp4", films) == FILM


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_server_that_says_no(tmp_path, status):
    films = Films()
    films.status = [status]
    with pytest.raises(TaskFailedError, match=f"answered {status}") as caught:
        fetched(tmp_path, "/film.mp4?signature=secret", films)
    assert caught.value.failure.failure_class == "input"
    assert "secret" not in str(caught.value)


def test_redirects_are_followed_a_few_times(tmp_path):
    assert fetched(tmp_path, "/hop/4", Films()) == FILM
    with pytest.raises(TaskFailedError, match="more than 5 redirects"):
        fetched(tmp_path, "/hop/5", Films())


def test_a_film_over_the_limit_is_refused(tmp_path):
    with pytest.raises(TaskFailedError, match="it is longer than"):
        fetched(tmp_path, "/film.mp4", Films(), limits=FetchLimits(largest_bytes=1000, silence_s=5.0))


def test_a_film_without_room_for_it_goes_back(tmp_path):
    with pytest.raises(HandBackError, match="too little room"):
        fetched(tmp_path, "/film.mp4", Films(), limits=FetchLimits(keep_free_bytes=1 << 60, silence_s=5.0))


def test_a_slow_fetch_ends_at_its_deadline(tmp_path):
    async def main():
        clock = VirtualClock(auto_advance=True)

        async def never(host, port):
            await asyncio.Event().wait()

        fetch = HttpFetch(Guard(resolve=never), clock=clock, draw=lambda: 0.0)
        with pytest.raises(TaskFailedError, match="longer than 45 s"):
            await fetch(
                Fetching(
                    location="http://host/x", target=tmp_path / "x", limits=FetchLimits(deadline_s=45.0),
                    control=Control(clock), told=lambda *_: None,
                )
            )  # fmt: skip

    asyncio.run(main())


def delivery(folder, *, job="j1", names=("master.m3u8", "a/index.m3u8", "a/1.m4s"), overwrite=False, attempt=1):
    products = []
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        import hashlib

        products.append(Product(name=name, size=len(name), sha256=hashlib.sha256(name.encode()).hexdigest()))
    return Delivery(
        job=job, task=f"{job}.1", node="n1", attempt=attempt, folder=folder, products=products, overwrite=overwrite
    )


def bucket(tmp_path):
    """Object stores in folders: `s3://bucket/prefix` is a folder, which keeps the same contract."""
    return lambda location: LocalBlobs(tmp_path / "s3" / location.removeprefix("s3://"))


def test_what_players_open_first_is_stored_last(tmp_path):
    names = ("manifest.mpd", "master.m3u8", "a/key-frames.m3u8", "a/index.m3u8", "words.vtt", "a/1.m4s", "b/index.m3u8")

    async def main():
        place = ObjectDestination(bucket(tmp_path), "s3://films/one")
        reports = await place.publish(delivery(tmp_path / "out", names=names), Control(SystemClock()))
        assert [report.location.removeprefix("s3://films/one/") for report in reports] == [
            "a/1.m4s", "words.vtt", "a/index.m3u8", "b/index.m3u8", "a/key-frames.m3u8", "master.m3u8", "manifest.mpd",
        ]  # fmt: skip

    asyncio.run(main())


def test_an_output_in_an_object_store(tmp_path):
    async def main():
        control = Control(SystemClock())
        place = ObjectDestination(bucket(tmp_path), "s3://films/one")
        await place.check("j1", overwrite=False)
        reports = await place.publish(delivery(tmp_path / "out"), control)
        assert [report.location for report in reports] == [
            "s3://films/one/a/1.m4s", "s3://films/one/a/index.m3u8", "s3://films/one/master.m3u8",
        ]  # fmt: skip
        kept = tmp_path / "s3" / "films" / "one"
        assert (kept / "a" / "1.m4s").read_text() == "a/1.m4s"
        assert json.loads((kept / "millrace.json").read_text())["job"] == "j1"
        await place.check("j1", overwrite=False)
        with pytest.raises(TaskFailedError, match="exists already"):
            await place.check("j2", overwrite=False)
        with pytest.raises(TaskFailedError, match="exists already"):
            await place.publish(delivery(tmp_path / "out", job="j2"), control)
        await place.publish(delivery(tmp_path / "out", job="j2", names=("b.mp4",), overwrite=True), control)
        assert sorted(path.name for path in kept.rglob("*") if path.is_file()) == ["b.mp4", "millrace.json"]

    asyncio.run(main())


def test_overwriting_an_object_store_leaves_what_others_put_there(tmp_path):
    async def main():
        control = Control(SystemClock())
        place = ObjectDestination(bucket(tmp_path), "s3://films/one")
        kept = tmp_path / "s3" / "films" / "one"
        await place.publish(delivery(tmp_path / "out"), control)
        (kept / "precious.txt").write_text("keep")
        with pytest.raises(TaskFailedError, match=r"precious\.txt was not made by Millrace"):
            await place.check("j2", overwrite=True)
        with pytest.raises(TaskFailedError, match="was not made"):
            await place.publish(delivery(tmp_path / "out", job="j2", overwrite=True), control)
        # One that came while the job ran is not ours to remove, either.
        await place.publish(delivery(tmp_path / "out", names=("b.mp4",)), control)
        assert sorted(path.name for path in kept.rglob("*") if path.is_file()) == [
            "b.mp4", "millrace.json", "precious.txt",
        ]  # fmt: skip

    asyncio.run(main())


def test_an_output_half_replaced_in_an_object_store_can_still_be_overwritten(tmp_path):
    async def main():
        control = Control(SystemClock())
        place = ObjectDestination(bucket(tmp_path), "s3://films/one")
        kept = tmp_path / "s3" / "films" / "one"
        await place.publish(delivery(tmp_path / "out"), control)
        broken = delivery(tmp_path / "out", job="j2", names=("b.mp4",), overwrite=True)
        (tmp_path / "out" / "b.mp4").write_text("no more what was checked")
        with pytest.raises(TaskFailedError, match=r"cannot store b\.mp4"):
            await place.publish(broken, control)
        assert (kept / "master.m3u8").exists()
        await place.publish(delivery(tmp_path / "out", job="j3", names=("c.mp4",), overwrite=True), control)
        assert sorted(path.name for path in kept.rglob("*") if path.is_file()) == ["c.mp4", "millrace.json"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("there", "named"),
    [
        (["precious.txt"], "precious.txt"),
        (["sub/film.mp4"], "sub/film.mp4"),
        ([".millrace.json", "old.ts", "new.txt"], "new.txt"),
    ],
)
def test_overwriting_a_folder_replaces_nothing_that_others_put_there(tmp_path, there, named):
    out = tmp_path / "out"
    for name in there:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text('{"job": "j0", "outputs": [{"name": "old.ts"}]}')

    async def main():
        control = Control(SystemClock())
        place = FolderDestination(out)
        with pytest.raises(TaskFailedError, match=f"{named} was not made by Millrace"):
            await place.check("j1", overwrite=True)
        with pytest.raises(TaskFailedError, match=f"{named} was not made by Millrace"):
            await place.publish(delivery(tmp_path / "made", overwrite=True), control)
        (out / named).unlink()
        await place.check("j1", overwrite=True)

    asyncio.run(main())
    assert all((out / name).exists() for name in there if name != named)


def test_overwriting_replaces_no_file_and_no_link(tmp_path):
    (tmp_path / "film.mp4").write_text("precious")
    (tmp_path / "link").symlink_to("film.mp4")
    for name in ("film.mp4", "link"):
        with pytest.raises(TaskFailedError, match="it was not made by Millrace"):
            asyncio.run(FolderDestination(tmp_path / name).check("j1", overwrite=True))


@pytest.mark.parametrize("kind", ["folder", "objects"])
def test_an_attempt_that_stood_still_replaces_nothing_that_a_later_one_has_published(tmp_path, kind):
    """Its lease was checked, then it stood still, and another worker was given the task and ended it."""
    out = tmp_path / "s3" / "films"

    def place():
        return FolderDestination(out) if kind == "folder" else ObjectDestination(bucket(tmp_path), "s3://films")

    async def main():
        control = Control(SystemClock())
        await place().publish(delivery(tmp_path / "two", names=("film.mp4",), attempt=2), control)
        with pytest.raises(StaleError, match="attempt 2 has published"):
            await place().publish(delivery(tmp_path / "one", names=("film.mp4", "b.mp4"), attempt=1), control)
        assert sorted(path.name for path in out.iterdir() if path.is_file()) == [
            ".millrace.json" if kind == "folder" else "film.mp4",
            "film.mp4" if kind == "folder" else "millrace.json",
        ]
        assert (tmp_path / "one" / "film.mp4").exists()  # the source is left where it was
        # An attempt that comes later, as after a report that never arrived, does.
        await place().publish(delivery(tmp_path / "three", names=("film.mp4",), attempt=3), control)

    asyncio.run(main())


def test_an_attempt_that_stood_still_while_it_published_replaces_nothing(tmp_path, monkeypatch):
    """Here it stands still at the last moment: everything was looked at, and the files are brought beside their place."""
    out = tmp_path / "out"
    bring = publishing._bring

    def overtaken(source, part):
        bring(source, part)
        monkeypatch.setattr(publishing, "_bring", bring)
        FolderDestination(out)._publish(delivery(tmp_path / "two", names=("film.mp4",), attempt=2))

    async def main():
        monkeypatch.setattr(publishing, "_bring", overtaken)
        with pytest.raises(StaleError, match="attempt 2 has published"):
            await FolderDestination(out).publish(
                delivery(tmp_path / "one", names=("film.mp4",), attempt=1), Control(SystemClock())
            )

    asyncio.run(main())
    assert json.loads((out / ".millrace.json").read_text())["attempt"] == 2
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_input_from_an_object_store(tmp_path):
    async def main():
        clock = SystemClock()
        await bucket(tmp_path)("s3://films").put("a/film.mp4", _once(FILM))
        fetch = ObjectFetch(bucket(tmp_path), clock=clock, draw=random.Random(1).random)
        terms = {
            "target": tmp_path / "input",
            "limits": FetchLimits(),
            "control": Control(clock),
            "told": lambda *_: None,
        }
        await fetch(Fetching(location="s3://films/a/film.mp4", **terms))
        assert (tmp_path / "input").read_bytes() == FILM
        with pytest.raises(TaskFailedError) as caught:
            await fetch(Fetching(location="s3://films/gone.mp4", **terms))
        assert caught.value.failure.failure_class == "input"

    asyncio.run(main())


class Versioned(LocalBlobs):
    """A store that names versions: those of `names`, one after the other, the last one from then on."""

    names: Sequence[str] = ()

    async def stat(self, key):
        name, *later = self.names
        self.names = later or self.names
        return replace(await super().stat(key), version=name)


def test_an_object_whose_version_is_known_does_not_come_again(tmp_path):
    async def main():
        clock, store = SystemClock(), Versioned(tmp_path / "s3")
        await store.put("film.mp4", _once(FILM))
        fetch = ObjectFetch(lambda _: store, clock=clock, draw=random.Random(1).random)

        async def came(*names, known=""):
            store.names = names
            (tmp_path / "input").unlink(missing_ok=True)
            said = await fetch(
                Fetching(
                    location="s3://films/film.mp4", target=tmp_path / "input", known=known,
                    limits=FetchLimits(), control=Control(clock), told=lambda *_: None,
                )
            )  # fmt: skip
            return said, (tmp_path / "input").exists()

        assert await came("1") == (Came(version="1"), True)
        assert await came("1", known="1") == (Came(version="1", is_known=True), False)
        assert await came("2", known="1") == (Came(version="2"), True)
        assert await came("1", "1", "2") == (Came(), True)  # it was written to while it came
        assert await came("", known="") == (Came(), True)

    asyncio.run(main())


@pytest.mark.parametrize(
    "location",
    ["s3://../other/film.mp4", "s3://..", "s3://./film.mp4", "s3://key@films/a", "s3://films:80/a", "s3://films%2Fb/a",
     "s3://films?endpoint=http://evil.example/a", "s3://films/a?endpoint=http://evil.example", "s3://films/a#b", "s3:///a",
     "s3://evil.example\\/a", "s3://fi lms/a", "s3://a..b/c"],
)  # fmt: skip
def test_a_bucket_has_the_name_of_one_and_no_place_of_its_own(tmp_path, location):
    def never(_):
        raise AssertionError("opened")

    for judge in (lambda: ObjectDestination(never, location), lambda: place_of(location)):
        with pytest.raises(TaskFailedError, match="write s3://bucket/path") as caught:
            judge()
        assert caught.value.failure.failure_class == "request"


async def _once(data):
    yield data


def test_engines_that_a_crashed_worker_left_are_ended_and_others_are_not(tmp_path):
    scratch = Scratch(tmp_path / "scratch")
    scratch.prepare()
    ours = os.posix_spawn("/bin/sleep", ["sleep", "60"], {}, setpgroup=0)
    other = os.posix_spawn("/bin/sleep", ["sleep", "60"], {}, setpgroup=0)
    try:
        EnginesAlive(scratch.engines).add(ours)
        # The pid of the note belongs to somebody else by now: the start time tells.
        stale = {"pid": other, "start_ticks": start_ticks(other) - 1}
        (scratch.engines / "stale.json").write_text(json.dumps(stale))
        (scratch.engines / "torn.json").write_text('{"pid"')
        assert end_leftovers(scratch.engines) == 1
        assert os.waitstatus_to_exitcode(os.waitpid(ours, 0)[1]) == -signal.SIGKILL
        assert os.waitpid(other, os.WNOHANG) == (0, 0)
        assert list(scratch.engines.iterdir()) == []
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)


def test_a_fingerprint_stays_and_a_boot_does_not(tmp_path):
    with StateFolder(tmp_path / "state") as folder:
        first = folder.open()
    with StateFolder(tmp_path / "state") as folder:
        second = folder.open()
    assert first.fingerprint == second.fingerprint
    assert first.boot_id != second.boot_id


def test_a_fingerprint_that_is_none_is_not_guessed_around(tmp_path):
    (tmp_path / "fingerprint").write_text("x\n")
    with pytest.raises(StateUnusableError, match="remove it to become a new node"):
        StateFolder(tmp_path).open()


def test_a_state_folder_that_is_a_file(tmp_path):
    (tmp_path / "state").write_text("x")
    with pytest.raises(StateUnusableError, match="cannot use the state folder"):
        StateFolder(tmp_path / "state").open()
