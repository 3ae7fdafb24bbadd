"""Each setting that is of no use ends in one sentence that names it and says what would be right."""

import pytest

from millrace.config.settings import MasterSettings, SettingError, WorkerSettings, read
from millrace.programs import api_key


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
    found = read(MasterSettings, {"MILLRACE_PORT": "0", "MILLRACE_LEASE_TTL": "2.5", "MILLRACE_PLAIN_HTTP": "1"})
    assert (found.port, found.lease_ttl_s, found.plain_http) == (0, 2.5, True)
    assert read(MasterSettings, {"DATABASE_DSN": "postgres://host/db"}).store == "postgres://host/db"


@pytest.mark.parametrize("content", ["", "\n", "short\n", "bad\x00but-long-enough"])
def test_a_key_file_that_holds_no_key_is_named(tmp_path, content):
    (tmp_path / api_key.FILE).write_text(content)
    key, file, made = api_key.find_or_make("", tmp_path)
    assert not made
    with pytest.raises(SettingError, match="remove the file"):
        api_key.check(key, file)


def test_a_given_key_that_is_too_short_is_refused_without_being_shown():
    with pytest.raises(SettingError) as caught:
        api_key.check("hunter2", None)
    assert "hunter2" not in str(caught.value)
