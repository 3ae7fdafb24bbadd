import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.runtime.backoff import Backoff


def test_the_ceiling_doubles_up_to_the_cap():
    backoff = Backoff(base_s=1, cap_s=10)
    assert [round(backoff.ceiling_s(n), 9) for n in range(7)] == [0, 1, 2, 4, 8, 10, 10]


@given(
    failures=st.integers(-5, 10**30),
    base=st.floats(1e-6, 1e3),
    over=st.floats(1, 1e9),
    factor=st.floats(1, 1e9),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_a_wait_is_always_finite_and_between_zero_and_the_cap(failures, base, over, factor, draw):
    backoff = Backoff(base_s=base, cap_s=base * over, factor=factor)
    wait = backoff.wait_s(failures, lambda: draw)
    assert 0 <= wait <= backoff.cap_s * (1 + 1e-9)
    assert math.isfinite(wait)


@given(failures=st.integers(1, 2000))
def test_the_ceiling_never_falls(failures):
    backoff = Backoff()
    assert backoff.ceiling_s(failures + 1) >= backoff.ceiling_s(failures) * (1 - 1e-12)


@pytest.mark.parametrize("wrong", [{"base_s": 0}, {"base_s": 5, "cap_s": 1}, {"factor": 0.5}, {"cap_s": math.inf}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="cannot back off"):
        Backoff(**wrong)
