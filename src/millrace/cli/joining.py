"""What `millrace worker` does before it is a worker: join, with what may go wrong as sentences."""

from millrace.cli.failure import CommandError
from millrace.cli.run import EXPECTED, code_of, sentence_of
from millrace.config.settings import WorkerSettings
from millrace.programs.machine import Machine, find_or_join


def joined(settings: WorkerSettings) -> Machine | None:
    """The machine with a key of its own; None where it has none.

    Raises:
        CommandError: it cannot join.
    """
    try:
        return find_or_join(settings)
    except EXPECTED as error:
        raise CommandError(sentence_of(error), code=code_of(error)) from error
