"""What Millrace is made of: pinned by hash, few, and without the calls that turn data into code."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import millrace

SOURCE = Path(millrace.__file__).parent
ROOT = SOURCE.parent.parent
MODULES = sorted(SOURCE.rglob("*.py"))
LOCKS = sorted(
    [
        *(ROOT / name for name in ("requirements.txt", "bench/supervisors.txt", ".ci/audit.txt")),
        *ROOT.glob("tests/*/requirements.txt"),
    ]
)
DIRECT, ALL = 16, 34
"""How many libraries Millrace may ask for, and how many may come with it (docs/decisions/0037-power-and-supply.md)."""
PICKLES = {
    "cli/order.py": "a copy of what this process has read itself",
    "programs/plan_apart.py": "what a child of this supervisor has read, through a file without a name",
    "programs/plan_reader.py": "the other side of that",
    "supervisor/plans/layering.py": "a copy of what this process has read itself",
}
"""Who may use pickle, on what no stranger has written."""
SPELLED = {"store/postgres/backup.py": "names of tables and columns of our own schema"}
"""Who may put names into SQL, which has no placeholders for them."""
_CODE = {"eval", "exec", "compile", "__import__"}
_MODULES = {"pickle", "_pickle", "cPickle", "dill", "marshal", "shelve"}
_SHELLS = {("os", "system"), ("os", "popen"), ("subprocess", "getoutput"), ("subprocess", "getstatusoutput")}
_SHELLS |= {("asyncio", "create_subprocess_shell"), ("commands", "getoutput")}
_SQL = re.compile(r"\s*(SELECT\s|INSERT\s+INTO|UPDATE\s+\S+\s+SET|DELETE\s+FROM|COPY\s|(ALTER|CREATE|DROP)\s+\w+\s)")


def faults(tree: ast.AST, name: str = "") -> list[str]:
    """Every place where data could become code, SQL or a shell's words."""
    loaders = _own_loaders(tree)
    return [f"line {node.lineno}: {what}" for node in ast.walk(tree) for what in _faults(node, name, loaders)]  # type: ignore[attr-defined]


def _faults(node: ast.AST, name: str, safe: frozenset[str]) -> list[str]:
    found = []
    if isinstance(node, ast.Import | ast.ImportFrom):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        if _MODULES & set(modules) and name not in PICKLES:
            found.append("pickle")
    if isinstance(node, ast.Call):
        called = node.func
        if isinstance(called, ast.Name) and called.id in _CODE:
            found.append(called.id)
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            if (called.value.id, called.attr) in _SHELLS:
                found.append("a shell")
            if called.value.id == "yaml" and not _is_safe_yaml(node, called.attr, safe):
                found.append("YAML that makes objects")
        if any(word.arg == "shell" and getattr(word.value, "value", None) is not False for word in node.keywords):
            found.append("shell=")
    if name not in SPELLED and _is_spelled_sql(node):
        found.append("SQL with values in it")
    return found


def _is_safe_yaml(call: ast.Call, verb: str, safe: frozenset[str]) -> bool:
    if verb not in {"load", "load_all", "unsafe_load", "unsafe_load_all", "full_load", "full_load_all"}:
        return True
    loaders = [*call.args[1:], *(word.value for word in call.keywords if word.arg == "Loader")]
    return verb in {"load", "load_all"} and any(isinstance(one, ast.Name) and one.id in safe for one in loaders)


def _own_loaders(tree: ast.AST) -> frozenset[str]:
    """Classes of a module that are safe loaders, also by way of each other."""
    found: set[str] = set()
    for _ in range(3):
        for node in ast.walk(tree):
            bases = [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
            if any("SafeLoader" in base or base in found for base in bases):
                found.add(node.name)  # type: ignore[attr-defined]
    return frozenset(found)


def _is_spelled_sql(node: ast.AST) -> bool:
    text: ast.AST | None = None
    if isinstance(node, ast.JoinedStr) and any(isinstance(part, ast.FormattedValue) for part in node.values):
        text = node.values[0]
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        text = node.left
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        text = node.func.value
    return isinstance(text, ast.Constant) and isinstance(text.value, str) and _SQL.match(text.value) is not None


def test_no_data_becomes_code() -> None:
    names = {str(path.relative_to(SOURCE)): path for path in MODULES}
    found = {name: faults(ast.parse(path.read_text()), name) for name, path in names.items()}
    assert len(found) > 300
    assert {name: one for name, one in found.items() if one} == {}


@pytest.mark.parametrize("text", [
    "import pickle", "from marshal import loads", "eval(x)", "exec(x)", "os.system(x)", "os.popen(x)",
    "subprocess.run(x, shell=True)", "subprocess.getoutput(x)", "asyncio.create_subprocess_shell(x)",
    "yaml.load(x)", "yaml.load(x, Loader=yaml.Loader)", "yaml.unsafe_load(x)", "yaml.load_all(x, yaml.FullLoader)",
    "c.execute(f'SELECT a FROM b WHERE c = {x}')", "'DELETE FROM b WHERE c = ' + x", "'SELECT %s' % x",
    "'UPDATE a SET b = {}'.format(x)", "f'INSERT INTO a VALUES ({x})'", "f'DROP TABLE {x}'",
])  # fmt: skip
def test_each_of_them_would_be_found(text: str) -> None:
    assert len(faults(ast.parse(text))) == 1


def test_exceptions_are_needed() -> None:
    for name in (*PICKLES, *SPELLED):
        assert faults(ast.parse((SOURCE / name).read_text())), f"{name} needs no exception any more"


# The libraries ----------------------------------------------------------------------------------------------------------


def _script(name: str) -> Any:
    """A program of CI as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sbom, audit = _script("sbom"), _script("audit")


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_library_is_pinned_with_its_hashes_and_no_registry_is_named(path: Path) -> None:
    locked = sbom.locked(path)
    assert locked
    for name, entry in locked.items():
        assert re.match(r"[a-z0-9._-]+(\[[a-z0-9,-]+\])?==\S+", entry), f"{name} is not pinned"
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), f"{name} has no hash"
    assert not re.search(r"^-|://|--(extra-)?index-url|--find-links", path.read_text(), re.MULTILINE)


def test_few_libraries_are_needed_and_all_of_them_are_locked() -> None:
    found = sbom.needed()
    direct = found.pop("millrace")
    assert {"apsw", "msgspec"} <= set(direct)
    assert len(direct) <= DIRECT, f"one more library: raise the bound in the decision, with its reason: {direct}"
    assert len(found) <= ALL, sorted(found)
    assert found.keys() <= sbom.locked().keys()


def test_the_bill_of_materials_lists_what_runs_and_is_the_same_every_time() -> None:
    command = [sys.executable, str(ROOT / ".ci" / "sbom.py")]
    first, second = (subprocess.run(command, capture_output=True, check=True).stdout for _ in range(2))
    assert first == second
    document = json.loads(first)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    by_name = {one["name"]: one for one in document["components"]}
    needed = sbom.needed("otel")
    assert by_name.keys() == needed.keys() - {"millrace"}
    for name, one in by_name.items():
        assert one["version"] == metadata.version(name)
        assert one["externalReferences"][0]["hashes"]
    inside = {part["name"] for one in document["components"] for part in one.get("components", ())}
    assert inside == {"ffmpeg", "openssl", "sqlite"}
    assert {one["ref"] for one in document["dependencies"]} == {
        document["metadata"]["component"]["bom-ref"], *(one["bom-ref"] for one in by_name.values())
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}', 0, "no known flaw; 1 of 1 libraries"),
        (
            '{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}]}',
            1,
            "a 1: CVE-1, mended in 2",
        ),
        ('{"dependencies": [{"name": "a", "skip_reason": "not found"}]}', 3, "AUDIT NOT WHOLE: 0 of 1"),
        ('{"dependencies": []}', 3, "AUDIT NOT WHOLE"),
        ("", 3, "AUDIT NOT RUN: the advisory service could not be asked, so nothing is known (no route)"),
    ],
)
def test_an_audit_that_could_not_be_made_is_never_clean(said: str, code: int, told: str) -> None:
    found, text = audit.judge(said, "trace\nno route\n")
    assert found == code
    assert told in text


def test_the_wheel_is_the_same_bit_for_bit_wherever_and_whenever_it_is_built(tmp_path: Path) -> None:
    wheels = []
    for number, name in enumerate(("first", "a/second")):
        copy = tmp_path / name
        shutil.copytree(SOURCE, copy / "src" / "millrace", ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / file, copy)
        for path in copy.rglob("*.py"):
            os.utime(path, (1e9 + 1000 * number, 1e9 + 1000 * number))
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / f"wheel{number}")],
            cwd=copy, check=True, capture_output=True, umask=0o022 + number * 0o005,
        )  # fmt: skip
        wheels += [path.read_bytes() for path in (tmp_path / f"wheel{number}").glob("*.whl")]
    assert len(wheels) == 2
    assert wheels[0] == wheels[1]
