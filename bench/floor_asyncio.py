"""An asyncio floor for the bench of the supervisor: its own subprocesses, a task for each, nothing else.

Usage as of floor_epoll.py.
"""

import asyncio
import signal
import sys
from contextlib import suppress


async def keep(command: list[str], output: str, going: asyncio.Event) -> None:
    """Keep one running until `going` is set."""
    capture = asyncio.subprocess.PIPE if output != "-" else None
    while not going.is_set():
        process = await asyncio.create_subprocess_exec(*command, start_new_session=True, stdout=capture, limit=1 << 20)
        end = asyncio.create_task(going.wait())
        work = asyncio.create_task(copy(process, output))
        await asyncio.wait((end, work), return_when=asyncio.FIRST_COMPLETED)
        end.cancel()
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
        await work


async def copy(process: asyncio.subprocess.Process, output: str) -> None:
    """Take what it writes, if that is wanted, and wait for its end."""
    if process.stdout is not None:
        with open(output, "ab", buffering=0) as sink:  # noqa: ASYNC230, PTH123  what a floor does
            while piece := await process.stdout.read(1 << 16):
                sink.write(piece)
    await process.wait()


async def main() -> None:
    """Keep all of them."""
    going = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, going.set)
    await asyncio.gather(*(keep(sys.argv[3:], sys.argv[2], going) for _ in range(int(sys.argv[1]))))


asyncio.run(main())
