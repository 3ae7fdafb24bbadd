"""Signals that come at the worst moment: the event loop waits already, and is not interrupted."""

import asyncio
import selectors
import signal
import threading

import pytest

from millrace.programs.supervise_signals import Signals
from millrace.supervisor.plan_document import plan_from

PATIENCE_S = 30.0


class Waiting(selectors.DefaultSelector):  # type: ignore[misc, valid-type]  one of several, by system
    """Tells when the loop is about to wait for long: who hears of it runs once the loop has let go of the interpreter."""

    def __init__(self) -> None:
        super().__init__()
        self.begins = threading.Event()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > PATIENCE_S / 2:
            self.begins.set()
        return super().select(timeout)  # type: ignore[no-any-return]  see above


@pytest.mark.parametrize("word", ["TERM", "HUP", "USR1"])
def test_a_signal_that_does_not_interrupt_the_wait_is_heeded_all_the_same(word: str) -> None:
    number = signal.Signals[f"SIG{word}"]
    plan = plan_from("processes: {web: {command: [web], forward_signals: [USR1]}}", {})

    waiting = Waiting()

    def send() -> None:
        # Given to another thread, it leaves the one that waits alone, as one does that comes just before the wait.
        waiting.begins.wait()
        signal.pthread_kill(threading.get_ident(), number)

    async def body() -> None:
        heeded = asyncio.Event()
        signals = Signals(end=heeded.set, pass_on=lambda _: heeded.set(), reload=heeded.set, terminal=False)
        signals.heed(plan)
        with signals:
            sender = threading.Thread(target=send)
            sender.start()
            waiting.begins.clear()
            async with asyncio.timeout(PATIENCE_S):
                await heeded.wait()
            sender.join()

    before = {one: signal.getsignal(one) for one in signal.valid_signals()}
    try:
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(waiting)) as runner:
            runner.run(body())
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        for one, handler in before.items():
            if handler is not None and one not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(one, handler)
