"""`twohand view DIR…`: walk through datasets in 3D in the browser."""

import contextlib
import threading
import webbrowser
from pathlib import Path

import click

from twohand500k.cli import options
from twohand500k.hand import load_hands


@click.command(name="view")
@click.argument("folders", metavar="DIR…", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535))
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. The default is this machine alone; on a remote one, forward the "
    "port: ssh -L 8080:localhost:8080 MACHINE.",
)
@click.option("--open/--no-open", "open_browser", default=False, help="Open a browser here.")
@click.option("--where", default="", metavar="EXPR", help="Begin with these (see twohand select).")
@click.option("--sample", default="", metavar="ID", help="Begin with this sample, or part of id.")
@options.hand_model
@options.seed
def view(
    folders: tuple[Path, ...],
    port: int,
    host: str,
    open_browser: bool,
    where: str,
    sample: str,
    hand_model: str,
    seed: int,
) -> None:
    """Walk through the samples of datasets in 3D, in the browser, until Ctrl-C.

    Every browser has its own place and its own choices. Needs the extra [view].
    """
    # Not at the top: viser's absence is said before half a million samples are read.
    from twohand500k.view import server
    from twohand500k.view.catalog import Catalog, Query, Walk
    from twohand500k.view.figure import Studio

    server.check(host, port)
    hands = load_hands(hand_model)
    walk = Walk.begin(Catalog.open(folders, hands), Query(where=where))
    if sample:
        walk = walk.jump(sample)
    # Ctrl-C is how one leaves: nothing was interrupted.
    with (
        contextlib.suppress(KeyboardInterrupt),
        server.serving(walk, Studio(hands), host, port, seed),
    ):
        address = f"http://{host}:{port}"
        click.echo(f"{len(walk.found):,} samples at {address} (Ctrl-C ends it)")
        if open_browser:
            webbrowser.open(address)
        threading.Event().wait()
    click.echo("ended")
