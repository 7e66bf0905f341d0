"""`twohand`: the top group. Finds each command's module only when it is called for.

Exit status: 0 good, 1 the data failed (`DataError`, one line on stderr), 2 misuse, 130 Ctrl-C.
"""

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from twohand500k import __version__
from twohand500k.errors import DataError

COMMANDS = {
    "make": "The whole dataset from one recipe, stage after stage.",
    "build": "Read recordings, fit MANO, verify, write HDF5 shards.",
    "splice": "Put single hands together so that they touch.",
    "physics-fix": "Move overlapping hands apart, judged before and after.",
    "select": "Filter, subset and merge datasets.",
    "report": "A page of pictures and numbers about datasets.",
    "view": "Walk through a dataset in 3D in the browser.",
    "export": "Write a dataset as Parquet, NPZ, JSON or meshes, with its card.",
    "audit": "Gates and judge on anybody's two-hand data.",
    "verify": "Recompute and check a dataset sample by sample.",
    "info": "What a dataset holds; without DIR, what this installation can read.",
    "hand": "Show, convert and render hand models.",
    "train-prior": "Train the interaction prior on datasets.",
    "sample": "A dataset drawn from a trained prior.",
    "render": "Pictures of a dataset's hands, drawn or photographed, to train on.",
    "train-recon": "Train the network from an image to the prior.",
    "reconstruct": "Two hands out of a picture, with a trained network.",
    "evaluate": "How good a trained prior or image network is: errors, pictures.",
    "demo": "The main job in a minute or two, on a take the toolkit makes itself.",
}


class _LazyGroup(click.Group):
    """Imports `twohand500k.cli.NAME` when NAME is invoked, so that `twohand --help` is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        return getattr(importlib.import_module(f"twohand500k.cli.{name}"), name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="twohand")
def twohand() -> None:
    """Build Two-hand 500K: plausible poses of two closely interacting hands, in HDF5 shards."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    try:
        _run(argv)
    except SystemExit as end:
        if "TORCHELASTIC_RUN_ID" in os.environ:
            _leave_at_once(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise


def _leave_at_once(status: int) -> NoReturn:
    """End a process of `torchrun` without taking the interpreter apart.

    Threads of gloo outlive the group they served. One that lets go of a Python object while the
    interpreter goes down aborts the process, with all its work done ("terminate called without an
    active exception"), and torchrun then stops the others.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _run(argv: Sequence[str] | None) -> NoReturn:
    try:
        status = twohand.main(args=argv, prog_name="twohand", standalone_mode=False)
    except click.exceptions.Abort as abort:
        # Ctrl-C in a run carries what was done and the command that goes on.
        said = str(abort.__cause__ or abort.__context__ or "") or "interrupted"
        click.echo(f"twohand: {said}", err=True)
        sys.exit(130)
    except click.ClickException as misuse:
        misuse.show()
        sys.exit(misuse.exit_code)
    except DataError as fault:
        click.echo(f"twohand: {fault}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)
