"""The stages of the output of processes, one by one and together, in virtual time."""

import itertools
import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.process.values import Line
from millrace.supervisor.logs.entry import LEVELS, RANK, Entry, Level
from millrace.supervisor.logs.forms import as_json, as_text
from millrace.supervisor.logs.levels import usual
from millrace.supervisor.logs.lowered import Lowered
from millrace.supervisor.logs.pieces import MAX_CHARS
from millrace.supervisor.logs.pipeline import Origin, Pipeline
from millrace.supervisor.logs.ring import Ring
from millrace.supervisor.logs.settings import Logging
from millrace.supervisor.plan_document import PlanError, plan_from

AT = datetime(2026, 1, 1, tzinfo=UTC)
KEY = "-----BEGIN RSA PRIVATE KEY-----"


def rule(text: str = "") -> Logging:
    plan = plan_from(f"processes: {{web: {{command: [x], logging: {{{text}}}}}}}", {})
    return plan.processes["web"].logging


def pipeline(text: str = "") -> Pipeline:
    return Pipeline(Origin(process="web", instance="web-0", stream="stdout"), rule(text), itertools.count(1))


def said(text: str, *lines: str) -> list[Entry]:
    """What comes of lines that come one by one, and the end."""
    it = pipeline(text)
    found = [entry for line in lines for entry in it.feed([Line("stdout", line)], 0.0, AT)]
    return found + it.flush(AT)


def messages(entries: list[Entry]) -> list[str]:
    return [entry.message for entry in entries]


def test_by_default_every_line_comes_once_as_it_is() -> None:
    lines = ["", "one", "DEBUG two", "three ü"]
    entries = said("", *lines)
    assert messages(entries) == lines
    assert [entry.level for entry in entries] == [Level.INFO, Level.INFO, Level.DEBUG, Level.INFO]
    assert [entry.number for entry in entries] == [1, 2, 3, 4]


def test_a_line_that_is_waited_for_is_seen_without_secrets_and_before_the_filters() -> None:
    seen: list[str] = []
    it = Pipeline(
        Origin(process="web", instance="web-0", stream="stdout"), rule("filters: {exclude: [ready]}"),
        itertools.count(1), lambda entries: seen.extend(messages(list(entries))),
    )  # fmt: skip
    assert it.feed([Line("stdout", "ready with password=hunter2")], 0.0, AT) == []
    assert seen == ["ready with password=***"]


def test_pieces_of_a_long_line_are_one_entry_and_a_secret_in_two_of_them_is_masked() -> None:
    it = pipeline()
    assert it.feed([Line("stdout", "user=bob pass", partial=True)], 0.0, AT) == []
    assert messages(it.feed([Line("stdout", "word=hunter2 ok")], 0.0, AT)) == ["user=bob password=*** ok"]
    assert it.feed([Line("stdout", "x" * MAX_CHARS, partial=True)] * 3, 0.0, AT) == []
    (long,) = it.feed([Line("stdout", "end")], 0.0, AT)
    assert long.message == "x" * MAX_CHARS + f" [{2 * MAX_CHARS + 3} more characters were cut]"
    it.feed([Line("stdout", "the end", partial=True)], 0.0, AT)
    assert messages(it.flush(AT)) == ["the end"]


def test_after_a_loss_the_rest_of_a_torn_line_is_not_shown() -> None:
    it = pipeline()
    it.feed([Line("stdout", "user=bob pass", partial=True)], 0.0, AT)
    assert messages(it.lost(3, 0.0, AT)) == ["user=bob pass", "[3 lines lost here]"]
    assert messages(it.feed([Line("stdout", "ter2"), Line("stdout", "next")], 0.0, AT)) == ["next"]


MULTI = "multiline: {pattern: '^\\d', max_lines: 3, timeout: 0.5}"


def test_lines_that_belong_together_are_one_entry() -> None:
    lines = ["1 ERROR oops", "  at a", "  at b", "  at c", "2 fine", "3 fine"]
    assert messages(said(MULTI, *lines)) == ["1 ERROR oops\n  at a\n  at b", "  at c", "2 fine", "3 fine"]
    assert said(MULTI, *lines)[0].level is Level.ERROR
    (secret,) = said(MULTI, "1 password:", "  hunter2")
    assert secret.message == "1 password:\n  ***"


def test_what_nothing_is_added_to_comes_out_in_time() -> None:
    it = pipeline(MULTI)
    assert it.feed([Line("stdout", "1 a")], 10.0, AT) == []
    assert it.due_s == 10.5
    it.feed([Line("stdout", "  b")], 10.4, AT)
    assert it.tick(10.6, AT) == []
    assert it.due_s == 10.9
    assert messages(it.tick(10.9, AT)) == ["1 a\n  b"]
    assert it.due_s is None
    assert it.tick(99.0, AT) == []


def test_an_entry_of_many_lines_is_bounded() -> None:
    (entry,) = said("multiline: {pattern: '^never$', max_lines: 10000}", *["y" * 10_000] * 20)
    assert len(entry.message) < MAX_CHARS + 60
    assert entry.message.endswith("more characters were cut]")


OWN = r"redaction: {patterns: [{name: card, pattern: '\b(\d{4})-\d{4}\b', replacement: '$1-\1'}, {pattern: bob}]}"


def test_own_rules_and_known_shapes_mask() -> None:
    assert messages(said(OWN, "bob pays 1234-5678 token=abc")) == [r"*** pays 1234-\1 token=***"]


def test_known_shapes_go_though_own_rules_are_off_unless_they_are_named_themselves() -> None:
    off = OWN.replace("{patterns", "{enabled: false, patterns")
    assert messages(said(off, "bob pays 1234-5678 token=abc")) == ["bob pays 1234-5678 token=***"]
    shown = OWN.replace("{patterns", "{known_shapes: false, patterns")
    assert messages(said(shown, "bob pays token=abc", KEY, "MIIabc")) == ["*** pays token=abc", KEY, "MIIabc"]
    (entry,) = said(f"json: true, {shown}", '{"message": "m", "password": "abc", "who": "bob"}')
    assert entry.fields == {"password": "abc", "who": "***"}
    (entry,) = said(f"json: true, {off}", '{"message": "m", "password": "abc", "who": "bob"}')
    assert entry.fields == {"password": "***", "who": "bob"}


def test_a_private_key_that_comes_line_by_line_is_not_kept() -> None:
    lines = ["before", KEY, "MIIabc", "def", "-----END RSA PRIVATE KEY----- after", "later"]
    assert messages(said("", *lines)) == ["before", "***", "***", "***", "*** after", "later"]
    it = pipeline()
    assert messages(it.feed([Line("stdout", line) for line in lines], 0.0, AT)) == messages(said("", *lines))
    endless = messages(said("", KEY, *["line"] * 300))
    assert endless.count("***") == 201


JSON = "json: {extract_level: lvl, extract_message: msg}"


def test_json_lines_give_level_message_and_fields() -> None:
    (entry,) = said(JSON, '{"lvl": "WARNING", "msg": "token=abc", "n": 1, "password": "x", "in": {"a": "api_key=k"}}')
    assert (entry.level, entry.message) == (Level.WARN, "token=***")
    assert entry.fields == {"n": 1, "password": "***", "in": {"a": "api_key=***"}}
    assert said(JSON, '{"lvl": 50, "msg": "x"}')[0].level is Level.ERROR
    assert said("json: {merge_fields: false}", '{"message": "x", "a": 1}')[0].fields is None
    (bare,) = said("json: true", '{"a": "ERROR: x"}')
    assert (bare.level, bare.message) == (Level.ERROR, '{"a": "ERROR: x"}')


@pytest.mark.parametrize(
    "line", ["{", "[1]", '{"a": 1} x', "plain", '{"a": "\\ud800"}', '{"a":' * 5000 + "1" + "}" * 5000]
)
def test_what_is_no_json_stays_as_it_is(line: str) -> None:
    assert messages(said("json: true", line)) == [line]


def test_no_rule_can_be_evaded_by_json() -> None:
    text = (
        'json: true, redaction: {patterns: [{pattern: \'"card":"\\d+"\', replacement: \'"card":"-"\'}, {pattern: bob}]}'
    )
    (entry,) = said(text, '{"message":"b\\u006fb","card":"4111","x":["b\\u006fb"]}')
    assert (entry.message, entry.fields) == ("***", {"card": "-", "x": ["***"]})
    broken = 'redaction: {patterns: [{pattern: \'"card":"[0-9]+"\', replacement: "-"}]}, json: true'
    assert messages(said(broken, '{"card":"4111"}')) == ["{-}"]


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("2026-01-01 12:00:00 ERROR no", Level.ERROR),
        ("12:00:00 INFO retry after ERROR", Level.INFO),
        ("connect error: refused", Level.ERROR),
        ("PHP Warning:  Undefined variable", Level.WARN),
        ("[emerg] 31#31: no", Level.ERROR),
        ("time=x level=debug msg=y", Level.DEBUG),
        ('severity: "warn" x', Level.WARN),
        ("Traceback (most recent call last):", Level.ERROR),
        ("<warning> x", Level.WARN),
        ("LOG:  database is ready", None),
        ("there was an error in the text", None),
        ("no errors: fine", None),
        ("stderr: closed; MY_ERROR", None),
        ("x" * 300 + " ERROR", None),
    ],
)
def test_levels_of_plain_text(text: str, level: Level | None) -> None:
    assert usual(text, text.lower()) is level
    assert said("", text)[0].level is (level or Level.INFO)


@given(word=st.sampled_from(sorted(LEVELS)), upper=st.booleans(), default=st.sampled_from(Level))
def test_every_word_of_a_level_is_found(word: str, upper: bool, default: Level) -> None:
    text = f"x {word.upper() if upper else word}: y"
    assert said(f"level_detection: {{default_level: {default}}}", text)[0].level is LEVELS[word]


def test_own_patterns_go_first_and_the_gravest_of_them() -> None:
    own = "level_detection: {patterns: {debug: quiet, error: 'E\\d+'}, default_level: warn}"
    assert [e.level for e in said(own, "quiet E1", "INFO quiet", "INFO x", "x")] == list(
        map(Level, ["error", "debug", "info", "warn"])
    )
    assert said("level_detection: {enabled: false}", "ERROR: x")[0].level is Level.INFO


def test_filters_keep_their_order() -> None:
    text = "min_level: info, filters: {exclude: [noise], include: [shop, ERROR]}"
    lines = ["DEBUG shop", "shop noise", "shop", "other", "ERROR other"]
    assert messages(said(text, *lines)) == ["shop", "ERROR other"]
    assert sorted(RANK, key=lambda level: RANK[level]) == list(Level)


@given(
    texts=st.lists(st.text("aErRoO\nİſ: ", max_size=12), min_size=1, max_size=12),
    signs=st.sets(st.sampled_from(["err", "o", "ra"])),
)
def test_looking_at_all_at_once_finds_what_looking_at_each_does(texts: list[str], signs: set[str]) -> None:
    assert Lowered(texts).holding(signs) == [
        index for index, text in enumerate(texts) if any(sign in text.lower() for sign in signs)
    ]


SHAPED = st.sampled_from([
    "hello world", "ERROR no", "password=abc", KEY, "MII", "-----END RSA PRIVATE KEY-----", "12 x", "", "https://a:b@c/", "ü",
])  # fmt: skip


@given(lines=st.lists(SHAPED, max_size=12), cuts=st.sets(st.integers(0, 12)), multi=st.booleans())
def test_it_does_not_matter_how_lines_come_in_batches(lines: list[str], cuts: set[int], multi: bool) -> None:
    text = MULTI if multi else ""
    it, found, start = pipeline(text), [], 0
    for cut in [*sorted(cuts), len(lines)]:
        found += it.feed([Line("stdout", line) for line in lines[start:cut]], 0.0, AT)
        start = max(start, cut)
    assert found + it.flush(AT) == said(text, *lines)


@given(sizes=st.lists(st.integers(0, 9), max_size=30), most=st.integers(1, 12))
def test_the_ring_holds_the_last_entries(sizes: list[int], most: int) -> None:
    ring, lines = Ring(most), []
    it = pipeline()
    for size in sizes:
        entries = it.feed([Line("stdout", f"{len(lines)}")] * size, 0.0, AT)
        lines += entries
        ring.extend(entries)
        assert ring.entries() == lines[-most:]


def test_the_ring_is_bounded_in_characters_too() -> None:
    ring, it = Ring(1000), pipeline()
    for _ in range(4):
        ring.extend(it.feed([Line("stdout", "x" * 60_000)] * 30, 0.0, AT))
        assert 1 <= len(ring.entries()) <= 17
    assert ring.entries()[-1].number == 120


def test_text_and_json_forms() -> None:
    (entry,) = said("json: true", '{"message": "two\\nlines", "a": "b c", "n": 1}')
    assert as_text([entry]) == b'web-0 | two\nweb-0 | lines a="b c" n=1\n'
    assert as_text([entry], dated=True).startswith(b"2026-01-01T00:00:00.000Z web-0 stdout | two\n")
    assert json.loads(as_json([entry], {"team": "shop"})) == {
        "time": "2026-01-01T00:00:00Z", "level": "info", "process": "web", "instance": "web-0", "stream": "stdout",
        "message": "two\nlines", "fields": {"a": "b c", "n": 1}, "labels": {"team": "shop"},
    }  # fmt: skip


def test_every_fault_of_the_section_is_named() -> None:
    text = """
global: {log_format: xml}
processes:
  web:
    command: [x]
    stdout: 1
    logging:
      buffer: 0
      labels: {a: [1]}
      min_level: loud
      multiline: {pattern: "(", timeout: 0}
      redaction: {patterns: [{pattern: a, replacement: $1}, 3, {pattern: ""}]}
      json: {extract_levle: x}
      level_detection: {patterns: {fatal: x}}
      filters: {exclude: ["["]}
      file: {max_bytes: 1}
"""
    with pytest.raises(PlanError) as caught:
        plan_from(text, {})
    paths = {finding.path.removeprefix("processes.web.logging.") for finding in caught.value.findings}
    assert paths == {
        "global.log_format", "processes.web.stdout", "buffer", "labels.a", "min_level", "multiline.pattern",
        "multiline.timeout", "redaction.patterns[0].replacement", "redaction.patterns[1]", "redaction.patterns[1].pattern",
        "redaction.patterns[2].pattern", "json.extract_levle", "level_detection.patterns.fatal", "filters.exclude[0]",
        "file.max_bytes", "file.path",
    }  # fmt: skip


def test_the_shorthand_holds_unless_the_section_says_otherwise() -> None:
    plan = plan_from("processes: {web: {command: [x], stdout: false, stderr: false, logging: {stderr: true}}}", {})
    assert (plan.processes["web"].logging.stdout, plan.processes["web"].logging.stderr) == (False, True)
    assert rule(OWN).redaction.rules[0].pattern == re.compile(r"\b(\d{4})-\d{4}\b")
