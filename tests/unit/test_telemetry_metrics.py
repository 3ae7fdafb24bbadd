import re
import subprocess
import sys

import pytest

from millrace.runtime.clock import VirtualClock
from millrace.telemetry.metrics import METRICS, Metrics


def test_the_table_follows_the_naming_rules_of_prometheus():
    assert len({row.name for row in METRICS}) == len(METRICS)
    for row in METRICS:
        assert re.fullmatch(r"millrace_[a-z_]+", row.name)
        assert row.name.endswith("_total") == (row.kind == "counter")
        assert (row.kind == "histogram") == bool(row.buckets)
        assert row.kind != "histogram" or row.name.endswith("_seconds")
        assert row.help.endswith(".")


def test_every_metric_of_the_table_is_exposed():
    text = Metrics().render().decode()
    for row in METRICS:
        assert f"# HELP {row.name} {row.help}" in text


def test_values_come_out_and_two_programs_do_not_mix():
    one, two = Metrics(), Metrics()
    one.add("millrace_jobs_submitted_total", queue="live")
    one.add("millrace_jobs_submitted_total", 2, queue="live")
    one.set("millrace_leader", 1)
    one.set_all("millrace_tasks", "state", {"queued": 3, "paused": 1})
    one.set_all("millrace_tasks", "state", {"queued": 4})
    clock = VirtualClock()
    with one.timed("millrace_store_seconds", clock, name="claim"):
        clock._elapsed_s += 0.02
    text = one.render().decode()
    assert 'millrace_jobs_submitted_total{queue="live"} 3.0' in text
    assert 'millrace_tasks{state="queued"} 4.0' in text
    assert "paused" not in text
    assert "millrace_leader 1.0" in text
    assert 'millrace_store_seconds_bucket{le="0.025",name="claim"} 1.0' in text
    assert 'queue="live"' not in two.render().decode()


def test_unknown_names_and_labels_fail_at_once():
    metrics = Metrics()
    with pytest.raises(KeyError):
        metrics.add("millrace_typo_total")
    with pytest.raises(ValueError, match="label"):
        metrics.add("millrace_jobs_submitted_total", wrong="x")


def test_importing_the_rooms_does_not_load_heavy_libraries():
    code = "import sys, millrace.telemetry.metrics, millrace.telemetry.logs, millrace.blobs.location, millrace.process.child; print([m for m in ('prometheus_client', 'obstore', 'psutil') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
