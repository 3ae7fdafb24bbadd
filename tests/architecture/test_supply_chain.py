"""What Millrace is made of: pinned by hash, few, and without the calls that turn data into code."""

import ast
import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import millrace

SOURCE = Path(millrace.__file__).parent
ROOT = SOURCE.parent.parent
MODULES = sorted(SOURCE.rglob("*.py"))
LOCKS = sorted([ROOT / "requirements.txt", ROOT / "bench" / "supervisors.txt", *ROOT.glob("tests/*/requirements.txt")])
DIRECT, ALL = 16, 40
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
    return [f"line {node.lineno}: {what}" for node in ast.walk(tree) for what in _faults(node, name)]  # type: ignore[attr-defined]


def _faults(node: ast.AST, name: str) -> list[str]:
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
            if called.value.id == "yaml" and not _is_safe_yaml(node, called.attr):
                found.append("YAML that makes objects")
        if any(word.arg == "shell" and getattr(word.value, "value", None) is not False for word in node.keywords):
            found.append("shell=")
    if name not in SPELLED and _is_spelled_sql(node):
        found.append("SQL with values in it")
    return found


def _is_safe_yaml(call: ast.Call, verb: str) -> bool:
    if verb not in {"load", "load_all", "unsafe_load", "unsafe_load_all", "full_load", "full_load_all"}:
        return True
    loaders = [*call.args[1:], *(word.value for word in call.keywords if word.arg == "Loader")]
    return verb in {"load", "load_all"} and any(
        isinstance(one, ast.Name) and one.id in _own_loaders() for one in loaders
    )


def _own_loaders() -> set[str]:
    """Classes of ours that are safe loaders."""
    return {
        node.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and any("SafeLoader" in ast.unparse(base) for base in node.bases)
    }


def _is_spelled_sql(node: ast.AST) -> bool:
    text: ast.AST | None = None
    if isinstance(node, ast.JoinedStr) and any(isinstance(part, ast.FormattedValue) for part in node.values):
        text = node.values[0]
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        text = node.left
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        text = node.func.value
    return isinstance(text, ast.Constant) and isinstance(text.value, str) and _SQL.match(text.value) is not None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_data_becomes_code(path: Path) -> None:
    assert faults(ast.parse(path.read_text()), str(path.relative_to(SOURCE))) == []


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


def _locked(path: Path) -> dict[str, str]:
    """Each requirement of a lock file with all that stands to it."""
    entries = re.split(r"^(?=[a-z0-9])", path.read_text(), flags=re.MULTILINE)[1:]
    return {re.split(r"[=\[ ]", entry, maxsplit=1)[0]: entry for entry in entries}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_library_is_pinned_with_its_hashes_and_no_registry_is_named(path: Path) -> None:
    locked = _locked(path)
    assert locked
    for name, entry in locked.items():
        assert re.match(r"[a-z0-9._-]+(\[[a-z0-9,-]+\])?==\S+", entry), f"{name} is not pinned"
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), f"{name} has no hash"
    assert not re.search(r"^-|://|--(extra-)?index-url|--find-links", path.read_text(), re.MULTILINE)


def _needed() -> tuple[set[str], set[str]]:
    """The libraries that Millrace asks for, and those with all that they ask for, here."""
    direct, found = set[str](), set[str]()
    todo = [("millrace", frozenset[str]())]
    while todo:
        name, extras = todo.pop()
        for text in metadata.requires(name) or ():
            one = Requirement(text)
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in (extras or {""})):
                library = one.name.lower().replace("_", "-")
                if name == "millrace":
                    direct.add(library)
                if library not in found:
                    found.add(library)
                    todo.append((one.name, frozenset(one.extras)))
    return direct, found


def test_few_libraries_are_needed_and_all_of_them_are_locked() -> None:
    direct, found = _needed()
    assert {"apsw", "msgspec"} <= direct
    assert len(direct) <= DIRECT, (
        f"one more library: raise the bound in the decision, with its reason: {sorted(direct)}"
    )
    assert len(found) <= ALL, sorted(found)
    assert found <= _locked(ROOT / "requirements.txt").keys()
