"""What both the list and the details of a process let one do with it."""

from textual import events
from textual.binding import Binding

from millrace.tui.asking import Confirm, HowMany, Which
from millrace.tui.desk import DeskScreen
from millrace.wire.v1.supervise import ProcessView, ScaleRequest

KEYS = {
    "s": "start", "x": "stop", "r": "restart", "u": "restart", "c": "scale", "plus": "scale", "equals_sign": "scale", "minus": "scale",
    "underscore": "scale", "A": "scale", "R": "reload", "X": "shutdown", "t": "trigger", "p": "pause", "i": "signal", "a": "add",
    "e": "edit", "d": "delete", "S": "save",
}  # fmt: skip
"""What a key would do, for the word with which it is refused."""


_VERBS = {"steer": "", "resize": "scale", "renew": "restart", "follow": "scale"}
"""What an action is called as a power; empty where that is its first parameter."""


class Steering(DeskScreen):
    """A screen on which a process is chosen."""

    BINDINGS = [  # noqa: RUF012  textual's convention
        Binding("l", "log", "Log"),
        Binding("s", "steer('start')", "Start"),
        Binding("x", "steer('stop')", "Stop"),
        Binding("r", "steer('restart')", "Restart"),
        Binding("u", "renew", show=False),
        Binding("plus,equals_sign", "resize(1)", show=False),
        Binding("minus,underscore", "resize(-1)", show=False),
        Binding("c", "scale", "Scale"),
        Binding("A", "follow", show=False),
        Binding("i", "signal", show=False),
        Binding("a", "add", "Add"),
        Binding("e", "edit", show=False),
        Binding("d", "delete", show=False),
        Binding("t", "trigger", "Trigger"),
        Binding("p", "pause", "Pause"),
    ]

    _offered: object = None

    @property
    def target(self) -> ProcessView | None:
        """The process that is chosen."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What would be refused is not offered."""
        process = self.target
        verb = _VERBS.get(action, action) or (str(parameters[0]) if parameters else "")
        if action == "add":
            return verb in self.desk.able.granted
        if action in ("edit", "delete", "signal"):
            return process is not None and verb in self.desk.able.granted
        if action in ("steer", "renew", "resize", "scale", "follow", "trigger", "pause"):
            # A scheduled process has one instance at a time, and nothing else has times.
            fits = process is not None and (process.type == "scheduled") is (action in ("trigger", "pause"))
            return process is not None and verb in self.desk.able.granted and (fits or verb in ("start", "stop"))
        return process is not None if action == "log" else True

    def offer(self) -> None:
        """Have the line at the bottom made anew, where something else is offered now."""
        process = self.target
        offered = (process.type if process is not None else None, self.desk.able)
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    def on_key(self, event: events.Key) -> None:
        """A key that nothing is bound to now: where our key does not open what it does, say so."""
        verb = KEYS.get(event.key)
        if verb is not None and verb in self.desk.able.refused:
            event.stop()
            self.app.notify(f"cannot {verb}: the key in use does not allow it", severity="warning")

    def action_log(self) -> None:
        """Show what it prints."""
        if (process := self.target) is not None:
            self.desk.open_log(process.name)

    def action_steer(self, verb: str) -> None:
        """Start, stop or restart it."""
        if (process := self.target) is None:
            return
        harm = {"stop": "Nothing starts it again by itself.", "restart": "It is down meanwhile."}.get(verb)
        if harm is None or not any(one.pid for one in process.instances):
            self._ask(f"{verb.capitalize()} {process.name}?", process.name, verb, harmless=True)
            return
        count = len(process.instances)
        many = f" ({count} instances)" if count > 1 else ""
        self._ask(f"{verb.capitalize()} {process.name}{many}? {harm}", process.name, verb)

    def action_renew(self) -> None:
        """Replace its instances one after the other."""
        if (process := self.target) is not None:
            question = f"Replace {process.name}, one instance after the other? The first that is not up halts it."
            self._ask(question, process.name, "restart", rolling=True)

    def action_resize(self, step: int) -> None:
        """One instance more or fewer."""
        if (process := self.target) is not None:
            self._scale(process, process.desired + step)

    def action_scale(self) -> None:
        """Ask how many."""
        if (process := self.target) is None:
            return

        def take(count: int | None) -> None:
            if count is not None:
                self._scale(process, count)

        self.app.push_screen(HowMany(process.name, process.desired, process.max_scale), take)

    def action_follow(self) -> None:
        """Let its metric say again how many there are."""
        if (process := self.target) is None:
            return
        if process.autoscale is None:
            self.app.notify(f"cannot let {process.name} follow a metric: its plan has no autoscale", severity="warning")
        elif not process.autoscale.pinned:
            self.app.notify(f"{process.name} follows its metric already")
        else:
            question = f"Let the metric of {process.name} say again how many there are?"
            self._ask(question, process.name, "scale", ScaleRequest(auto=True), harmless=True)

    def action_signal(self) -> None:
        """Ask which signal, and send it."""
        if (process := self.target) is None:
            return

        def take(number: str | None) -> None:
            if number is not None:
                self.desk.signal_to(process.name, number)

        question = f"Which signal for the main process of each instance of {process.name}? (such as HUP or 10)"
        self.app.push_screen(Which(question, "HUP"), take)

    def action_add(self) -> None:
        """Write a new process."""
        self.desk.open_wizard()

    def action_edit(self) -> None:
        """Write another definition of it."""
        if (process := self.target) is not None:
            self.desk.open_wizard(process.name)

    def action_delete(self) -> None:
        """Have it stopped and taken out."""
        if (process := self.target) is None:
            return

        def take(yes: bool | None) -> None:
            if yes:
                self.desk.remove(process.name)

        question = f"Stop {process.name}, and take it out of the plan?\nOnce that is saved, it does not come back with the next start."
        self.app.push_screen(Confirm(question, "delete"), take)

    def action_trigger(self) -> None:
        """Run it now."""
        if (process := self.target) is None:
            return

        def take(yes: bool | None) -> None:
            if yes:
                self.desk.trigger(process.name)

        self.app.push_screen(Confirm(f"Run {process.name} now?", "trigger", harmless=True), take)

    def action_pause(self) -> None:
        """Pass its times over, or heed them again."""
        if (process := self.target) is not None:
            self.desk.turn_schedule(process.name)

    def _scale(self, process: ProcessView, count: int) -> None:
        request = ScaleRequest(desired=count)
        if not 0 <= count <= process.max_scale:
            self.app.notify(
                f"cannot scale {process.name} to {count}: allowed are 0 to {process.max_scale}", severity="warning"
            )
        elif count < process.desired:
            self._ask(f"Scale {process.name} from {process.desired} to {count}?", process.name, "scale", request)
        elif count != process.desired:
            self.desk.steer(process.name, "scale", request)

    def _ask(
        self,
        question: str,
        name: str,
        verb: str,
        request: ScaleRequest | None = None,
        *,
        rolling: bool = False,
        harmless: bool = False,
    ) -> None:
        def take(yes: bool | None) -> None:
            if yes:
                self.desk.steer(name, verb, request, rolling=rolling)

        self.app.push_screen(Confirm(question, "replace" if rolling else verb, harmless=harmless), take)
