"""The worker's pure rules: leases, stalls, stopwatches, shown locations, specs."""

import pytest

from millrace.worker.failure import TaskFailedError
from millrace.worker.fetch import scheme_of, shown
from millrace.worker.job import job_of
from millrace.worker.lease import Lease
from millrace.worker.object_store import Place, place_of
from millrace.worker.proofs import Verdict, told
from millrace.worker.stall import Stall
from millrace.worker.stopwatch import Stopwatch


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def monotonic(self):
        return self.now_s


def test_a_lease_ends_before_the_master_may_give_it_away():
    lease = Lease(sent_s=100.0, ttl_s=15.0)
    assert lease.holds(100.0)
    assert lease.stop_s == 112.0
    assert lease.holds(111.9)
    assert not lease.holds(112.0)


@pytest.mark.parametrize(("ttl_s", "margin_s"), [(15.0, 3.0), (1.0, 0.2), (0.5, 0.2), (0.2, 0.1)])
def test_the_margin_leaves_time_to_work_and_time_to_stop(ttl_s, margin_s):
    assert Lease(sent_s=0.0, ttl_s=ttl_s).margin_s == pytest.approx(margin_s)


def test_an_answer_that_was_overtaken_takes_nothing_back():
    early, late = Lease(sent_s=1.0, ttl_s=15.0), Lease(sent_s=2.0, ttl_s=15.0)
    assert early.later(late) is late
    assert late.later(early) is late


def test_a_stopwatch_stands_while_paused():
    clock = Clock()
    watch = Stopwatch(clock)
    clock.now_s += 5
    watch.pause()
    watch.pause()
    clock.now_s += 1000
    assert watch.elapsed_s == 5
    watch.resume()
    watch.resume()
    clock.now_s += 2
    assert watch.elapsed_s == 7


def test_neither_progress_nor_cpu_for_the_limit_is_a_stall():
    stall = Stall(limit_s=60)
    assert not stall.look(0, cpu_s=0, mark=None, paused=False)
    assert not stall.look(59, cpu_s=0.01, mark=None, paused=False)
    assert stall.look(60, cpu_s=0.02, mark=None, paused=False)


@pytest.mark.parametrize(
    "worked", [{"cpu_s": 1.0, "mark": None}, {"cpu_s": 0.0, "mark": 7}, {"cpu_s": 0.0, "mark": None, "read_bytes": 9}]
)
def test_progress_cpu_or_bytes_begin_the_time_anew(worked):
    stall = Stall(limit_s=60)
    stall.look(0, cpu_s=0, mark=None, paused=False)
    assert not stall.look(59, paused=False, **worked)
    assert not stall.look(118, paused=False, **worked)
    assert stall.look(119, paused=False, **worked)


def test_a_pause_is_no_stall():
    stall = Stall(limit_s=60)
    stall.look(0, cpu_s=0, mark=None, paused=False)
    assert not stall.look(1000, cpu_s=0, mark=None, paused=True)
    assert not stall.look(1059, cpu_s=0, mark=None, paused=False)
    assert stall.look(1060, cpu_s=0, mark=None, paused=False)


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("/media/film.mp4", "/media/film.mp4"),
        ("https://user:secret@host:8443/a/b.mp4?token=secret#secret", "https://host:8443/a/b.mp4"),
        ("s3://bucket/key", "s3://bucket/key"),
        ("http://[bad?secret", "http://..."),
    ],
)
def test_locations_are_shown_without_their_secrets(location, text):
    assert shown(location) == text


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://host/x", "data://x", "concat://x", "tcp://x", "FILE://x"]
)
def test_other_schemes_are_refused(location):
    with pytest.raises(TaskFailedError, match="is not allowed"):
        scheme_of(location)


@pytest.mark.parametrize(
    ("location", "scheme"), [("/x", "file"), ("HTTPS://x", "https"), ("upload://u1", "upload"), ("-x", "file")]
)
def test_schemes(location, scheme):
    assert scheme_of(location) == scheme


def test_places_in_object_stores():
    assert place_of("s3://bucket/a/b.mp4") == Place(bucket="bucket", path="a/b.mp4")
    assert place_of("s3://bucket") == Place(bucket="bucket", path="")


@pytest.mark.parametrize(
    "location", ["s3://", "s3:///x", "s3://key:secret@bucket/x", "s3://b/x?endpoint=http://evil", "s3://b/x#y"]
)
def test_a_job_cannot_choose_where_the_workers_keys_are_offered(location):
    with pytest.raises(TaskFailedError, match="write s3://bucket/path") as caught:
        place_of(location)
    assert "evil" not in str(caught.value)


@pytest.mark.parametrize(
    "spec", [{}, {"profile": None}, {"profile": {}, "input": 7}, {"profile": {}, "parameters": [1]}]
)
def test_specs_that_make_no_sense_are_refused(spec):
    with pytest.raises(TaskFailedError, match="cannot run the job"):
        job_of(spec)


def test_what_was_found_of_encoders_is_one_line_with_each_reason_once():
    found = {"x264": "", "one_nvenc": "no libcuda", "aac": "", "two_nvenc": "no libcuda", "odd": "it crashed"}
    said = told({encoder: Verdict(reason=reason) for encoder, reason in found.items()})
    assert said == {"works": "x264, aac", "fails": "one_nvenc, two_nvenc: no libcuda; odd: it crashed"}
