"""A program: a random tree of processes that try to get away. Arguments: a word that all carry, a seed, whether some hide.

Prints `up N` when all N of it live. Started with a node as fourth argument it is a part of the tree with nothing of the
environment left.
"""

import ast
import os
import random
import resource
import select
import signal
import sys

DEPTH = 3
WAYS = ("plain", "setsid", "daemon", "deaf", "naked", "closed", "loop")
RLIMIT_LOCKS = 10


def drawn(chance: random.Random, depth: int, hides: bool) -> list:
    """A node: how it gets away, and its children."""
    how = chance.choice((*WAYS, "hidden") if hides else WAYS)
    width = chance.randint(1, 3) if depth and how != "loop" else 0
    return [how, [drawn(chance, depth - 1, hides) for _ in range(width)]]


def count(node: list) -> int:
    return 1 + sum(map(count, node[1]))


def grow(node: list, told: int) -> None:
    """Start the children of a node."""
    for child in node[1]:
        if os.fork() == 0:
            become(child, told)


def become(node: list, told: int) -> None:
    """Be a node, for ever."""
    how = node[0]
    if how in ("setsid", "daemon", "loop", "hidden"):
        os.setsid()
    if how in ("daemon", "hidden") and os.fork():
        os._exit(0)
    if how == "deaf":
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
    if how == "hidden":
        resource.setrlimit(RLIMIT_LOCKS, (7, 7))
    if how in ("naked", "hidden"):
        os.set_inheritable(told, True)
        rest = repr(["plain", node[1]])
        os.execve(sys.executable, [sys.executable, "-I", "-S", __file__, sys.argv[1], str(told), rest], {})
    os.write(told, b".")
    if how == "closed":
        os.closerange(0, 3)
    grow(node, told)
    while how == "loop":  # a new one every moment, whose parent has gone
        select.select([], [], [], 0.01)
        try:
            if os.fork():
                os._exit(0)
            os.setsid()
        except OSError:
            pass
    while True:
        signal.pause()


def main() -> None:
    if len(sys.argv) == 4 and sys.argv[3].startswith("["):
        become(ast.literal_eval(sys.argv[3]), int(sys.argv[2]))
    node = ["plain", drawn(random.Random(int(sys.argv[2])), DEPTH, sys.argv[3] == "hides")[1]]
    if not node[1]:
        node[1] = [["daemon", []], ["loop", []]]
    heard, told = os.pipe()
    if os.fork() == 0:
        become(node, told)
    wanted = count(node)
    left = wanted
    while left:
        left -= len(os.read(heard, left))
    print("up", wanted, flush=True)
    while True:
        signal.pause()


main()
