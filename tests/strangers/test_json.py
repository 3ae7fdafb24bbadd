"""What can be wrong inside a request that is good HTTP: JSON that attacks its reader, and words that attack whoever they reach later."""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import api_serving
import pytest
from api_serving import Rig, on_master, on_server, serving
from control_rig import Rig as ControlRig
from control_rig import play
from strangers.matrix import CONTROL, FARM
from strangers.test_matrix import Nothing, fill

from millrace.api import openapi
from millrace.store.open import open_store
from millrace.supervisor.control import description

JSON = {"content-type": "application/json"}
CPU_S = 5.0
"""For one body of a megabyte: a hundred times what the worst takes, and a hundredth of what a quadratic reader would."""

WORDS = (
    "-i", "-f lavfi", "x -attach /etc/passwd", ";id", "$(id)", "`id`", "a\0b", "a\nb", "a\r\nset-cookie: a=b", "\x1b[2J\x1b]0;owned\x07",
    "\u202egpj.exe", "<img src=x onerror=alert(1)>", "{{7*7}}", "${7*7}", "%s%n%x", "' OR 1=1 --", "'; DROP TABLE jobs; --", "%' OR '1'='1",
    "../../etc/passwd", "/etc/passwd\0.mp4", "file:///etc/passwd", "=cmd|' /C calc'!A0", "\ufeff", "\u0000", "a" * 70_000, "\U0001f3ac" * 300,
    "CON", "s3://../..", "http://169.254.169.254/", "[/bold]", "", " ", "null",
)  # fmt: skip


def deep(opened: str, closed: str, levels: int = 100_000) -> bytes:
    return (opened * levels + "1" + closed * levels).encode()


BODIES: Mapping[str, bytes] = {
    "deep-lists": deep("[", "]"),
    "deep-objects": deep('{"a":', "}"),
    "deep-in-a-field": b'{"profile":' + deep('{"a":[', "]}", 30_000) + b"}",
    "never-closed": b"[" * 1_000_000,
    "braces-in-a-text": json.dumps({"input": "[{" * 300_000}).encode(),
    "escapes": b'{"input":"' + b"\\u005b" * 150_000 + b'"}',
    "quotes": b'{"input":"' + b'\\"' * 400_000 + b'"}',
    "twice": b'{"queue":"live","queue":"nope"}',
    "twice-nested": b'{"profile":{"name":"a","name":1}}',
    "nan": b'{"timeout_s":NaN}',
    "infinity": b'{"timeout_s":-Infinity}',
    "exponent": b'{"timeout_s":1e99999999999999999999}',
    "long-exponent": b'{"timeout_s":1e' + b"9" * 100_000 + b"}",
    "long-integer": b'{"max_retries":1' + b"0" * 400 + b"}",
    "longer-integer": b'{"max_retries":' + b"9" * 900_000 + b"}",
    "long-integer-inside": b'{"profile":{"name":"x","a":' + b"9" * 900_000 + b"}}",
    "long-fraction": b'{"timeout_s":-0.' + b"1" * 900_000 + b"}",
    "surrogate": b'{"input":"\\ud800"}',
    "surrogate-pair-turned": b'{"input":"\\udc00\\ud800"}',
    "surrogate-in-utf8": b'{"input":"\xed\xa0\x80"}',
    "surrogate-as-key": b'{"labels":{"\\ud800":"a"}}',
    "overlong-utf8": b'{"input":"\xc0\xaf"}',
    "utf-16": '{"input":"a"}'.encode("utf-16"),
    "nul": b'{"input":"a\x00b"}',
    "many-keys": json.dumps({"labels": {str(number): "a" for number in range(60_000)}}).encode(),
    "many-unknown-keys": json.dumps({f"k{number}": 1 for number in range(60_000)}).encode(),
    "same-hash": json.dumps({"labels": dict.fromkeys((str(number * (2**61 - 1)) for number in range(1, 30_000)), "a")}).encode(),
    "proto": b'{"__proto__":{"a":1},"constructor":{}}',
    "pickle": b"\x80\x04\x95cos\nsystem\n",
    "yaml": b"!!python/object/apply:os.system [id]",
    "xml": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "gzip": b"\x1f\x8b\x08\x00" + b"\x00" * 100,
}  # fmt: skip


@on_master
async def test_no_json_hurts_its_reader(rig: Rig) -> None:
    for name, body in BODIES.items():
        began_s = time.process_time()
        answer = await rig.call("POST", "/v1/jobs", content=body, headers=JSON)
        assert answer.status_code in (400, 413, 422), (name, answer.text[:300])
        assert answer.headers["content-type"] == "application/problem+json"
        assert len(answer.content) < 20_000, name
        assert time.process_time() - began_s < CPU_S, name
    assert (await rig.get("/v1/jobs"))["jobs"] == []


@on_server
async def test_what_is_coded_or_long_is_refused_before_it_is_read(rig: Rig) -> None:
    coded = await rig.call("POST", "/v1/jobs", content=BODIES["gzip"], headers={**JSON, "content-encoding": "gzip"})
    assert coded.status_code in (400, 415)
    parts = await rig.call(
        "POST", "/v1/jobs", content=b"--a\r\n" * 100_000, headers={"content-type": "multipart/form-data; boundary=a"}
    )
    assert parts.status_code == 415
    for length in (1 << 30, 1 << 60, 10**18 - 1):
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.client.base_url.port)
        head = f"POST /v1/jobs HTTP/1.1\r\nhost: a\r\nx-api-key: {rig.client.headers['x-api-key']}\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {length}\r\n\r\n{{".encode())
        answer = await reader.read()  # to its end: nobody waits for the rest
        assert answer.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 ")), length
        writer.close()


@on_master
async def test_queries_that_ask_for_too_much_or_for_what_is_none_are_refused_by_name(rig: Rig) -> None:
    await rig.submit(labels={"a": "b"})
    for query, field in (
        ("limit=1000000000", "limit"), ("limit=0", "limit"), ("limit=-1", "limit"), ("limit=1e3", "limit"), ("limit=%D9%A1", "limit"),
        ("limit=" + "9" * 5000, "limit"), ("limit=1&limit=2", "limit"), ("cursor=0x10", "cursor"), ("cursor=" + "9" * 30, "cursor"),
        ("cursor=-1", "cursor"), ("cursor=1;DROP", "cursor"), ("cursor=%00", "cursor"), ("state=nope", "state"), ("label=a", "label"),
        ("label=", "label"), ("dead=maybe", "dead"), ("dead=true&state=queued", "state"), ("sort=id;--", "sort"),
        ("queue=live'--", "queue"), ("failure_class=x", "failure_class"),
    ):  # fmt: skip
        answer = await rig.call("GET", f"/v1/jobs?{query}")
        assert answer.status_code == 400, (query[:60], answer.text[:200])
        assert answer.json()["errors"][0]["field"] == field, (query[:60], answer.text[:200])
    for query in ("a=1&" * 200, "label=a:b&" * 150, "x=%ff"):
        assert (await rig.call("GET", f"/v1/jobs?{query}")).status_code == 400
    # What SQL would make something of is a text like any other.
    for text in ("%25", "_", "%27%20OR%201=1--", "b%27;--", "*", "%5C"):
        for name in ("label=a:", "tenant=", "profile="):
            found = await rig.get(f"/v1/jobs?{name}{text}")
            assert found["jobs"] == [], (name, text)
    assert len((await rig.get("/v1/jobs?label=a:b&" + "state=queued&" * 90))["jobs"]) == 1
    for query in ("after=nope", "after=" + "9" * 40, "after=-1", "after=1-1-1", "job=nobody", "job=%27"):
        assert (await rig.call("HEAD", f"/v1/events?{query}")).status_code in (400, 404), query
    for query in ("cursor=1", "cursor=a-b", "cursor=" + "9" * 30 + "-0", "since=tomorrow", "limit=501"):
        assert (await rig.call("GET", f"/v1/audit?{query}")).status_code == 400, query
    for moment in ("0001-01-01T00:00:00%2B23:59", "9999-12-31T23:59:59-23:59", "2026-01-01"):
        assert (await rig.call("GET", f"/v1/audit?since={moment}")).status_code == 200, moment


# Words in every field ---------------------------------------------------------------------------------------------------


def texts(
    schema: Mapping[str, Any], shapes: Mapping[str, Any], path: tuple[object, ...] = ()
) -> Iterator[tuple[object, ...]]:
    """The paths of all texts in a schema; `0` stands for the first item, and `a key` for a key of a mapping."""
    if "$ref" in schema:
        schema = shapes[schema["$ref"].rpartition("/")[2]]
    for inner in schema.get("anyOf", ()):
        yield from texts(inner, shapes, path)
    kind = schema.get("type")
    if kind == "string" or "enum" in schema:
        yield path
    elif kind == "array" and len(path) < 6:
        yield from texts(schema.get("items", {}), shapes, (*path, 0))
    elif kind == "object" and len(path) < 6:
        for name, inner in schema.get("properties", {}).items():
            yield from texts(inner, shapes, (*path, name))
        if isinstance(inner := schema.get("additionalProperties"), dict):
            yield (*path, "a key")
            yield from texts(inner or {"type": "string"}, shapes, (*path, "key"))


def placed(body: Any, path: tuple[object, ...], word: str) -> Any:
    """A body with a word in one place."""
    if not path:
        return word
    first, rest = path[0], path[1:]
    if first == 0:
        return [placed(body[0] if isinstance(body, list) and body else {}, rest, word)]
    before = dict(body) if isinstance(body, dict) else {}
    if first == "a key":
        return {word: "x"}
    return {**before, first: placed(before.get(first), rest, word)}


def attacks(document: Mapping[str, Any]) -> Iterator[tuple[str, tuple[object, ...]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is not None:
                shapes = document["components"]["schemas"]
                for place in dict.fromkeys(texts(content["schema"], shapes)):
                    yield f"{method.upper()} {path}", place


def judged(answer: Any, operation: str, place: tuple[object, ...], word: str) -> str:
    """What is wrong with an answer, if anything: neither a refusal that names the field nor an acceptance that changes nothing."""
    said = f"{operation} {place} {word[:30]!r}: {answer.status_code} {answer.text[:300]}"
    if answer.status_code >= 500 or answer.status_code == 401:
        return said
    if any(ord(letter) < 32 and letter != "\n" for letter in answer.text):
        return f"control characters in {said}"
    if answer.status_code in (400, 422) and answer.headers["content-type"] == "application/problem+json":
        # A word that is no JSON text has no field, but a line and a column.
        named = [one["field"] for one in answer.json().get("errors", [])]
        return (
            ""
            if named or "cannot read the body" in answer.text or "at a time" in answer.text
            else f"no field in {said}"
        )
    if answer.headers["content-type"] == "application/json":
        json.loads(answer.text)
    return ""


def test_a_word_in_any_field_is_refused_by_its_name_or_is_a_word_like_any_other(tmp_path: Path) -> None:
    wrong: list[str] = []

    async def body() -> None:
        async with serving(tmp_path, with_pages=True) as rig:
            count = 0
            for operation, place in attacks(openapi.describe("1")):
                ask = await FARM[operation].ask(Nothing())
                method, _, path = operation.partition(" ")
                for word in WORDS:
                    sent = placed(ask.json, place, word)
                    answer = await rig.call(method, fill(path, ask.path), json=sent)
                    count += 1
                    if found := judged(answer, operation, place, word):
                        wrong.append(found)
            assert count > 1000
            # What was accepted is shown again as it is.
            for path in (
                "/v1/jobs?limit=500",
                "/v1/nodes",
                "/v1/webhooks",
                "/v1/keys",
                "/v1/audit?limit=500",
                "/metrics",
                "/",
            ):
                shown = await rig.call("GET", path)
                assert shown.status_code == 200
                assert "\x1b" not in shown.text
                assert path != "/" or "<img src=x" not in shown.text

    asyncio.run(body())
    assert not wrong, "\n".join(wrong[:40])


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_numbers_at_the_edge_of_what_a_database_holds_are_refused_or_found_nowhere(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "postgres":
        url = request.getfixturevalue("new_database")()
        monkeypatch.setattr(api_serving, "open_store", lambda *_, **__: open_store(url))

    async def body() -> None:
        async with serving(tmp_path) as rig:
            await rig.submit()
            node = await rig.register()
            (task,) = await node.claim()
            held = {"node": node.id, "attempt": 1}
            for number in EDGES:
                reports: list[tuple[str, dict[str, object]]] = [
                    (f"/v1/tasks/{task['task']}/{verb}", {**held, "attempt": number, **more})
                    for verb, more in REPORTS.items()
                ]
                reports += [
                    (f"/v1/tasks/{task['job']}.{number}/start", held),
                    (f"/v1/nodes/{node.id}/heartbeat", {"epoch": number}),
                    (
                        f"/v1/nodes/{node.id}/heartbeat",
                        {"epoch": 1, "tasks": [{"task": task["task"], "attempt": number}]},
                    ),
                    (
                        f"/v1/nodes/{node.id}/heartbeat",
                        {"epoch": 1, "tasks": [{"task": f"{task['job']}.{number}", "attempt": 1}]},
                    ),
                    (f"/v1/nodes/{node.id}/claim", {"epoch": number, "request": "request-9"}),
                    ("/v1/jobs", {"scenario": "720p30-h264", "max_retries": number, "timeout_s": number}),
                    ("/v1/uploads", {"name": "a", "size": number}),
                    (
                        "/v1/nodes",
                        {
                            "fingerprint": "print-of-one",
                            "boot_id": "boot-0002",
                            "name": "two",
                            "slots": number,
                            "memory_mb": number,
                        },
                    ),
                ]
                for path, sent in reports:
                    answer = await rig.call("POST", path, json=sent)
                    assert answer.status_code < 500, (path, sent, answer.text)
                for path in (
                    f"/v1/jobs/{number}", f"/v1/jobs?cursor={number}", f"/v1/jobs/1/logs?attempt={number}&offset={number}",
                    f"/v1/audit?cursor={number}-{number}", f"/v1/audit/chain?after={number}", f"/v1/nodes/{number}",
                ):  # fmt: skip
                    answer = await rig.call("GET", path)
                    assert answer.status_code < 500, (path, answer.text)
                for after in (number, f"{number}-{number}"):
                    assert (await rig.call("HEAD", f"/v1/events?after={after}")).status_code < 500, after
                query = f"node={node.id}&attempt={number}&offset={number}"
                assert (await rig.call("POST", f"/v1/tasks/{task['task']}/log?{query}", content=b"x")).status_code < 500
                assert (
                    await rig.call(
                        "PUT", f"/v1/tasks/{task['task']}/outputs/a?node={node.id}&attempt={number}", content=b"x"
                    )
                ).status_code < 500
            # What a worker says of its work is kept as it is, however odd.
            odd = {"duration_s": 1e308, "frames": -1, "x": [None, 1e-320, {"": ""}], "sandbox": 5}
            output = {"name": "a", "location": "/media/a", "sha256": "0" * 64, "size": 2**53}
            await node.report("complete", task, facts=odd, outputs=[output])
            assert (await rig.get("/v1/jobs/1"))["facts"] == odd

    asyncio.run(body())


EDGES = (2**31 - 1, 2**31, 2**32, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64, 10**18, 10**400)
REPORTS: Mapping[str, Mapping[str, object]] = {
    "start": {},
    "complete": {},
    "fail": {"class": "input", "message": "x"},
    "hand-back": {"reason": "x"},
}

YAMLS = (
    "a: \x1b[2J", "a: \x00", "!!python/object/apply:os.system [id]", "!!bool maybe", "!!int x", "!!float x", "!!timestamp x", "!!timestamp 2026-99-99", "!!binary x",
    "!!set {a, b}", "!!omap [a: 1]", "!!pairs [a]", "? [a, b]\n: c", "? {a: b}\n: c", "a: &a [*a]", "<<: {a: 1}", "*a", "[" * 5000,
    "{a: " * 3000, "a: b: c", "\t", "%YAML 9.9\n---\na", "--- a\n--- b", 'command: ["\\ud800"]', 'command: ["\\0"]', "command: ['a\u2028b']",
    "command: !!bool maybe", "env: !!timestamp x", "!<tag:yaml.org,2002:bool> maybe", "123456789" * 1000, "!!null x", "!local x", "\ufeffa: 1",
    "command: [true]\nschedule: '" + "* " * 4000 + "'", "command: [true]\nschedule: '0 0 31 2 *'", "command: [true]\nscale: 1e400",
    "command: [true]\numask: " + "7" * 500, "command: [true]\nenv: {'a=b': c, '': d}", "command: []", "command: ['']",
)  # fmt: skip


@pytest.mark.parametrize("way", ["words", "yaml"])
def test_words_and_yaml_do_nothing_to_a_supervisor(tmp_path: Path, way: str) -> None:
    plan = "global: {control: {changes: admin}}\nprocesses:\n  web: {command: [sleep, '1000']}\n"
    wrong: list[str] = []

    async def body(rig: ControlRig) -> None:
        if way == "yaml":
            for text in YAMLS:
                for method, path, name in (
                    ("POST", "/v1/processes", {"name": "new"}),
                    ("PUT", "/v1/processes/web", {}),
                ):
                    answer = await rig.client.request(method, f"{path}?dry_run=true", json={**name, "yaml": text})
                    if answer.status_code not in (400, 422, 200):
                        wrong.append(f"{method} {text[:60]!r}: {answer.status_code} {answer.text[:300]}")
        else:
            for operation, place in attacks(json.loads(description.document("1"))):
                ask = await CONTROL[operation].ask(Nothing())
                method, _, path = operation.partition(" ")
                for word in WORDS:
                    sent = placed(ask.json, place, word)
                    answer = await rig.client.request(
                        method, path.replace("{name}", "web"), params=ask.query, json=sent
                    )
                    if found := judged(answer, operation, place, word):
                        wrong.append(found)
        assert (await rig.get("/v1/health"))["status"] == "healthy"

    play(tmp_path, body, plan)
    assert not wrong, "\n".join(wrong[:40])
