"""Fair share: no tenant starves another, a tenant that is alone sees none of it, and ageing bounds what it may do."""

from hypothesis import given
from hypothesis import strategies as st

from millrace.domain.turns import AHEAD_MS, Turn, place


class Line:
    """The jobs of one class and weight, as a store keeps them: a job is (rank, number, tenant, whether it opened a turn)."""

    def __init__(self) -> None:
        self.queued: list[tuple[int, int, str, bool]] = []
        self.last: dict[str, int] = {}
        self.number = 0

    def add(self, tenant: str, now_ms: int) -> int:
        opened = [(rank, whose) for rank, _, whose, opens in self.queued if opens]
        newest = Turn(*max(opened)) if opened else None
        following = min((rank for rank, _ in opened if rank > self.last.get(tenant, -(2**63))), default=None)
        found = place(tenant, now_ms, newest, following)
        if newest is not None and newest.tenant != tenant:
            whose, rank = (newest.tenant, newest.rank) if found.opens else (tenant, found.rank)
            self.last[whose] = max(rank, self.last.get(whose, rank))
        self.number += 1
        self.queued.append((found.rank, self.number, tenant, found.opens))
        return found.rank

    def claim(self) -> tuple[int, str]:
        first = min(self.queued)
        self.queued.remove(first)
        return first[1], first[2]


def test_one_job_among_ten_thousand_is_the_next_but_one() -> None:
    line = Line()
    for _ in range(10_000):
        line.add("bulk", 0)
    for _ in range(50):
        line.claim()
    line.add("small", 3_600_000)
    assert [line.claim()[1] for _ in range(2)] == ["bulk", "small"]


def test_those_that_come_late_take_turns_with_who_was_there() -> None:
    line = Line()
    for _ in range(100):
        line.add("bulk", 0)
    for _ in range(20):
        line.add("one", 1000)
        line.add("other", 1000)
    claimed = [line.claim()[1] for _ in range(60)]
    assert claimed.count("bulk") == claimed.count("one") == claimed.count("other") == 20
    assert {frozenset(claimed[start : start + 3]) for start in range(0, 60, 3)} == {frozenset({"bulk", "one", "other"})}


def test_who_was_overtaken_takes_its_turns_behind_its_own_last() -> None:
    line = Line()
    for tenant in ["one"] * 5 + ["other"] * 10 + ["one"] * 5:
        line.add(tenant, 0)
    claimed = [line.claim()[1] for _ in range(20)]
    assert all(abs(claimed[:n].count("one") - claimed[:n].count("other")) <= 1 for n in range(21))


arrivals = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 500), st.integers(0, 2)), max_size=60)


@given(arrivals)
def test_each_tenant_sees_first_in_first_out(steps: list[tuple[str, int, int]]) -> None:
    line, now_ms, claimed = Line(), 0, []
    for tenant, later_ms, claims in steps:
        now_ms += later_ms
        line.add(tenant, now_ms)
        claimed += [line.claim() for _ in range(min(claims, len(line.queued)))]
    claimed += [line.claim() for _ in range(len(line.queued))]
    for tenant in "abc":
        own = [number for number, whose in claimed if whose == tenant]
        assert own == sorted(own)


@given(arrivals)
def test_a_tenant_that_is_alone_is_ranked_by_its_time(steps: list[tuple[str, int, int]]) -> None:
    line, now_ms, last = Line(), 0, -1
    for _, later_ms, claims in steps:
        now_ms += later_ms
        rank = line.add("a", now_ms)
        assert rank == max(now_ms, last + 1 if line.queued[1:] else now_ms)
        last = rank
        for _ in range(min(claims, len(line.queued) - 1)):
            line.claim()


@given(arrivals)
def test_nobody_is_set_back_by_more_than_the_bound_that_ageing_allows(steps: list[tuple[str, int, int]]) -> None:
    line, now_ms = Line(), 0
    for tenant, later_ms, claims in steps:
        now_ms += later_ms
        assert line.add(tenant, now_ms) <= now_ms + AHEAD_MS
        for _ in range(min(claims, len(line.queued))):
            line.claim()


def test_a_line_that_fills_at_one_moment_ends_a_minute_ahead() -> None:
    newest: Turn | None = None
    for _ in range(AHEAD_MS + 10):
        newest = Turn(place("a", 0, newest, None).rank, "a")
    assert newest == Turn(AHEAD_MS, "a")


@given(arrivals, st.integers(1, 30))
def test_what_waits_is_passed_by_at_most_one_job_of_each_other_tenant_for_each_turn(
    before: list[tuple[str, int, int]], later: int
) -> None:
    """So however many others come, it is claimed after finitely many."""
    line, now_ms = Line(), 0
    for tenant, later_ms, _ in before:
        now_ms += later_ms
        line.add(tenant, now_ms)
    line.add("z", now_ms)
    mine = next(job for job in line.queued if job[2] == "z")
    turns = len({rank for rank, _, _, opens in line.queued if opens and rank <= mine[0]})
    ahead = sum(job < mine for job in line.queued)
    for _ in range(later):
        for tenant in "abc":
            line.add(tenant, now_ms + 1)
    assert sum(job < mine for job in line.queued) <= ahead + 3 * turns
