import asyncio
import io
import json
import logging

import msgspec
import pytest

from millrace.domain.invitations import spell
from millrace.telemetry.logs import configure, context, logger
from millrace.telemetry.redact import MASK, Redactor

log = logger("room")
SECRET = "s3cr3t-value-9"


@pytest.fixture
def stream():
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    stream = io.StringIO()
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture(params=["alone", "beside others"])
def listeners(request, stream):
    """Whether our handler is the only one, as in a program, or others listen too: what is frequent goes two ways."""
    others = [logging.NullHandler()] if request.param == "beside others" else []
    logging.getLogger().handlers[:] = others


def one(stream) -> dict:
    return json.loads(stream.getvalue())


def test_an_event_is_one_json_line_with_its_name_and_fields(stream):
    configure(form="json", stream=stream)
    with context(job=42):
        log.info("room.thing_happened", size_bytes=7, note="two\nlines", level="mine")
    line = one(stream)
    assert stream.getvalue().count("\n") == 1
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "info", "room": "room", "event": "room.thing_happened", "job": 42, "size_bytes": 7, "note": "two\nlines", "level_": "mine"}  # fmt: skip


def test_text_is_short_and_cannot_be_forged(stream):
    configure(form="text", stream=stream)
    log.warning("room.odd", path="a b", forged="x\n12:00:00 error room.fake", escape="\x1b[2J", count=3)
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert ' room.odd path="a b" ' in line
    assert " count=3" in line


def test_levels_and_a_second_configuration(stream):
    configure(form="json", stream=io.StringIO())
    configure(form="json", level="warning", stream=stream)
    log.info("room.quiet")
    log.warning("room.loud")
    assert one(stream)["event"] == "room.loud"
    with pytest.raises(ValueError, match="cannot log at level 'loud'"):
        configure(form="json", level="loud")


def test_an_exception_is_a_trace_in_json_and_a_sentence_in_text(stream):
    def fail():
        try:
            open_it()
        except OSError as error:
            log.error("room.failed", exc=error)  # noqa: TRY400  it takes the error itself

    def open_it():
        raise OSError(f"refused: password={SECRET}")

    configure(form="json", stream=stream, secrets=[SECRET])
    fail()
    assert "Traceback" in one(stream)["exception"]
    assert SECRET not in stream.getvalue()
    stream.truncate(stream.seek(0))
    configure(form="text", stream=stream)
    fail()
    assert "Traceback" not in stream.getvalue()
    assert 'error="OSError: refused: password=***"' in stream.getvalue()


def test_json_is_spelled_in_one_way_whatever_is_in_it(stream):
    configure(form="json", stream=stream)
    log.info("room.plain", note="nothing", number=1)
    log.info("room.secret", note=f"password={SECRET}")  # looked at value by value
    log.info("room.odd", odd={("a", 1): 1})  # which JSON has no words for
    log.error("room.failed", exc=OSError("refused"))
    logging.getLogger("library").warning("odd")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    assert [line for line in lines if line != json.dumps(json.loads(line), separators=(",", ":"))] == []


def test_libraries_come_out_in_the_same_form_and_redacted(stream):
    configure(form="json", stream=stream)
    logging.getLogger("httpcore").warning("GET %s", f"http://u:{SECRET}@h/x?token={SECRET}&a=1")
    line = one(stream)
    assert (line["room"], line["event"]) == ("httpcore", "log.message")
    assert line["message"] == "GET http://***@h/x?token=***&a=1"


def test_a_broken_stream_does_not_disturb(stream):
    stream.close()
    configure(form="json", stream=stream)
    log.error("room.unheard")


class _Counting(io.StringIO):
    writes = 0

    def write(self, text):
        self.writes += 1
        return super().write(text)


@pytest.mark.usefixtures("listeners")
def test_what_is_frequent_is_written_once_after_a_turn_of_the_loop_and_in_order(stream):
    counted = _Counting()
    configure(form="json", stream=counted)

    def events():
        return [json.loads(line)["event"] for line in counted.getvalue().splitlines()]

    async def main():
        for number in range(3):
            log.frequent(f"room.many_{number}", {})
        assert counted.getvalue() == ""
        await asyncio.sleep(0)
        assert (events(), counted.writes) == (["room.many_0", "room.many_1", "room.many_2"], 1)
        log.frequent("room.one_more", {})
        log.info("room.other")
        assert events()[3:] == ["room.one_more", "room.other"]

    asyncio.run(main())
    log.frequent("room.without_a_loop", {})
    assert events()[5:] == ["room.without_a_loop"]


@pytest.mark.usefixtures("listeners")
@pytest.mark.parametrize("form", ["json", "text"])
def test_what_is_frequent_is_an_event_like_any_other(stream, form):
    configure(form=form, stream=stream)
    fields = {"path": "/a b", "header": f"X-API-Key: {SECRET}", "odd": {("a", 1): 1}, "time": "mine"}
    with context(job=42):
        log.frequent("room.often", fields)
        log.info("room.often", **fields)
    first, second = stream.getvalue().splitlines()
    assert SECRET not in first
    if form == "json":
        lines = [json.loads(line) for line in (first, second)]
        for line in lines:
            assert line.pop("time").endswith("+00:00")
        assert lines[0] == lines[1]
        assert (lines[0]["job"], lines[0]["time_"], lines[0]["level"]) == (42, "mine", "info")
    else:
        assert first.partition(" ")[2] == second.partition(" ")[2]


class Nothing(msgspec.Struct):
    pass


class Shape(msgspec.Struct):
    path: str
    header: str = "none"
    time: str = "mine"


@pytest.mark.usefixtures("listeners")
@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("around", [{}, {"job": 42}])
@pytest.mark.parametrize("shape", [Shape("/a b"), Shape("/", f"X-API-Key: {SECRET}"), Shape("\ud800"), Nothing()])
def test_the_fields_of_a_shape_are_written_like_any_others(stream, form, around, shape):
    configure(form=form, stream=stream)
    with context(**around):
        log.frequent("room.often", shape)
        log.info("room.often", **msgspec.structs.asdict(shape))
    first, second = stream.getvalue().splitlines()
    assert SECRET not in first
    if form == "json":
        assert (": " in first) == (": " in second)  # one spelling of JSON within a line, and for both
        first, second = json.loads(first), json.loads(second)
        assert first.pop("time")[:10] == second.pop("time")[:10]
        assert first == second
        assert first.get("time_", "mine") == "mine"
    else:
        assert first.partition(" ")[2] == second.partition(" ")[2]


@pytest.mark.usefixtures("listeners")
def test_a_value_that_is_known_to_be_secret_is_found_where_nothing_else_tells(stream):
    configure(form="json", stream=stream, secrets=["plain-words-77"])
    for fields in ({"path": "/films/plain-words-77"}, Shape("/films/plain-words-77")):
        log.frequent("room.often", fields)
        log.info("room.often", path="/films/plain-words-77")
    assert "plain-words-77" not in stream.getvalue()
    assert stream.getvalue().count(f"/films/{MASK}") == 4


@pytest.mark.usefixtures("listeners")
def test_a_level_above_keeps_what_is_frequent_out(stream):
    configure(form="json", level="warning", stream=stream)
    log.frequent("room.often", {})
    assert stream.getvalue() == ""


@pytest.mark.usefixtures("listeners")
def test_a_loop_that_ended_takes_no_line_with_it(stream):
    configure(form="json", stream=stream)

    async def last():
        loop = asyncio.get_running_loop()
        loop.call_soon = lambda *_: None  # its next turn never comes
        log.frequent("room.last", {})
        del loop.call_soon

    asyncio.run(last())
    assert stream.getvalue() == ""
    asyncio.run(_frequent())
    assert stream.getvalue().count("\n") == 2


async def _frequent():
    log.frequent("room.next", {})
    await asyncio.sleep(0)


LEAKS = [
    f"Authorization: Bearer {SECRET}",
    f"authorization: Basic {SECRET}==",
    f'{{"Authorization": "Bearer {SECRET}"}}',
    f"X-API-Key: {SECRET}",
    f"api_key={SECRET}",
    f'"apiKey": "{SECRET}"',
    f"MILLRACE_API_KEY={SECRET} x",
    f"AWS_SECRET_ACCESS_KEY={SECRET}",
    f"https://host/p?X-Amz-Signature={SECRET}&x=1",
    f"https://host/p?x=1&sig={SECRET}",
    f"rtmp://user:{SECRET}@host/live",
    f"rtmp://user:p@ss{SECRET}@host/live",
    f"--api-key {SECRET} --other",
    f"--password={SECRET}",
    f"Cookie: session={SECRET}; other=1",
    f"password: '{SECRET} with spaces'",
    f"srt://h:1?passphrase={SECRET}",
    f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("pin", [b"", b"p" * 32])
def test_a_token_with_which_a_machine_joins_gets_nowhere(stream, pin):
    token = spell(b"0123456789abcdef", pin)
    configure(form="json", stream=stream)
    for text in (token, f"ran worker {token} as one", f"/v1/x/{token}"):
        log.info("room.a", note=text)
    assert token not in stream.getvalue()
    assert stream.getvalue().count("***") == 3


@pytest.mark.parametrize("text", LEAKS)
@pytest.mark.parametrize("form", ["json", "text"])
def test_no_shape_of_a_secret_gets_through(stream, text, form):
    configure(form=form, stream=stream)
    with context(where=text):
        log.info("room.a", note=text, inner={"deep": [text]}, thing=OSError(text))
    logging.getLogger("lib").warning(text)
    assert stream.getvalue().count("\n") == 2
    assert SECRET not in stream.getvalue()


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("sent Basic dXNlcjpzM2NyM3QtdmFsdWUtOQ==", "dXNlcjpzM2NyM3QtdmFsdWUtOQ"),
        ("sent bearer abcdef.ghi-jkl to it", "abcdef.ghi-jkl"),
        ("signed with AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
        ("ASIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"),
    ],
)
def test_what_is_a_secret_by_its_look_alone_gets_nowhere(stream, text, secret):
    configure(form="json", stream=stream)
    log.info("room.a", note=text)
    assert secret not in stream.getvalue()
    assert "***" in stream.getvalue()


NAMES = [
    "password",
    "api_key",
    "apiKey",
    "X-API-Key",
    "Authorization",
    "Set-Cookie",
    "db_passwd",
    "access_key_id",
    "token",
    "secret",
    "credentials",
    "signature",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_field_is_secret_by_its_name_at_any_depth(name):
    redactor = Redactor()
    assert redactor.value(SECRET, name) == MASK
    assert redactor.value({"a": [{name: SECRET}]}) == {"a": [{name: MASK}]}
    assert redactor.value({name: {"inner": SECRET}}) == {name: MASK}


@pytest.mark.parametrize("name", NAMES)
def test_a_line_with_nothing_but_a_secret_name_is_looked_at(stream, name):
    configure(form="json", stream=stream)
    log.info("room.a", **{name: "harmless"})
    assert one(stream)[name] == MASK


@pytest.mark.parametrize("known", ['va"lue-9', "va\\lue-9", "välue-9"])
def test_a_known_secret_is_hidden_though_json_spells_it_differently(stream, known):
    configure(form="json", stream=stream, secrets=[known])
    log.info("room.a", note=f"x {known} y")
    assert one(stream)["note"] == "x *** y"


def test_what_msgspec_cannot_write_is_written_all_the_same(stream):
    configure(form="json", stream=stream)
    log.info("room.a", odd={("a", 1): float("nan")}, half="\ud800", thing=OSError("x"))
    assert stream.getvalue().count("\n") == 1
    assert "('a', 1)" in stream.getvalue()


def test_a_number_may_be_a_secret_and_whether_there_is_one_is_none():
    redactor = Redactor()
    assert redactor.value({"password": 12345678, "token": 1.5, "secret": True, "api_key": None, "frames": 7}) == {
        "password": MASK, "token": MASK, "secret": True, "api_key": None, "frames": 7,
    }  # fmt: skip


def test_the_name_of_a_field_may_hold_a_secret():
    assert Redactor([SECRET]).value({"headers": {f"x {SECRET}": 1, "https://ann:pass@h/": [2]}}) == {
        "headers": {f"x {MASK}": 1, f"https://{MASK}@h/": [2]}
    }


def test_an_option_hides_the_item_after_it():
    assert Redactor().value(["x", "--api-key", SECRET, "--out", "o"]) == ["x", "--api-key", MASK, "--out", "o"]


def test_known_secrets_are_masked_anywhere_and_ordinary_words_stay():
    assert Redactor([SECRET, "ab"]).text(f"x{SECRET}y ab") == f"x{MASK}y ab"
    for text in (
        "key frames=30",
        "keyint=48:min-keyint=48",
        "a@b.example",
        "http://h/a@b",
        "blob key a/b.mp4",
        "basic profile",
    ):
        assert Redactor().text(text) == text
    assert Redactor().value("films/a.mp4", "key") == "films/a.mp4"


def test_a_long_run_of_dashes_or_letters_does_not_hold_anything_up():
    # With a pattern that may begin anywhere in the run, each of these takes minutes.
    redactor = Redactor()
    for run in ("-" * 50_000 + " key", "a" * 50_000 + ":key", "--a" * 20_000 + " token=1", "token" * 10_000 + " "):
        assert redactor.text(f"{run} password=hunter22") == f"{run} password=***".replace("token=1", "token=***")
    assert redactor.text("--my-token-file abc ---token abc") == "--my-token-file *** ---token ***"
