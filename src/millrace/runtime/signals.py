"""How people and init systems ask a program to end: the first signal drains, the second hurries."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopRequest:
    """Two events: `drain` (finish what runs, take nothing new) and `hurry` (hand everything back at once)."""

    def __init__(self) -> None:
        """Nothing asked yet."""
        self.drain = asyncio.Event()
        self.hurry = asyncio.Event()

    def ask(self) -> None:
        """What each signal does; a program may call it too."""
        (self.hurry if self.drain.is_set() else self.drain).set()


@asynccontextmanager
async def stop_signals(on_signal: Callable[[signal.Signals], None] = lambda _: None) -> AsyncIterator[StopRequest]:
    """Listen to SIGTERM, SIGINT and SIGHUP while the block runs. Only in the main thread; `on_signal` is told of each one.

    A signal that is ignored stays so: that is how `nohup` keeps a program when its terminal closes.
    """
    loop = asyncio.get_running_loop()
    request = StopRequest()

    def heard(number: signal.Signals) -> None:
        on_signal(number)
        request.ask()

    heeded = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in heeded:
        loop.add_signal_handler(number, heard, number)
    try:
        yield request
    finally:
        for number in heeded:
            loop.remove_signal_handler(number)
