"""Fair share: no tenant starves another, a tenant that is alone sees none of it, and ageing bounds what it may do."""

from bisect import bisect_right, insort

from hypothesis import given
from hypothesis import strategies as st

from millrace.domain.turns import AHEAD_MS, Last, Turn, place


class Line:
    """The jobs of one class and weight, as a store keeps them, in order: a job is (rank, number, tenant, whether it opened a turn)."""

    def __init__(self, **weights: int) -> None:
        self.queued: list[tuple[int, int, str, bool]] = []
        self.opened: list[tuple[int, str]] = []  # the turns of those that opened one, in order
        self.weights = weights
        self.last: dict[str, tuple[int, int]] = {}  # the last turn of a tenant, and its places there
        self.number = 0

    def add(self, tenant: str, now_ms: int) -> int:
        newest = Turn(*self.opened[-1]) if self.opened else None
        weight = self.weights.get(tenant, 1)
        had, taken = self.last.get(tenant, (-(2**63), 0))
        up_to = bisect_right(self.opened, had, key=lambda turn: turn[0])
        following = self.opened[up_to][0] if up_to < len(self.opened) else None
        is_over = not up_to or self.opened[up_to - 1][0] != had
        last = Last(had, taken, is_over) if weight > 1 and taken else None
        found = place(tenant, now_ms, newest, following, weight=weight, last=last)
        if newest is not None and newest.tenant != tenant and found.opens:
            self._keep(newest.tenant, newest.rank, 1)
        if not found.opens or weight > 1:
            self._keep(tenant, found.rank, found.taken)
        self.number += 1
        insort(self.queued, (found.rank, self.number, tenant, found.opens))
        if found.opens:
            insort(self.opened, (found.rank, tenant))
        return found.rank

    def _keep(self, tenant: str, rank: int, taken: int) -> None:
        self.last[tenant] = max((rank, taken), self.last.get(tenant, (rank, taken)))

    def claim(self) -> tuple[int, str]:
        rank, number, tenant, opened = self.queued.pop(0)
        if opened:
            self.opened.remove((rank, tenant))
        return number, tenant


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


def test_a_weight_of_three_is_three_jobs_for_one() -> None:
    for first, then in [("heavy", "light"), ("light", "heavy")]:
        line = Line(heavy=3)
        for tenant in (first, then):
            for _ in range(60):
                line.add(tenant, 0)
        claimed = [line.claim()[1] for _ in range(80)]
        assert (claimed.count("heavy"), claimed.count("light")) == (60, 20)
        assert all(abs(claimed[:n].count("heavy") - 3 * claimed[:n].count("light")) <= 3 for n in range(81))


weights = st.fixed_dictionaries({tenant: st.integers(1, 4) for tenant in "abc"})


@given(arrivals, weights)
def test_who_waits_has_as_many_places_in_each_turn_as_its_weight(
    steps: list[tuple[str, int, int]], by_tenant: dict[str, int]
) -> None:
    line, now_ms = Line(**by_tenant), 0
    for tenant, later_ms, _ in steps:
        now_ms += later_ms
        line.add(tenant, now_ms)
    turns = sorted({rank for rank, _, _, opens in line.queued if opens})
    for tenant, weight in by_tenant.items():
        places = [rank for rank, _, whose, _ in line.queued if whose == tenant]
        assert places == sorted(places)
        taken = [places.count(rank) for rank in turns if rank in places]
        assert all(count == weight for count in taken[:-1])
        assert all(count <= weight for count in taken)
        # None between its first and its last was left out.
        assert len(taken) == len([rank for rank in turns if places and places[0] <= rank <= places[-1]])


@given(arrivals, weights)
def test_each_tenant_sees_first_in_first_out_whatever_its_weight(
    steps: list[tuple[str, int, int]], by_tenant: dict[str, int]
) -> None:
    line, now_ms, claimed = Line(**by_tenant), 0, []
    for tenant, later_ms, claims in steps:
        now_ms += later_ms
        assert line.add(tenant, now_ms) <= now_ms + AHEAD_MS
        claimed += [line.claim() for _ in range(min(claims, len(line.queued)))]
    claimed += [line.claim() for _ in range(len(line.queued))]
    for tenant in "abc":
        own = [number for number, whose in claimed if whose == tenant]
        assert own == sorted(own)


def test_what_comes_later_goes_not_before_places_that_outlived_who_opened_their_turn() -> None:
    line = Line(heavy=3)
    ranks = [line.add("heavy", 0) for _ in range(6)]
    assert ranks == [0, 0, 0, 1, 1, 1]
    claimed = [line.claim()[0] for _ in range(4)]
    line.add("heavy", 0)
    claimed += [line.claim()[0] for _ in range(3)]
    assert claimed == sorted(claimed)


def test_places_in_a_turn_that_is_over_are_lost() -> None:
    line = Line(heavy=3)
    line.add("heavy", 0)
    line.claim()
    line.add("light", 100)
    assert line.add("heavy", 200) == 100
