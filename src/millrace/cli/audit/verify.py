"""`millrace audit verify`: the chain is checked here, so that nobody needs to believe the master."""

from collections.abc import Iterator

import click

from millrace.cli import show
from millrace.cli.failure import CommandError
from millrace.cli.options import Output, Target, output_option, target_options
from millrace.cli.session import connect
from millrace.client import people
from millrace.client.client import Client
from millrace.domain.chain import Block, Break, Check, Head, unpack

_PAGE = 1000


@click.command()
@click.option(
    "--head", "known", metavar="NUMBER:SEAL", help="A head that was printed before: its block must still stand."
)
@target_options
@output_option
def verify(known: str | None, target: Target, output: Output) -> None:
    """Check that nothing in the audit trail was changed, moved or taken out, and print its head.

    Keep the head outside of the farm: who can write to the database could seal everything anew, which --head finds.
    """
    wanted = None if known is None else _parse(known)
    with connect(target) as client:
        first = client.do(people.audit_chain(after=0, limit=1))
        head = Head(number=first.number, seal=first.seal, oldest=first.oldest)
        check = Check(head)
        blocks = entries = 0
        met = wanted is None or wanted[0] < head.oldest
        for block in _walk(client, head):
            if check.take([block]) is not None:
                break
            blocks += 1
            entries += len(unpack(block.body))
            met = met or (block.number, block.seal) == wanted
    broken = check.end()
    if broken is None and not met and wanted is not None:
        broken = Break(number=wanted[0], why="its seal is not the one that was printed before: the trail was made anew")
    if output is Output.JSON:
        show.json_document({
            "holds": broken is None, "blocks": blocks, "entries": entries, "oldest": head.oldest,
            "head": f"{head.number}:{head.seal.hex()}",
            "broken": None if broken is None else {"block": broken.number, "why": broken.why},
        })  # fmt: skip
    elif broken is None:
        print(f"the audit trail holds: {entries} entries in {blocks} blocks")
        if wanted is not None and wanted[0] < head.oldest:
            print(f"block {wanted[0]} is too old to be kept, so nothing is known of its seal")
        print(f"head {head.number}:{head.seal.hex()}")
    if broken is not None:
        raise CommandError(
            f"the audit trail is broken at block {broken.number}: {broken.why}; what stands before it holds"
        )


def _walk(client: Client, head: Head) -> Iterator[Block]:
    after = head.oldest - 1
    while after < head.number:
        page = client.do(people.audit_chain(after=after, limit=_PAGE)).blocks
        if not page:
            return
        for one in page:
            if one.number > head.number:  # written since
                return
            yield Block(number=one.number, at_ms=one.at_ms, id=one.id, body=one.body, before=one.before, seal=one.seal)
        after = page[-1].number


def _parse(text: str) -> tuple[int, bytes]:
    number, _, seal = text.partition(":")
    try:
        return int(number), bytes.fromhex(seal)
    except ValueError:
        raise click.BadParameter("must be NUMBER:SEAL, as this command prints it", param_hint="--head") from None
