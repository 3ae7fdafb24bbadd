"""Needs and offers: who can run what, and that equal needs are one class."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.domain.needs import Needs, Offer, missing, needs_from, satisfies

OFFER = Offer(
    engines=frozenset({"ffmpeg"}),
    encoders=frozenset({"libx264", "aac"}),
    labels={"zone": "a"},
    memory_mb=4096,
)


@pytest.mark.parametrize(
    ("needs", "lacking"),
    [
        (Needs(), None),
        (Needs(encoders=(("h264_nvenc", "libx264"), ("aac",))), None),
        (Needs(engine="gstreamer"), "the engine gstreamer"),
        (Needs(encoders=(("libx264",), ("hevc_nvenc", "libx265"))), "a working encoder among hevc_nvenc, libx265"),
        (Needs(labels={"zone": "b"}), "the label zone=b"),
        (Needs(memory_mb=8192), "8192 MB of memory"),
    ],
)
def test_what_is_missing_is_named(needs: Needs, lacking: str | None) -> None:
    assert missing(OFFER, needs) == lacking
    assert satisfies(OFFER, needs) is (lacking is None)


words = st.text("abcz_0", min_size=1, max_size=6)
any_needs = st.builds(
    Needs,
    engine=words,
    encoders=st.lists(st.lists(words, min_size=1, max_size=3).map(tuple), max_size=3).map(tuple),
    labels=st.dictionaries(words, words, max_size=3),
    memory_mb=st.integers(0, 10**6),
)


@given(any_needs)
def test_needs_survive_being_stored(needs: Needs) -> None:
    read = needs_from(json.loads(json.dumps(needs.to_document())))
    assert read.to_document() == needs.to_document()
    assert read.digest == needs.digest


@given(any_needs, any_needs)
def test_equal_needs_and_only_they_have_one_digest(one: Needs, other: Needs) -> None:
    assert (one.digest == other.digest) == (one.to_document() == other.to_document())
