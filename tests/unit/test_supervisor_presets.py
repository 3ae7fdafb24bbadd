"""`millrace supervise init`: what it writes passes the strict check, and the parts agree with each other."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from millrace.cli.supervise import app, init
from millrace.cli.supervise.load import examine_text
from millrace.supervisor.plan import Recipient
from millrace.supervisor.plan_document import plan_from
from millrace.supervisor.plans.weight import Weight
from millrace.supervisor.presets.scaffold import PRESETS, scaffold


def test_the_command_knows_every_preset() -> None:
    assert tuple(PRESETS) == init.PRESETS


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_passes_the_strict_check(tmp_path: Path, preset: str) -> None:
    done = CliRunner().invoke(app, ["init", preset, "--out", str(tmp_path / "new"), "--name", "shop"])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "Dockerfile", "compose.yaml", "kubernetes.yaml", "plan.yaml",
    ]  # fmt: skip
    checked = CliRunner().invoke(app, ["check", "--strict", str(tmp_path / "new" / "plan.yaml")])
    assert (checked.exit_code, "warning" in checked.output) == (0, False), checked.output


@pytest.mark.parametrize("preset", PRESETS)
def test_hosts_wait_longer_than_the_plan_and_open_the_port_that_is_served(preset: str) -> None:
    texts = scaffold(preset, "shop")
    plan = plan_from(texts["plan.yaml"], {})
    kind = PRESETS[preset]
    compose: dict[str, Any] = yaml.safe_load(texts["compose.yaml"])
    service = compose["services"]["shop"]
    assert int(service["stop_grace_period"].removesuffix("s")) > plan.shutdown_timeout_s
    assert service["ports"] == [f"127.0.0.1:{kind.port}:{kind.port}"]
    assert set(service.get("environment", {})) == set(kind.secrets)
    objects = list(yaml.safe_load_all(texts["kubernetes.yaml"]))
    (deployment,) = (one for one in objects if one["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > plan.shutdown_timeout_s
    assert [port["containerPort"] for port in pod["containers"][0]["ports"]] == [kind.port]
    claims = {one["metadata"]["name"] for one in objects if one["kind"] == "PersistentVolumeClaim"}
    assert {one["persistentVolumeClaim"]["claimName"] for one in pod.get("volumes", ())} == claims
    checks = [process.health_check.target for process in plan.processes.values() if process.health_check]
    assert any(f":{kind.port}" in target for target in checks)
    assert f"EXPOSE {kind.port}\n" in texts["Dockerfile"]
    assert texts["Dockerfile"].startswith("# syntax=docker/dockerfile:1\nFROM ")


@pytest.mark.parametrize(("preset", "process"), [("django", "worker"), ("millrace", "worker"), ("millrace", "master")])
def test_what_ends_its_own_processes_in_order_is_told_alone(preset: str, process: str) -> None:
    assert plan_from(scaffold(preset, "shop")["plan.yaml"], {}).processes[process].shutdown.to is Recipient.MAIN


@pytest.mark.parametrize("preset", ["laravel", "symfony"])
def test_what_runs_php_is_the_user_of_php_fpm(preset: str) -> None:
    plan = plan_from(scaffold(preset, "shop")["plan.yaml"], {})
    users = {process.execution.user for process in plan.processes.values() if process.command[0] == "php"}
    assert users == {"www-data"}


def test_nothing_is_written_over_unless_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("mine")
    words = ["init", "node", "--out", str(tmp_path)]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code != 0
    assert "say --force" in str(refused.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["Dockerfile"]
    assert (tmp_path / "Dockerfile").read_text() == "mine"
    assert CliRunner().invoke(app, [*words, "--force"]).exit_code == 0
    assert (tmp_path / "Dockerfile").read_text() != "mine"
    assert "give small letters" in CliRunner().invoke(app, [*words, "--name", "My App"]).output


def test_suggestions_of_presets_are_few() -> None:
    for preset in PRESETS:
        found = examine_text(scaffold(preset, "shop")["plan.yaml"], {}, None, as_root=True).findings
        assert [str(finding) for weight, finding in found if weight is not Weight.SUGGESTION] == []
        assert len(found) <= 2
