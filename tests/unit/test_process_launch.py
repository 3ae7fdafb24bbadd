import resource
import sys
from pathlib import Path

import pytest

from millrace.process.launch import Tools, command_line, find_program
from millrace.process.values import CannotStart, Limits, Spec

ALL = Tools(setpriv="/t/setpriv", prlimit="/t/prlimit", nice="/t/nice", choom="/t/choom")
FREE = Limits(core_bytes=None)


def test_only_what_is_asked_for_stands_before_the_program(tmp_path):
    def line(**more):
        return command_line("/p", Spec(argv=("p", "-x"), cwd=tmp_path, **more), ALL, parent_pid=7)

    assert line(limits=FREE) == ["/t/setpriv", "--pdeathsig", "KILL", "--", "/p", "-x"]
    assert line(limits=Limits(open_files=64, core_bytes=None), nice=5) == [
        *("/t/setpriv", "--pdeathsig", "KILL", "--", "/t/prlimit", "--nofile=64", "--"),
        *("/t/nice", "-n", "5", "--", "/p", "-x"),
    ]


@pytest.mark.parametrize("missing", ["setpriv", "prlimit", "nice"])
def test_where_a_tool_is_missing_our_own_does_everything(tmp_path, missing):
    tools = Tools(**{"setpriv": "/t/s", "prlimit": "/t/p", "nice": "/t/n", missing: None})
    spec = Spec(argv=("p", "-x"), cwd=tmp_path, nice=5, limits=Limits(open_files=64, core_bytes=None))
    command = command_line("/p", spec, tools, parent_pid=7)
    assert command[0] == sys.executable
    assert command[-7:] == ["7", "5", f"{resource.RLIMIT_NOFILE}=64", "", "", "/p", "-x"]


def test_a_limit_is_never_asked_above_our_own(tmp_path):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    spec = Spec(argv=("p",), cwd=tmp_path, limits=Limits(open_files=hard + 5, core_bytes=None))
    asked = [int(word.partition("=")[2]) for word in command_line("/p", spec, ALL, parent_pid=7) if "--nofile=" in word]
    assert all(value <= hard for value in asked)


def test_programs_are_found_in_the_path_of_the_child(tmp_path):
    program = tmp_path / "tool"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_program(Spec(argv=("tool",), cwd=Path("/"), env={"PATH": str(tmp_path)})) == str(program)
    assert find_program(Spec(argv=("./tool",), cwd=tmp_path)) == str(program)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ((), "argument list is empty"),
        (("no-such-program",), "no such program in PATH"),
        (("./absent",), "no such file"),
        (("./plain",), "no permission to execute"),
        (("./folder",), "it is a folder"),
    ],
)
def test_what_cannot_start_says_why(tmp_path, argv, says):
    (tmp_path / "plain").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CannotStart, match=f"^cannot start .*{says}"):
        find_program(Spec(argv=argv, cwd=tmp_path))


def test_a_missing_working_directory_is_named(tmp_path):
    with pytest.raises(CannotStart, match=r"working directory .*gone does not exist"):
        find_program(Spec(argv=("/bin/true",), cwd=tmp_path / "gone"))
