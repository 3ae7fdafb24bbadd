"""Which of two masters leads, while masters are killed, stand still, and go."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from outside import LONG, Farm, Running, Shell, eventually, outcomes, program, running

TERMS = {"MILLRACE_HEARTBEAT": "0.4", "MILLRACE_LEASE_TTL": "3", "MILLRACE_API_KEY": "mr_one-key-for-all-masters"}


@pytest.fixture
def start(shell: Shell, new_database: Callable[[], str]) -> Iterator[Callable[[str], Running]]:
    shell = shell.having(**TERMS, MILLRACE_STORE=new_database())
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(running(shell, "master", "--data", name, "--port", 0))


def seen(farm: Farm) -> dict[str, Any]:
    found: dict[str, Any] = farm.cli("masters", "list", "-o", "json").json()
    return found


def leads(farm: Farm) -> bool:
    found = seen(farm)
    return [one["id"] for one in found["masters"] if one["leads"]] == [found["here"]]


def test_another_master_leads_soon_after_the_leader_was_killed(start: Callable[[str], Running], shell: Shell) -> None:
    one = start("one")
    assert leads(one)
    two = start("two")
    eventually(lambda: len(seen(one)["masters"]) == 2, "both know of each other")
    assert leads(one)
    assert not leads(two)
    assert "millrace_leads 0" in two.http("GET", "/metrics").text
    leader, here = [line for line in two.cli("masters", "list").out.splitlines() if " yes " in line]
    assert leader.index(" yes ") < here.index(" yes "), "the one that leads is not the one that answers"
    # What only the leader does goes on: the task of a worker that falls silent is taken back, under the new leader.
    worker = Farm(one.shell, two.url, one.key)
    with program(one.shell, "worker", "--master", two.url, "--name", "w") as held:
        job = worker.submit(**LONG)["number"]
        worker.reaches(job, "processing")
        one.program.kill()
        held.kill()
        eventually(lambda: leads(two), "the other one leads")
        assert seen(two)["epoch"] == 2
        eventually(lambda: outcomes(worker.job(job)) == ["lost"], "the task is taken back")
    worker.do("cancel", job)


def test_who_goes_in_good_order_makes_room_at_once(start: Callable[[str], Running]) -> None:
    one, two = start("one"), start("two")
    assert leads(one)
    one.program.stop()
    eventually(lambda: leads(two), "the other one leads")
    assert [entry["epoch"] for entry in two.program.says("master.leads")] == [2]
    assert len(seen(two)["masters"]) == 1


def test_a_leader_that_stood_still_is_one_of_the_others_when_it_goes_on(start: Callable[[str], Running]) -> None:
    one, two = start("one"), start("two")
    one.program.signal(signal.SIGSTOP)
    try:
        eventually(lambda: leads(two), "the other one leads")
    finally:
        one.program.signal(signal.SIGCONT)
    eventually(lambda: len(seen(one)["masters"]) == 2, "it is back")
    assert not leads(one)
    assert leads(two)
    assert seen(one)["epoch"] == 2


def test_a_master_on_sqlite_leads_for_itself(shell: Shell) -> None:
    with running(shell, "master", "--data", "farm", "--port", 0) as farm:
        assert leads(farm)
        assert "millrace_leads 1" in farm.http("GET", "/metrics").text
