"""The viewer's server: viser, one `Session` a browser.

In: a walk through a catalog, a host and a port. Out: a running server, stopped by leaving the
context. viser is imported here alone, when a server is asked for.
"""

import contextlib
import io
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np

from twohand500k.errors import DataError
from twohand500k.view.catalog import Walk
from twohand500k.view.figure import Studio
from twohand500k.view.session import Session


@contextlib.contextmanager
def serving(walk: Walk, studio: Studio, host: str, port: int, seed: int = 0) -> Iterator[Any]:
    """A viser server on http://host:port, each of whose clients begins at `walk`.

    Raises DataError if viser is not installed, or the address is taken or not ours.
    """
    viser = check(host, port)
    # viser prints a panel of its own; the command says where the server is.
    with contextlib.redirect_stdout(io.StringIO()):
        server = viser.ViserServer(host=host, port=port, verbose=False)
    sessions: dict[int, Session] = {}

    def connected(client: Any) -> None:
        rng = np.random.default_rng((seed, client.client_id))
        sessions[client.client_id] = Session(client, walk, studio, rng)

    def left(client: Any) -> None:
        session = sessions.pop(client.client_id, None)
        if session is not None:
            session.close()

    server.on_client_connect(connected)
    server.on_client_disconnect(left)
    try:
        yield server
    finally:
        for session in list(sessions.values()):
            session.close()
        with contextlib.redirect_stdout(io.StringIO()):
            server.stop()


def check(host: str, port: int) -> Any:
    """The viser module, if it is there and the address can be served on. Raises as `serving`."""
    try:
        import viser
    except ImportError as error:
        raise DataError(
            "the viewer needs viser, which is not installed: pip install 'twohand500k[view]'"
        ) from error
    _check_free(host, port)
    return viser


def _check_free(host: str, port: int) -> None:
    """viser takes the next port without a word where one is taken; we say so instead."""
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise DataError(
            f"cannot serve on {host}:{port} ({error.strerror or error}): another program listens "
            "there, or the address is not this machine's; try --port N"
        ) from error
