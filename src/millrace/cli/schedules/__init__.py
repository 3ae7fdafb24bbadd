"""`millrace schedules`: one file per command."""

from millrace.cli.tree import LazyGroup

_HERE = "millrace.cli.schedules"

app = LazyGroup(
    name="schedules",
    help="Have jobs submitted again and again, at times, and see what became of each.",
    commands={
        "add": (f"{_HERE}.add:add", "Submit a job whenever a cron expression comes due."),
        "list": (f"{_HERE}.list:list_schedules", "List schedules, and when each comes due next."),
        "show": (f"{_HERE}.show:show", "Show a schedule with its last runs."),
        "pause": (f"{_HERE}.steer:pause", "Let no time of a schedule come."),
        "resume": (f"{_HERE}.steer:resume", "Let times of a schedule come again, from now on."),
        "trigger": (f"{_HERE}.steer:trigger", "Submit the job of a schedule now."),
        "remove": (f"{_HERE}.steer:remove", "Forget a schedule; its jobs stay."),
    },
)
