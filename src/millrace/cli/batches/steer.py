"""`millrace batches cancel` and `retry`: one shape, two verbs."""

import sys
from typing import Literal

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, batch_argument, output_option, target_options
from millrace.cli.session import connect
from millrace.client import many


def _steer(batch: str, verb: Literal["cancel", "retry"], target: Target, output: Output, sentence: str) -> int:
    changed: list[int] = []
    passed_over: dict[str, str] = {}
    cursor: str | None = None
    with connect(target) as client:
        while True:
            page = client.do(many.steer_batch(batch, verb, after=cursor))
            changed += page.changed
            passed_over |= page.passed_over
            if page.next is None:
                break
            cursor = page.next
    if output is Output.JSON:
        show.json_document({"changed": changed, "passed_over": passed_over})
    else:
        print(sentence.format(count=len(changed)))
        for why in passed_over.values():
            sys.stderr.write(f"{why}\n")
    return 1 if passed_over else 0


@click.command()
@batch_argument
@target_options
@output_option
def cancel(batch: str, target: Target, output: Output) -> int:
    """End the jobs of a batch that have not ended; those that have stay as they are."""
    return _steer(batch, "cancel", target, output, "{count} jobs are canceled")


@click.command()
@batch_argument
@target_options
@output_option
def retry(batch: str, target: Target, output: Output) -> int:
    """Run the jobs of a batch again that failed, were canceled or rejected; their history stays."""
    return _steer(batch, "retry", target, output, "{count} jobs run again")
