"""`millrace ctl`: one file per command."""

from millrace.cli.tree import LazyGroup

_HERE = "millrace.cli.ctl"

app = LazyGroup(
    name="ctl",
    help="Look at the processes of a running supervisor, and steer them.",
    commands={
        "status": (f"{_HERE}.status:status", "Show the processes: state, pid, uptime, and why."),
        "tui": (f"{_HERE}.tui:tui", "Watch and steer the processes on the whole terminal."),
        "start": (f"{_HERE}.steer:start", "Start processes, also those that were given up."),
        "stop": (f"{_HERE}.steer:stop", "Stop processes."),
        "restart": (f"{_HERE}.steer:restart", "Stop processes and start them again."),
        "scale": (f"{_HERE}.steer:scale", "Have so many instances of a process."),
        "signal": (f"{_HERE}.signal:signal", "Send a signal to the main process of each instance."),
        "trigger": (f"{_HERE}.trigger:trigger", "Run a scheduled process now."),
        "schedule": (
            f"{_HERE}.schedule:app",
            "Look at the times of scheduled processes, pause and resume them, stop a run.",
        ),
        "history": (f"{_HERE}.history:history", "Show the last runs that ended."),
        "hooks": (f"{_HERE}.hooks:hooks", "Show the last hooks that ran."),
        "plan": (f"{_HERE}.plan:plan", "Print the plan in force, or a process as it is written, without secrets."),
        "add": (f"{_HERE}.change:add", "Add a process."),
        "set": (f"{_HERE}.change:set_", "Put another definition in the place of a process's own."),
        "remove": (f"{_HERE}.change:remove", "Stop processes and take them out."),
        "changes": (f"{_HERE}.changes:changes", "Show what was added, changed and removed, and whether it is saved."),
        "save": (f"{_HERE}.changes:save", "Save what was added, changed and removed, beside the plan."),
        "reload": (f"{_HERE}.reload:reload", "Read the plan again, and keep what it says now."),
        "logs": (f"{_HERE}.logs:logs", "Print the last lines of a process."),
        "events": (f"{_HERE}.events:events", "Print every change as it comes."),
        "audit": (f"{_HERE}.audit:audit", "Show who changed what."),
        "shutdown": (f"{_HERE}.shutdown:shutdown", "Stop everything in order, and end the supervisor."),
    },
)
