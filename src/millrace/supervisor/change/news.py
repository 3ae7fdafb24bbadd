"""What the log says of changes that take their time."""

from millrace.supervisor.change.reloads import Outcome
from millrace.supervisor.state import Reloaded, Rescaled, Rolled
from millrace.telemetry.logs import logger

log = logger("supervisor")
_WELL = (Outcome.PENDING, Outcome.APPLIED)


def log_news(news: Reloaded | Rolled | Rescaled) -> None:
    """Write it down; what went wrong as a warning."""
    match news:
        case Reloaded():
            found = news.reload.difference
            tell = log.info if news.reload.outcome in _WELL else log.warning
            changed = {
                "added": list(found.added), "removed": list(found.removed), "changed": [one.name for one in found.changed]
            }  # fmt: skip
            tell(
                "supervisor.reload", reload=news.reload.number, outcome=news.reload.outcome.value, why=news.reload.why,
                **(changed if news.reload.outcome is Outcome.PENDING else {}),
            )  # fmt: skip
        case Rolled() if news.halted:
            log.warning("supervisor.roll_halted", process=news.process, why=news.halted)
        case Rolled():
            log.info("supervisor.rolled", process=news.process)
        case Rescaled():
            log.info("supervisor.rescaled", process=news.process, before=news.before, now=news.now, why=news.why)
