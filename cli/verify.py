"""`twohand verify DIR`: recompute and check a dataset; one line a check, exit 1 if one fails."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from twohand500k.cli import options
from twohand500k.hand import load_hands
from twohand500k.shards.verify import FAULTS_LISTED
from twohand500k.shards.verify import verify as verify_dataset


@click.command(name="verify")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@options.hand_model
@options.workers
@options.as_json
@click.pass_context
def verify(
    ctx: click.Context, folder: Path, hand_model: str, workers: int | None, as_json: bool
) -> None:
    """Check the dataset in DIR against itself and against the hand model.

    Joints are recomputed from the parameters; hashes, counts, ids, ranges, conventions, splits and
    records are compared. Every fault is named with its file, dataset and row.
    """
    findings = verify_dataset(folder, load_hands(hand_model), workers=workers)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            click.echo(
                f"{'ok' if finding.passed else 'FAIL':4}  {finding.check:11}  {finding.summary}"
            )
            for fault in finding.faults:
                click.echo(f"        {fault}")
            if finding.n_faults > FAULTS_LISTED:
                click.echo(f"        … and {finding.n_faults - FAULTS_LISTED:,} more")
        failed = [finding.check for finding in findings if not finding.passed]
        click.echo(
            f"{folder}: " + (f"FAILED: {', '.join(failed)}" if failed else "every check passed")
        )
        if failed:
            click.echo("a damaged shard is made again by the command that `twohand info` names")
    if not all(finding.passed for finding in findings):
        ctx.exit(1)
