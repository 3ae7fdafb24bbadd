"""The plan by which a farm is kept on one machine."""

from pathlib import Path

import msgspec
import pytest

from millrace.programs.farm_plan import Farm, farm_plan
from millrace.supervisor.plan import Condition

FARM = Farm(
    ca=None,
    data=Path("data"), blobs=Path("data/blobs"), url="http://127.0.0.1:1", descriptor=7, key_file=Path("data/api-key"), names=("a-1", "a-2"), cores=5,
    media_roots=(Path("/m"),), input_allow_networks=("10.0.0.0/8",), sandbox="auto", drain_timeout_s=5.0, log_form="json",
)  # fmt: skip


def test_the_master_serves_on_the_socket_that_outlives_it_and_workers_depend_on_it() -> None:
    plan = farm_plan(FARM)
    assert list(plan.processes) == ["master", "worker-1", "worker-2"]
    master, first, second = plan.processes.values()
    assert master.command[1:] == ("-P", "-m", "millrace", "master", "--data", "data", "--fd", "7")
    assert master.execution.pass_fds == (7,)
    assert first.command[4:] == (
        "worker", "--master", "http://127.0.0.1:1", "--state", "data/worker-1", "--name", "a-1", "--drain-timeout", "5.0",
        "--sandbox", "auto", "--media-root", "/m", "--input-allow-network", "10.0.0.0/8", "--api-key-file", "data/api-key",
    )  # fmt: skip
    assert first.execution.pass_fds == ()
    assert first.depends_on == second.depends_on == {"master": Condition.READY}
    assert "data/worker-2" in second.command
    assert first.env["MILLRACE_BLOBS"] == "data/blobs"
    elsewhere = farm_plan(msgspec.structs.replace(FARM, blobs=None))
    assert "MILLRACE_BLOBS" not in elsewhere.processes["worker-1"].env
    assert first.env["MILLRACE_CORES"] == second.env["MILLRACE_CORES"] == "2"


def test_a_key_that_was_given_comes_by_the_environment_alone() -> None:
    plan = farm_plan(msgspec.structs.replace(FARM, key_file=None))
    assert "--api-key-file" not in plan.processes["worker-1"].command


@pytest.mark.parametrize("drain_s", [0.0, 5.0, 7200.0])
def test_everything_has_the_time_that_it_was_promised(drain_s: float) -> None:
    plan = farm_plan(msgspec.structs.replace(FARM, drain_timeout_s=drain_s))
    worker, master = plan.processes["worker-1"], plan.processes["master"]
    assert worker.shutdown.timeout_s > drain_s
    assert plan.shutdown_timeout_s > worker.shutdown.timeout_s + master.shutdown.timeout_s
