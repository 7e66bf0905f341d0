"""`twohand verify DIR`: recompute and check a dataset; one line a check, exit 1 if one fails."""

import json
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

from twohand500k.cli import options
from twohand500k.errors import DataError
from twohand500k.hand import load_hands
from twohand500k.select.run import rows_meeting
from twohand500k.select.where import parse_where
from twohand500k.shards import Dataset
from twohand500k.shards.files import INDEX
from twohand500k.shards.verify import FAULTS_LISTED, Finding
from twohand500k.shards.verify import verify as verify_dataset


@click.command(name="verify")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    default=None,
    help="Of an export: the dataset it was made from, to compare with.",
)
@options.hand_model
@options.workers
@options.as_json
@click.pass_context
def verify(
    ctx: click.Context,
    folder: Path,
    against: Path | None,
    hand_model: str,
    workers: int | None,
    as_json: bool,
) -> None:
    """Check the dataset or export in DIR against itself and against the hand model.

    Joints are recomputed from the parameters; hashes, counts, ids, ranges, conventions, splits and
    records are compared. Every fault is named with its file, dataset and row. An export is read
    back, format by format, and compared with what was written.
    """
    findings, is_dataset = _findings(folder, against, hand_model, workers)
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
        if failed and is_dataset:
            click.echo("a damaged shard is made again by the command that `twohand info` names")
    if not all(finding.passed for finding in findings):
        ctx.exit(1)


def _findings(
    folder: Path, against: Path | None, hand_model: str, workers: int | None
) -> tuple[list[Finding], bool]:
    """The checks that fit what lies in the folder, and whether it is a dataset."""
    # Not at the top: most datasets are verified without the libraries of exports.
    from twohand500k.export.verify import is_export, verify_export

    if is_export(folder) and not (folder / INDEX).exists():
        hands = None if against is None else load_hands(hand_model)
        return verify_export(folder, against, hands, _rows), False
    if against is not None:
        raise DataError(f"{folder} is not an export: --against compares an export with its dataset")
    return verify_dataset(folder, load_hands(hand_model), workers=workers), True


def _rows(dataset: Dataset, where: str) -> np.ndarray:
    return rows_meeting(dataset, parse_where(where))
