"""What a folder or a CSV file asks for, and which files of a watched folder are whole."""

import os
from pathlib import Path

import msgspec
import pytest

from millrace.cli.batches.rows import of_folder, of_table
from millrace.cli.failure import CommandError
from millrace.cli.films import films_in
from millrace.cli.watch.folder import Folder, key_of
from millrace.cli.watch.settling import Look, Settling
from millrace.client.calls import Call
from millrace.client.errors import RefusedError, UnreachableError
from millrace.wire.v1.jobs import JobRequest

WISH = {
    "profile": "web-hls", "scenario": None, "overwrite": False, "queue": "default", "priority": "medium", "engine": "auto",
    "classification": None, "tenant": "default", "labels": {"a": "1"}, "requires": {}, "parameters": {"duration_s": None, "chunks": None, "on_damage": None},
    "timeout_s": None, "max_retries": None, "output": "/out", "run_after": None, "after": [], "after_any_end": False,
}  # fmt: skip


def films(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"film")


# Rows -------------------------------------------------------------------------------------------------------------------


def test_a_folder_gives_a_job_for_each_film_in_it(tmp_path: Path) -> None:
    films(tmp_path, "b.mp4", "a.MOV", "a.txt", ".hidden.mp4", "inner/c.mp4", "twin.mkv", "twin.mp4")
    rows = of_folder(WISH, tmp_path, ())
    assert [(row.document["input"], row.document["output"]) for row in rows] == [
        (f"{tmp_path}/a.MOV", "/out/a"),
        (f"{tmp_path}/b.mp4", "/out/b"),
        (f"{tmp_path}/twin.mkv", "/out/twin.mkv"),
        (f"{tmp_path}/twin.mp4", "/out/twin.mp4"),
    ]
    deep = of_folder(WISH | {"output": "s3://b/x/"}, tmp_path, ("**/c.*", "*.txt"))
    assert [row.document["output"] for row in deep] == ["s3://b/x/a", "s3://b/x/inner/c"]
    assert "output" not in of_folder(WISH | {"output": None}, tmp_path, ("b.*",))[0].document
    for folder, patterns in ((tmp_path, ("*.none",)), (tmp_path / "none", ()), (tmp_path / "none", ("*",))):
        with pytest.raises(CommandError, match="cannot submit"):
            of_folder(WISH, folder, patterns)
    assert [path.name for path in films_in(tmp_path, ("b.*", "*.mp4"))] == ["b.mp4", "twin.mp4"]


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "jobs.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_row_says_what_differs_from_the_options(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "\ufeffinput,output,priority,labels,max_retries,scenario,parameters,after\n"
        '/in/a.mp4,,high,b=2;c=x y,3,,"crf=20;height=720",5 j1\n'
        "http://films.example/b.mp4,/elsewhere,,,,360p24-h264,,\n",
    )
    first, second = (row.document for row in of_table(WISH, path))
    assert first == {
        "input": "/in/a.mp4", "profile": "web-hls", "output": "/out", "priority": "high", "labels": {"a": "1", "b": "2", "c": "x y"},
        "max_retries": 3, "parameters": {"crf": 20.0, "height": 720}, "after": ["5", "j1"],
    }  # fmt: skip
    assert (second["output"], second["scenario"], second.get("profile")) == ("/elsewhere", "360p24-h264", None)
    assert msgspec.convert(first, JobRequest).parameters.height == 720


def test_what_a_row_says_wrongly_is_left_to_the_master_which_names_all(tmp_path: Path) -> None:
    path = table(tmp_path, "input,max_retries,profile\n/in/a.mp4,many,\n/in/b.mp4,1,web-hls\n\n/in/c.mp4,,x\n")
    rows = of_table(WISH, path)
    assert [row.where for row in rows] == ["line 2 (/in/a.mp4)", "line 3 (/in/b.mp4)", "line 5 (/in/c.mp4)"]
    assert rows[0].document["max_retries"] == "many"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(rows[0].document, JobRequest)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("inputs\n/a\n", "there is no column 'inputs'"),
        ("profile\nweb-hls\n", "a column `input` is needed"),
        ("input,input\n/a,/b\n", "a column `input` is needed, and each once"),
        ("input,tenant\n/a,b\n", "there is no column 'tenant'"),
        ("input,output\n/a\n", "line 2 has not as many cells"),
        ("input,output\n/a,/b,/c\n", "line 2 has not as many cells"),
        ("input\n", "has no rows"),
        ("", "a column `input` is needed"),
        ('input\n"/a\n', "as CSV"),
    ],
)
def test_a_table_that_cannot_be_read_is_told_by_its_line(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(CommandError) as caught:
        of_table(WISH, table(tmp_path, text))
    assert why in str(caught.value)


def test_a_table_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "bytes.csv").write_bytes(b"input\n\xff\xfe\n")
    for name in ("bytes.csv", "none.csv"):
        with pytest.raises(CommandError, match="cannot read"):
            of_table(WISH, tmp_path / name)


# Settling ---------------------------------------------------------------------------------------------------------------

S = 1_000_000_000
FILM = Path("/in/film.mp4")


def looks(settling: Settling, *seen: tuple[float, dict[Path, Look]]) -> list[list[str]]:
    """What each look gives; the wall clock shows the same as the other one."""
    return [[path.name for path, _ in settling.look(files, now_s=now, wall_ns=round(now * S))] for now, files in seen]


def test_a_file_that_grows_is_given_once_it_stands_still() -> None:
    sizes = [(10.0, 5), (11.0, 9), (12.0, 9), (15.0, 9), (16.0, 9), (17.0, 9)]
    # Its time of change is that of each look at which it had grown.
    changed = {5: 10 * S, 9: 11 * S}
    given = looks(Settling(5.0), *((now, {FILM: Look(size, changed[size], 1)}) for now, size in sizes))
    assert given == [[], [], [], [], ["film.mp4"], []]


def test_a_file_that_was_moved_here_whole_is_given_at_the_second_look() -> None:
    old = Look(9, 1 * S, 1)
    assert looks(Settling(5.0), (100.0, {FILM: old}), (101.0, {FILM: old}), (102.0, {FILM: old})) == [
        [],
        ["film.mp4"],
        [],
    ]


def test_a_copy_that_keeps_an_old_time_is_not_given_while_it_grows() -> None:
    seen = [(100.0 + second, {FILM: Look(size, 1 * S, 1)}) for second, size in enumerate((1, 2, 3, 3))]
    assert looks(Settling(5.0), *seen) == [[], [], [], ["film.mp4"]]


def test_an_empty_file_is_never_given_and_another_in_its_place_is() -> None:
    empty, first, second = Look(0, 1 * S, 1), Look(4, 1 * S, 2), Look(4, 1 * S, 3)
    settling = Settling(2.0)
    assert looks(settling, (10.0, {FILM: empty}), (20.0, {FILM: empty})) == [[], []]
    assert settling.is_still
    assert looks(settling, (21.0, {FILM: first}), (22.0, {FILM: first})) == [[], ["film.mp4"]]
    assert looks(settling, (23.0, {FILM: second}), (24.0, {FILM: second})) == [[], ["film.mp4"]]
    assert looks(settling, (25.0, {}), (26.0, {FILM: second}), (27.0, {FILM: second})) == [[], [], ["film.mp4"]]


# A folder and a master ----------------------------------------------------------------------------------------------------


class Farm:
    """A master as a client sees it: knows keys, and answers what it is told to."""

    def __init__(self) -> None:
        self.keys: dict[str, JobRequest] = {}
        self.refuses: list[Exception] = []
        self.state = "queued"

    def do(self, call: Call[object]) -> object:
        if self.refuses:
            raise self.refuses.pop(0)
        if call.method == "POST":
            assert isinstance(call.body, bytes)
            self.keys.setdefault(call.headers["idempotency-key"], msgspec.json.decode(call.body, type=JobRequest))
            return Job(f"j{list(self.keys).index(call.headers['idempotency-key'])}", self.state)
        return Job(call.path.rpartition("/")[2], self.state)


class Job:
    failure = None

    def __init__(self, job: str, state: str) -> None:
        self.id, self.number, self.state = job, int(job[1:]) + 1, state


def watched(farm: Farm, folder: Path, said: list[str], done: Path | None = None, **wish: object) -> Folder:
    def tell(what: str, path: Path | None, more: object) -> None:
        said.append(what if path is None else f"{path.name} {what}")

    return Folder(farm, folder, WISH | wish, patterns=(), settle_s=0.0, done=done, tell=tell)  # type: ignore[arg-type]


def test_each_film_is_submitted_once_also_by_who_watches_again(tmp_path: Path) -> None:
    films(tmp_path, "a.mp4", "b.mp4")
    farm, said = Farm(), list[str]()
    for _ in range(2):
        folder = watched(farm, tmp_path, said)
        for _ in range(4):
            folder.look()
    assert said == ["a.mp4 submitted", "b.mp4 submitted"] * 2
    assert [request.output for request in farm.keys.values()] == ["/out/a", "/out/b"]
    # Another film under the same name is another film; so is another thing made of the same one.
    (tmp_path / "a.mp4").write_bytes(b"longer film")
    for count, made in ((3, {}), (5, {"profile": None, "scenario": "360p24-h264"})):
        folder = watched(farm, tmp_path, said, **made)
        folder.look()
        folder.look()
        assert len(farm.keys) == count


def test_a_key_tells_films_and_what_is_made_of_them_apart_and_nothing_else() -> None:
    look, request = Look(1, 2, 3), JobRequest(profile="web-hls", output="/out")
    base = key_of(FILM, look, request)
    assert base.isascii()
    assert len(base) < 255
    assert key_of(FILM, Look(1, 2, 99), msgspec.structs.replace(request, labels={"x": "y"})) == base
    others = [
        key_of(FILM.with_name("b.mp4"), look, request),
        key_of(FILM, Look(2, 2, 3), request),
        key_of(FILM, Look(1, 3, 3), request),
        key_of(FILM, look, msgspec.structs.replace(request, output="/elsewhere")),
        key_of(FILM, look, msgspec.structs.replace(request, profile="audio")),
    ]
    assert len({base, *others}) == 6


def test_a_master_that_is_away_is_waited_for_and_nothing_is_left_out(tmp_path: Path) -> None:
    films(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    farm, said = Farm(), list[str]()
    folder = watched(farm, tmp_path, said)
    folder.look()
    farm.refuses = [UnreachableError("cannot reach the master")]
    folder.look()
    assert not folder.is_still
    farm.refuses = [UnreachableError("cannot reach the master")]
    folder.look()
    farm.refuses = [RefusedError("cannot accept the job: a quota is used up", status=429)]
    folder.look()
    folder.look()
    assert said == [
        "waits", "waits", "a.mp4 submitted", "b.mp4 submitted", "c.mp4 submitted", "goes on"
    ]  # fmt: skip
    assert folder.is_still


def test_what_is_refused_for_good_is_told_once_and_holds_up_nothing(tmp_path: Path) -> None:
    films(tmp_path, "a.mp4", "b.mp4")
    farm, said = Farm(), list[str]()
    folder = watched(farm, tmp_path, said)
    folder.look()
    farm.refuses = [RefusedError("no such profile", status=422, kind="invalid")]
    folder.look()
    folder.look()
    assert said == ["a.mp4 refused", "b.mp4 submitted"]
    farm.refuses = [RefusedError("another body", status=422, kind="idempotency-key-reused")]
    again = watched(farm, tmp_path, said)
    again.look()
    again.look()
    assert said[2:] == ["a.mp4 known", "b.mp4 submitted"]


def test_a_film_whose_job_has_completed_goes_where_the_done_ones_are(tmp_path: Path) -> None:
    source, done = tmp_path / "in", tmp_path / "done"
    films(source, "a.mp4")
    films(done, "a.mp4")
    farm, said = Farm(), list[str]()
    folder = watched(farm, source, said, done)
    folder.look()
    folder.look()
    assert folder.running == 1
    farm.state = "completed"
    folder.look()
    assert said == ["a.mp4 submitted", "a.mp4 ended"]
    assert (folder.running, list(source.iterdir()), len(list(done.iterdir()))) == (0, [], 2)
    farm.state = "failed"
    films(source, "b.mp4")
    for _ in range(3):
        folder.look()
    assert said[2:] == ["b.mp4 submitted", "b.mp4 ended"]
    assert [path.name for path in source.iterdir()] == ["b.mp4"]


def test_a_folder_that_goes_away_is_waited_for(tmp_path: Path) -> None:
    source = tmp_path / "in"
    films(source, "a.mp4")
    farm, said = Farm(), list[str]()
    folder = watched(farm, source, said)
    os.rename(source, tmp_path / "away")  # noqa: PTH104
    folder.look()
    folder.look()
    os.rename(tmp_path / "away", source)  # noqa: PTH104
    for _ in range(2):
        folder.look()
    assert said == ["waits", "goes on", "a.mp4 submitted"]
