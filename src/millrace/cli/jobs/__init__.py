"""`millrace jobs`: one file per command."""

import typer

from millrace.cli.jobs.list import list_jobs
from millrace.cli.jobs.logs import logs
from millrace.cli.jobs.show import show
from millrace.cli.jobs.steer import cancel, pause, resume, retry
from millrace.cli.jobs.submit import submit
from millrace.cli.jobs.watch import watch

app = typer.Typer(no_args_is_help=True, help="Submit jobs, look at them, and steer them.")
app.command("submit")(submit)
app.command("list")(list_jobs)
app.command("show")(show)
app.command("logs")(logs)
app.command("watch")(watch)
app.command("cancel")(cancel)
app.command("pause")(pause)
app.command("resume")(resume)
app.command("retry")(retry)
