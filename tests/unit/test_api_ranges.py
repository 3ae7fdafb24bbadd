"""The cases of RFC 9110, section 14.1, and what clients make of them."""

import pytest

from millrace.api.ranges import range_of
from millrace.edge.refusal import RefusalError

SIZE = 10_000
HUGE = "9" * 30
ENDLESS = "9" * 60_000
WHOLE = None
UNSATISFIABLE = "416"

CASES: list[tuple[str | None, object]] = [
    # The examples of section 14.1.2, of a representation of 10000 bytes
    ("bytes=0-499", (0, 500)),
    ("bytes=500-999", (500, 1000)),
    ("bytes=-500", (9500, 10_000)),
    ("bytes=9500-", (9500, 10_000)),
    ("bytes=0-0,-1", WHOLE),
    ("bytes=0-0, 9999-9999", WHOLE),
    ("bytes= 0-999, 4500-5499, -1000", WHOLE),
    # Ends
    ("bytes=0-", (0, 10_000)),
    ("bytes=0-0", (0, 1)),
    ("bytes=9999-9999", (9999, 10_000)),
    ("bytes=9999-10000", (9999, 10_000)),
    ("bytes=-10000", (0, 10_000)),
    ("bytes=-10001", (0, 10_000)),
    ("bytes=10000-", UNSATISFIABLE),
    ("bytes=10000-10000", UNSATISFIABLE),
    ("bytes=-0", UNSATISFIABLE),
    ("bytes=10000-,-0", UNSATISFIABLE),
    ("bytes=10000-,5-6", (5, 7)),
    # Numbers of any length
    (f"bytes={HUGE}-", UNSATISFIABLE),
    (f"bytes={HUGE}-{HUGE}", UNSATISFIABLE),
    (f"bytes=0-{HUGE}", (0, 10_000)),
    (f"bytes=-{HUGE}", (0, 10_000)),
    (f"bytes={HUGE}-{HUGE[1:]}", WHOLE),
    (f"bytes={HUGE[1:]}-{HUGE}", UNSATISFIABLE),
    (f"bytes={ENDLESS}-", UNSATISFIABLE),
    (f"bytes=5-{ENDLESS}", (5, 10_000)),
    (f"bytes={'0' * 30}5-{'0' * 40}6", (5, 7)),
    # The unit's name has no case, a list may have spaces and empty elements
    ("Bytes=0-1", (0, 2)),
    (" bytes=0-1 ", (0, 2)),
    ("bytes= 0-1 ,", (0, 2)),
    ("bytes=,,0-1", (0, 2)),
    # No range at all, and so to be ignored
    (None, WHOLE),
    ("", WHOLE),
    ("bytes", WHOLE),
    ("bytes=", WHOLE),
    ("bytes=,", WHOLE),
    ("bytes=-", WHOLE),
    ("bytes=5-4", WHOLE),
    ("bytes=20000-10000", WHOLE),
    ("bytes=0-1,5-4", WHOLE),
    ("bytes=0-1,x", WHOLE),
    ("bytes=0 - 1", WHOLE),
    ("bytes=+1-2", WHOLE),
    ("bytes=0-1;x", WHOLE),
    ("bytes=0x0-0x1", WHOLE),
    ("bytes=1.0-2", WHOLE),
    ("bytes=１-２", WHOLE),
    ("bytes =0-1", WHOLE),
    ("bytes:0-1", WHOLE),
    ("items=0-1", WHOLE),
    ("0-1", WHOLE),
]


@pytest.mark.parametrize(("header", "expected"), CASES, ids=[str(header)[:40] for header, _ in CASES])
def test_a_range_is_what_the_rfc_makes_of_it(header: str | None, expected: object) -> None:
    if expected == UNSATISFIABLE:
        with pytest.raises(RefusalError) as refused:
            range_of(header, SIZE)
        assert (refused.value.status, refused.value.headers) == (416, {"content-range": "bytes */10000"})
    else:
        assert range_of(header, SIZE) == expected


def test_of_nothing_there_is_no_first_byte_and_its_last_bytes_are_all_of_it() -> None:
    with pytest.raises(RefusalError):
        range_of("bytes=0-", 0)
    assert range_of("bytes=-5", 0) is None
