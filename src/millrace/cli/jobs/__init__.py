"""`millrace jobs`: one file per command."""

from millrace.cli.tree import LazyGroup

_HERE = "millrace.cli.jobs"

app = LazyGroup(
    name="jobs",
    help="Submit jobs, look at them, and steer them.",
    commands={
        "submit": (f"{_HERE}.submit:submit", "Submit a job and print what became of it."),
        "send": (f"{_HERE}.send:send", "Send the rest of the film of a job whose upload broke off."),
        "list": (f"{_HERE}.list:list_jobs", "List jobs, newest first."),
        "dead": (f"{_HERE}.dead:dead", "List jobs that failed for good although another attempt might have worked."),
        "show": (f"{_HERE}.show:show", "Show a job: state, progress, attempts, outputs, and why it failed."),
        "explain": (f"{_HERE}.explain:explain", "Say why a job is encoded as it is, or why it waits."),
        "logs": (f"{_HERE}.logs:logs", "Print the engine's log of a job."),
        "watch": (f"{_HERE}.watch:watch", "Follow a job to its end."),
        "cancel": (f"{_HERE}.steer:cancel", "End a job."),
        "pause": (f"{_HERE}.steer:pause", "Hold a job."),
        "resume": (f"{_HERE}.steer:resume", "Let a paused job go on."),
        "retry": (f"{_HERE}.steer:retry", "Run a failed, canceled or rejected job again, or all that are dead."),
    },
)
