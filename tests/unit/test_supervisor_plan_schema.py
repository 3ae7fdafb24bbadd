"""The keys of a plan, found by asking the reading, and the JSON Schema that is made of them."""

import json
import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from millrace.cli.supervise import app
from millrace.supervisor.plan_document import keys, plan_from
from millrace.supervisor.plans.keys import Key, explore
from millrace.supervisor.plans.reader import Noted, Reader
from millrace.supervisor.plans.schema import schema
from millrace.supervisor.plans.sentences import SENTENCES
from millrace.supervisor.presets.scaffold import PRESETS, scaffold

SCHEMA = schema(keys())
KINDS: dict[str, Any] = {
    "string": str, "number": (int, float), "integer": int, "boolean": bool, "array": list, "object": dict,
}  # fmt: skip


def fits(value: Any, rule: dict[str, Any]) -> bool:
    """What of JSON Schema 2020-12 our schema uses, and nothing else."""
    known = {
        "$schema", "$defs", "$ref", "title", "description", "default", "type", "enum", "anyOf", "minimum", "maximum", "minLength",
        "maxLength", "pattern", "items", "properties", "additionalProperties", "required",
    }  # fmt: skip
    assert set(rule) <= known
    if "$ref" in rule and not fits(value, SCHEMA["$defs"][rule["$ref"].rpartition("/")[2]]):
        return False
    names = rule.get("type", list(KINDS))
    names = [names] if isinstance(names, str) else names
    if not any(isinstance(value, KINDS[one]) and (one == "boolean" or not isinstance(value, bool)) for one in names):
        return False
    if "enum" in rule and value not in rule["enum"]:
        return False
    if "anyOf" in rule and not any(fits(value, one) for one in rule["anyOf"]):
        return False
    if isinstance(value, str):
        length = rule.get("minLength", 0) <= len(value) <= rule.get("maxLength", len(value))
        return length and bool(re.search(rule.get("pattern", ""), value))
    if isinstance(value, list):
        return all(fits(one, rule.get("items", {})) for one in value)
    if isinstance(value, dict):
        return _mapping_fits(value, rule)
    return bool(rule.get("minimum", value) <= value <= rule.get("maximum", value))


def _mapping_fits(value: dict[str, Any], rule: dict[str, Any]) -> bool:
    others = rule.get("additionalProperties", {})
    return set(rule.get("required", ())) <= set(value) and all(
        fits(one, rule["properties"][name])
        if name in rule.get("properties", {})
        else isinstance(others, dict) and fits(one, others)
        for name, one in value.items()
    )


def test_every_key_has_its_sentence_and_every_sentence_its_key() -> None:
    assert {one.path for one in keys().walk()} == set(SENTENCES)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("processes: {a: {command: [x, 1]}}", True),
        ('processes: {a: {command: [x], scale: "${N}", enabled: "${ON:-true}", restart: "${R}"}}', True),
        ("processes: {a: {command: [x], restart: {policy: never, max_attempts: 3}, env: {A: 1, B: x}}}", True),
        (
            "processes: {a: {command: [x], depends_on: [b]}, b: {command: [x], depends_on: {c: {condition: started}}}}",
            True,
        ),
        ("processes: {a: {command: [x], health_check: {type: exec, command: [x]}, shutdown: {timeout: 1m30s}}}", True),
        ("include: x.yaml", True),
        ("processes: {a: {comand: [x]}}", False),
        ("processes: {a: {command: x}}", False),
        ("processes: {a: {scale: 1}}", False),
        ("processes: {a: {command: [x], scale: 0}}", False),
        ("processes: {a: {command: [x], scale: 1001}}", False),
        ("processes: {a: {command: [x], shutdown: {timeout: soon}}}", False),
        ("processes: {a: {command: [x], shutdown: {signal: NOPE}}}", False),
        ("processes: {a: {command: [x], health_check: {interval: 1}}}", False),
        ("processes: {a: {command: [x], depends_on: {b: sometime}}}", False),
        ("processes: {a: {command: [x], limits: {nofile: lots}}}", False),
        ("processes: {a: {command: [x], limits: {nofiles: 100}}}", False),
        ("nonsense: {}", False),
    ],
)
def test_an_editor_is_told_what_the_reading_would_say(text: str, good: bool) -> None:
    assert fits(yaml.safe_load(text), SCHEMA) is good


EXAMPLES = re.compile(r"^ *```yaml\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


def test_every_plan_in_the_docs_and_every_preset_fits() -> None:
    root = Path(__file__).parents[2]
    pages = [root / "README.md", *(root / "docs").rglob("*.md")]
    texts = [dedent(text) for page in pages for text in EXAMPLES.findall(page.read_text())]
    texts += [scaffold(preset, "shop")["plan.yaml"] for preset in PRESETS]
    plans = [plan for text in texts if isinstance(plan := yaml.safe_load(text), dict) and "processes" in plan]
    assert len(plans) > len(PRESETS)
    assert [plan for plan in plans if not fits(plan, SCHEMA)] == []


@pytest.mark.parametrize(
    "process",
    [
        "{tune: php-fpm/medium}",
        "{tune: {profile: php-fpm/medium, share: 0.5}}",
        "{limits: {nofile: 65536, as: 2G, core: unlimited, memory: 512M, cpus: 1.5, pids: 200}}",
        "{forward_signals: [HUP, USR1]}",
        "{forward_signals: {HUP: USR2}}",
        "{logging: {json: true, labels: {team: shop}}}",
        "{logging: {json: {extract_level: level}}}",
    ],
)
def test_what_the_reading_takes_in_more_than_one_form_an_editor_takes_too(process: str) -> None:
    document = {"processes": {"a": {"command": ["x"], **yaml.safe_load(process)}}}
    assert "a" in plan_from(yaml.safe_dump(document), {}).processes
    assert fits(document, SCHEMA)


def test_a_limit_can_be_overridden_by_a_variable_of_its_own() -> None:
    plan = plan_from("processes: {a: {command: [x]}}", {"MILLRACE_SUPERVISE_PROCESS_A_LIMITS_NOFILE": "4096"})
    assert plan.processes["a"].execution.limits.open_files == 4096


def test_the_command_prints_it() -> None:
    assert json.loads(CliRunner().invoke(app, ["schema"]).stdout) == SCHEMA


def test_a_reading_is_asked_for_all_that_it_may_ask() -> None:
    """Behind words, in lists, in mappings with names of the author's own: nothing is written down a second time."""

    def read(document: object, findings: Noted) -> None:
        root = Reader(document, "", findings)
        kind = root.word("kind", ("plain", "odd"), "plain")
        if kind == "odd":
            root.whole("only_odd", 1, 2, 1)
        root.whole("often", 1, 5, 1)
        root.whole("often", 0, 3, 1)
        hooks = root.raw("hooks")
        if isinstance(hooks, list):
            for index, one in enumerate(hooks):
                inner = Reader(one, f"hooks[{index}]", findings)
                inner.flag("retry", False)
                if not inner.words("command"):
                    inner.report("command", "is missing; give one")
        for name in root.mapping("labels"):
            Reader(root.mapping("labels"), "labels", findings).text(name, "")

    found: dict[str, Key] = {one.path: one for one in explore(read).walk()}
    assert set(found) == {
        "kind", "only_odd", "often", "hooks", "hooks[0]", "hooks[0].retry", "hooks[0].command", "labels", "labels.NAME",
    }  # fmt: skip
    assert found["hooks[0]"].required == ["command"]
    assert found["often"].values == [{"type": "integer", "minimum": 0, "maximum": 5, "default": 1}]
    assert fits({"hooks": [{"command": ["x"], "retry": True}], "labels": {"a": "b"}}, schema(explore(read)))
    assert not fits({"hooks": [{"retry": True}]}, schema(explore(read)))
