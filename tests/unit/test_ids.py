"""Ids: sortable, and never taken for a number."""

from hypothesis import given
from hypothesis import strategies as st

from millrace.domain import ids

moments = st.integers(0, 2**48 - 1)
ten_bytes = st.binary(min_size=10, max_size=10)


@given(moments, ten_bytes)
def test_an_id_is_never_a_number_and_says_what_it_is(now_ms: int, random: bytes) -> None:
    job = ids.job_id(now_ms, random)
    assert ids.is_job_id(job)
    assert not job.isdigit()
    assert not ids.is_node_id(job)
    assert ids.is_node_id(ids.node_id(now_ms, random))
    task = ids.task_id(job, 1)
    assert ids.is_task_id(task)
    assert not ids.is_job_id(task)
    assert ids.job_of(task) == job


@given(moments, moments, ten_bytes, ten_bytes)
def test_ids_sort_by_time(one_ms: int, other_ms: int, one: bytes, other: bytes) -> None:
    if one_ms < other_ms:
        assert ids.job_id(one_ms, one) < ids.job_id(other_ms, other)


@given(st.text())
def test_other_text_is_no_id(text: str) -> None:
    assert not ids.is_job_id("j" + text) or len(text) == 32
