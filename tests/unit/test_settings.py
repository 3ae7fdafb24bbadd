"""Each setting that is of no use ends in one sentence that names it and says what would be right."""

import pytest

from millrace.config.errors import SettingError
from millrace.config.settings import MasterSettings, WorkerSettings, read


@pytest.mark.parametrize(
    ("kind", "variable", "value"),
    [
        (MasterSettings, "MILLRACE_PORT", "x"),
        (MasterSettings, "MILLRACE_PORT", "65536"),
        (MasterSettings, "MILLRACE_LEASE_TTL", "soon"),
        (MasterSettings, "MILLRACE_LEASE_TTL", "nan"),
        (MasterSettings, "MILLRACE_LEASE_TTL", "-1"),
        (MasterSettings, "MILLRACE_KEEP_DAYS", "9" * 20),
        (MasterSettings, "MILLRACE_AGEING", "9" * 5000),
        (MasterSettings, "MILLRACE_MAX_RETRIES", "1e9"),
        (MasterSettings, "MILLRACE_MAX_RETRIES", "-1"),
        (MasterSettings, "MILLRACE_PLAIN_HTTP", "yes"),
        (WorkerSettings, "MILLRACE_INPUT_ALLOW_NETWORKS", "no"),
        (MasterSettings, "MILLRACE_STORE", "mysql://host/db"),
        (WorkerSettings, "MILLRACE_SLOTS", "0"),
        (WorkerSettings, "MILLRACE_SLOTS", "5000"),
        (WorkerSettings, "MILLRACE_LABELS", "x"),
    ],
)
def test_a_useless_value_is_refused_with_what_would_be_right(kind, variable, value):
    with pytest.raises(SettingError) as caught:
        read(kind, {variable: value})
    sentence = str(caught.value)
    assert sentence.startswith(f"cannot use {variable}: ")
    assert "literal" not in sentence
    assert "convert" not in sentence


def test_useful_values_are_taken():
    assert (read(MasterSettings, {}).lease_ttl_s, read(MasterSettings, {}).heartbeat_s) == (15.0, 3.0)
    found = read(MasterSettings, {"MILLRACE_PORT": "0", "MILLRACE_LEASE_TTL": "2.5", "MILLRACE_PLAIN_HTTP": "1"})
    assert (found.port, found.lease_ttl_s, found.plain_http) == (0, 2.5, True)
    assert read(MasterSettings, {"DATABASE_DSN": "postgres://host/db"}).store == "postgres://host/db"


@pytest.mark.parametrize(
    "value", ["mysql://u:secret@h/x", "mysql:x", "postgresql:x", "postgres://u:secret@h:x/y", "sqlite://x"]
)
def test_a_store_is_judged_alike_wherever_it_was_named(value):
    sentences = []
    for environ, given in (({}, {"store": value}), ({"MILLRACE_STORE": value}, {})):
        with pytest.raises(SettingError) as caught:
            read(MasterSettings, environ, **given)
        sentences.append(str(caught.value).partition(": "))
    assert [first for first, _, _ in sentences] == ["cannot use --store", "cannot use MILLRACE_STORE"]
    assert len({rest for _, _, rest in sentences}) == 1
    assert "secret" not in sentences[0][2]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "farm.db",
        "./a:b",
        "sqlite:farm.db",
        "postgresql://h",
        "postgresql://u:p@[::1]:5432,h2:5433/x",
        "postgres:///x?host=/run",
    ],
)
def test_a_store_that_can_be_meant_is_taken(value):
    assert read(MasterSettings, {}, store=value).store == value
