"""Who waits for whom at the end."""

from millrace.supervisor.graph import above


def test_those_who_need_it_come_above_directly_or_through_others() -> None:
    found = above({"web": ["app"], "app": ["db"], "db": [], "cron": ["db"]})
    assert found == {
        "web": frozenset(), "app": {"web"}, "db": {"web", "app", "cron"}, "cron": frozenset()
    }  # fmt: skip


def test_nobody_waits_for_who_waits_for_it() -> None:
    """Instances of two plans that need each other the other way round would otherwise never be told to stop."""
    found = above({"a": ["b"], "b": ["c"], "c": ["a"], "user": ["a"]})
    assert found == {"a": {"user"}, "b": {"user"}, "c": {"user"}, "user": frozenset()}
