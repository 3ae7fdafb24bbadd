"""Whoever hears what a keeper says."""

from collections.abc import Sequence

from millrace.supervisor.happenings import Happening
from millrace.supervisor.logs.entry import Entry
from millrace.supervisor.plan import Plan
from millrace.supervisor.state import Id, Instance, Reloaded, Rescaled, Rolled


class Listener:
    """Hears everything, and makes nothing of it: for what one is interested in, there is a method to replace."""

    def changed(self, each: Id, instance: Instance | None) -> None:
        """An instance has changed, or (None) was scaled away."""

    def happened(self, one: Happening) -> None:
        """Something is over."""

    def adopted(self, plan: Plan) -> None:
        """Another plan is in force."""

    def told(self, news: Reloaded | Rolled | Rescaled) -> None:
        """A change that takes its time has begun, or this became of it."""

    def printed(self, each: Id, entries: Sequence[Entry]) -> None:
        """An instance has printed lines."""
