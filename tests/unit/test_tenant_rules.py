"""What a tenant may: the comparisons of its quotas, and the places that hold a location."""

from datetime import UTC, datetime

import pytest

from millrace.domain.places import holds
from millrace.domain.tenants import (
    Over,
    Quota,
    Quotas,
    Use,
    nearest,
    over_for_bytes,
    over_for_job,
    over_for_retry,
    until_tomorrow_s,
)


def test_a_quota_is_used_up_when_as_much_is_used_as_it_allows() -> None:
    quotas = Quotas(queued=2, per_day=3, storage_bytes=10)
    assert over_for_job(quotas, Use(queued=1, per_day=2, storage_bytes=9), keeps=True) is None
    assert over_for_job(quotas, Use(queued=2), keeps=True) == Over(Quota.QUEUED, 2, 2)
    assert over_for_job(quotas, Use(per_day=3), keeps=True) == Over(Quota.PER_DAY, 3, 3)
    assert over_for_job(quotas, Use(storage_bytes=10), keeps=True) == Over(Quota.STORAGE, 10, 10)
    assert over_for_job(quotas, Use(storage_bytes=10), keeps=False) is None
    assert over_for_job(Quotas(), Use(queued=10**9, per_day=10**9, storage_bytes=10**18), keeps=True) is None
    assert over_for_job(Quotas(queued=0), Use(), keeps=False) == Over(Quota.QUEUED, 0, 0)


def test_what_runs_again_was_counted_for_its_day() -> None:
    assert over_for_retry(Quotas(queued=2, per_day=1), Use(queued=1, per_day=1)) is None
    assert over_for_retry(Quotas(queued=2), Use(queued=2)) == Over(Quota.QUEUED, 2, 2)


def test_bytes_fit_up_to_the_last() -> None:
    quotas = Quotas(storage_bytes=10)
    assert over_for_bytes(quotas, Use(storage_bytes=4), 6) is None
    assert over_for_bytes(quotas, Use(storage_bytes=4), 7) == Over(Quota.STORAGE, 10, 4)


def test_of_several_the_nearest_is_named() -> None:
    assert nearest(Quotas(queued=10, per_day=20), Use(queued=5, per_day=19)) == Over(Quota.PER_DAY, 20, 20)
    assert nearest(Quotas(storage_bytes=1), Use()) is None


def test_a_day_ends_at_midnight_by_utc() -> None:
    assert until_tomorrow_s(datetime(2026, 11, 27, 23, 59, 59, tzinfo=UTC)) == 1
    assert until_tomorrow_s(datetime(2026, 11, 28, tzinfo=UTC)) == 86_400


@pytest.mark.parametrize(
    ("place", "location"),
    [
        ("/media/acme", "/media/acme"),
        ("/media/acme/", "/media/acme/a/b.mp4"),
        ("/media/acme", "/media//acme/./a.mp4"),
        ("s3://films/acme", "s3://films/acme/a.mp4"),
        ("https://cdn.example/acme", "https://CDN.example:443/acme/a.mp4?sign=a/../b"),
        ("http://cdn.example", "http://cdn.example/anything"),
    ],
)
def test_a_place_holds_what_lies_below_it(place: str, location: str) -> None:
    assert holds(place, location)


@pytest.mark.parametrize(
    ("place", "location"),
    [
        ("/media/acme", "/media/acme-2/a.mp4"),
        ("/media/acme", "/media"),
        ("/media/acme", "/media/acme/../other/a.mp4"),
        ("/media/acme", "s3://media/acme/a.mp4"),
        ("s3://films/acme", "s3://films/acme2/a.mp4"),
        ("s3://films/acme", "s3://Films/acme/a.mp4"),
        ("s3://films/acme", "s3://other/films/acme/a.mp4"),
        ("https://cdn.example/acme", "http://cdn.example/acme/a.mp4"),
        ("https://cdn.example/acme", "https://cdn.example:8443/acme/a.mp4"),
        ("https://cdn.example/acme", "https://cdn.example.evil/acme/a.mp4"),
        ("https://cdn.example/acme", "https://cdn.example@evil/acme/a.mp4"),
        ("https://cdn.example/acme", "https://cdn.example\\@evil/acme/a.mp4"),
        ("https://cdn.example/acme", "https://cdn.example/acme/../other/a.mp4"),
        ("https://cdn.example/acme", "https://cdn.example/acme/%2e%2e/other/a.mp4"),
        ("https://cdn.example/acme", "https://cdn.example/acme/%252e%252e/other/a.mp4"),
        ("https://cdn.example/acme", "https://cdn.example/acme/..%2fother/a.mp4"),
        ("https://cdn.example/acme", "https://cdn.example/acme/..%5cother/a.mp4"),
        ("https://cdn.example/acme", "https://cdn.example:x/acme/a.mp4"),
        ("https://cdn.example/acme", "https://cdn.example/acme" + "/%25252525252e%25252525252e"),
    ],
)
def test_a_place_holds_nothing_else(place: str, location: str) -> None:
    assert not holds(place, location)
