"""Server-sent events: the parser (WHATWG HTML, section 9.2.6), and the farm's stream of transitions with resumption."""

import asyncio
from collections.abc import Container, Iterable, Iterator

import msgspec
from msgspec import Struct

from millrace.client.async_client import AsyncClient
from millrace.client.calls import Answer, Call
from millrace.client.client import Client
from millrace.client.errors import ClientError, InterruptedTransferError
from millrace.runtime.backoff import Backoff
from millrace.wire.v1.jobs import TransitionView

SILENCE_S = 60.0
"""A stream without even a comment for that long is taken for dead; masters send one more often."""
_BACKOFF = Backoff(base_s=0.2, cap_s=5.0)
_TRANSITION = msgspec.json.Decoder(TransitionView)


class Event(Struct, frozen=True, kw_only=True):
    """One event as it was sent."""

    id: str
    name: str
    data: str


class Parser:
    """Events from lines without their line ends. An event is whole only once its empty line has come."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._identity, self._name = "", "message"
        self._data: list[str] = []

    def feed(self, line: str) -> Event | None:
        """The event that this line ends, if it ends one."""
        if line == "":
            found = Event(id=self._identity, name=self._name, data="\n".join(self._data)) if self._data else None
            self._name, self._data = "message", []
            return found
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif field == "id" and "\0" not in value:
            self._identity = value
        return None


def parse(lines: Iterable[str]) -> Iterator[Event]:
    """The events in lines."""
    parser = Parser()
    return (event for line in lines if (event := parser.feed(line)) is not None)


def transitions(
    client: Client, *, after: str | None = None, job: str | None = None, resume: bool = True
) -> Iterator[TransitionView]:
    """Every transition after a cursor, of all jobs or of one, without end; a broken stream is taken up where it broke.

    Raises:
        ClientError: the stream was refused, or no master answered for as long as the client's patience.
        InterruptedTransferError: it broke and `resume` is False.
    """
    failures = 0
    while True:
        query = tuple((key, value) for key, value in (("after", after), ("job", job)) if value is not None)
        call = Call(method="GET", path="/v1/events", read=_nothing, query=query, silence_s=SILENCE_S)
        try:
            with client.stream(call) as response:
                for event in parse(response.iter_lines()):
                    failures = 0
                    after = event.id or after
                    if event.name == "transition":
                        yield _TRANSITION.decode(event.data)
        except InterruptedTransferError:
            if not resume:
                raise
        failures += 1
        client.pause(_BACKOFF.ceiling_s(failures))


async def listen(client: AsyncClient, job: str, news: asyncio.Event, *, of: Container[str] | None = None) -> None:
    """Set `news` whenever a job has come into a state (`of`: one of these states), for as long as the stream lasts.

    Who waits for `news` should look by itself now and then: a stream that breaks ends this without a word.
    """
    call = Call(method="GET", path="/v1/events", read=_nothing, query=(("job", job),), silence_s=SILENCE_S)
    try:
        async with client.stream(call) as response:
            parser = Parser()
            async for line in response.aiter_lines():
                event = parser.feed(line)
                if event is None or event.name != "transition":
                    continue
                if of is None or _TRANSITION.decode(event.data).target in of:
                    news.set()
    except ClientError:
        return


def _nothing(_: Answer) -> None:
    return None
