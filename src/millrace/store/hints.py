"""Who wants to be woken, and waking them."""

from collections.abc import Callable, Iterable

from millrace.store.store import Hint, Listener


class Listeners:
    """The listeners of one store, called on the event loop."""

    def __init__(self) -> None:
        self._listeners: dict[object, Listener] = {}

    def add(self, listener: Listener) -> Callable[[], None]:
        """Call it from now on; returns the way to stop it, which may be used twice."""
        token = object()
        self._listeners[token] = listener

        def stop() -> None:
            self._listeners.pop(token, None)

        return stop

    def tell(self, changed: bool, queued: Iterable[int]) -> None:
        """Pass on that transitions were added, and that tasks of these classes became runnable."""
        hints: list[tuple[Hint, int | None]] = [(Hint.QUEUED, class_id) for class_id in sorted(queued)]
        if changed:
            hints.append((Hint.CHANGED, None))
        for listener in tuple(self._listeners.values()):
            for hint, class_id in hints:
                listener(hint, class_id)
