"""A program: N short children, each of which leaves an orphan behind, while orphans are collected. Prints what was seen.

Arguments: how many children, and `signals` for one more killed by each signal. Output: one JSON object; `wrong` are exit codes that were not exact, `collected` the orphans,
`oldest_s` how long a zombie that nobody waits for was seen at most.
"""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

from millrace.process.child import Child
from millrace.process.look import processes
from millrace.process.orphans import Orphans
from millrace.process.own import claimed
from millrace.process.signals import inherit_nothing
from millrace.process.values import Batch, Spec
from millrace.runtime.clock import SystemClock

AT_ONCE = 8


DEADLY = sorted(
    signal.valid_signals()
    - {
        signal.SIGSTOP,
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGCONT,
        signal.SIGCHLD,
        signal.SIGURG,
        signal.SIGWINCH,
    }
)


async def main(count: int, signals: list[int]) -> None:
    clock = SystemClock()
    orphans = Orphans(clock)
    orphans.start()
    wrong: list[tuple[int, str]] = []
    numbers = iter(range(count))
    seen: dict[tuple[int, int], float] = {}
    oldest_s = 0.0

    async def work() -> None:
        for number in numbers:
            code = number % 256
            spec = Spec(argv=("/bin/sh", "-c", f"(exit 77 & exit 78 &) ; exit {code}"), cwd=Path("/"))
            end = await (await Child.start(spec, clock=clock)).wait()
            if end.code != code:
                wrong.append((code, str(end)))

    async def watch() -> None:
        nonlocal oldest_s
        while True:
            now, own = time.monotonic(), os.getpid()
            zombies = {p.key for p in processes() if p.parent == own and not p.alive and not claimed(p.pid)}
            for gone in seen.keys() - zombies:
                oldest_s = max(oldest_s, now - seen.pop(gone))
            for key in zombies:
                seen.setdefault(key, now)
            await asyncio.sleep(0.1)

    async def slow() -> None:
        """One that has long ended when it is collected: somebody of its tree does not, until the grace is over."""
        said = asyncio.Event()

        async def sink(_: Batch) -> None:
            said.set()

        deaf = "(trap '' TERM; while :; do sleep 1; done) &"
        line = f"{deaf} trap 'exit 5' TERM; echo up; while :; do sleep 0.01; done"
        child = await Child.start(Spec(argv=("/bin/sh", "-c", line), cwd=Path("/")), clock=clock, sink=sink)
        await said.wait()
        end = await child.stop(1.0)
        if end.code != 5:
            wrong.append((5, str(end)))

    async def killed() -> None:
        for number in signals:
            line = f"(exit 77 & exit 78 &) ; kill -{int(number)} $$; sleep 600"
            end = await (await Child.start(Spec(argv=("/bin/sh", "-c", line), cwd=Path("/")), clock=clock)).wait()
            if end.signal != number:
                wrong.append((number, str(end)))

    watching = asyncio.create_task(watch())
    await asyncio.gather(slow(), killed(), *(work() for _ in range(AT_ONCE)))
    while any(p.parent == os.getpid() for p in processes()):
        await asyncio.sleep(0.05)
    watching.cancel()
    await orphans.stop()
    print(json.dumps({"wrong": wrong, "collected": orphans.collected, "oldest_s": round(oldest_s, 3)}))


inherit_nothing()  # whoever started the tests may ignore signals, as nohup does
asyncio.run(main(int(sys.argv[1]), DEADLY if "signals" in sys.argv else []))
