"""`millrace ctl events`."""

import sys
from datetime import datetime

import click
import msgspec

from millrace.cli.ctl.session import Control, control_options, supervisor
from millrace.cli.options import Output, output_option
from millrace.client import supervise
from millrace.client.news_words import reload_sentence, rescale_sentence, roll_sentence
from millrace.wire.v1.supervise import ChangeView, ReloadView, RescaleView, RollView


@click.command()
@control_options
@output_option
def events(control: Control, output: Output) -> None:
    """Print every change as it comes, until the supervisor ends. As JSON, one document a line."""
    with supervisor(control) as client:
        for change in supervise.changes(client):
            if change is None:
                sys.stderr.write("millrace: changes are missing here; `millrace ctl status` shows how it is now\n")
                continue
            text = msgspec.json.encode(change).decode() if output is Output.JSON else _text(change)
            sys.stdout.write(text + "\n")
            sys.stdout.flush()


def _text(news: supervise.News) -> str:
    """One line; a change of the plan has no time of its own, and comes when it is told."""
    if isinstance(news, ReloadView):
        return f"{datetime.now().astimezone():%H:%M:%S}  {reload_sentence(news)}"
    at = news.at.astimezone().strftime("%H:%M:%S")
    if isinstance(news, RollView):
        return f"{at}  {news.process}  {roll_sentence(news)}"
    if isinstance(news, RescaleView):
        return f"{at}  {news.process}  {rescale_sentence(news)}"
    return _change_text(at, news)


def _change_text(at: str, change: ChangeView) -> str:
    if change.now is None:
        return f"{at}  {change.instance}  was scaled away"
    ready = ", ready" if change.now.ready else ""
    reason = f": {change.now.reason}" if change.now.reason else ""
    return f"{at}  {change.instance}  {change.now.state}{ready}{reason}"
