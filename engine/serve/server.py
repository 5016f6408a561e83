"""The command `serve`: a run behind a socket, until Ctrl-C or SIGTERM."""

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
from pathlib import Path

from engine.devices import choose
from engine.errors import RequestError
from engine.errors import tell as say
from engine.job import extras
from engine.job.host import compute_on
from engine.loaded import load
from engine.request import Request

_SECONDS = 10  # that answers under way are waited for at the end
_MOST_AT_ONCE = 512  # connections


def run(
    request: Request, checkpoint: str, host: str, port: int, rate: int, best_of: int = 0
) -> None:
    """Print the address once it answers, and serve until a signal; answers under way are sent.
    Raises RequestError for an address that can't be had, and where the packages aren't installed.
    """
    extras.need("serve", "serve", "starlette", "uvicorn")
    if rate < 1:
        raise RequestError(f"--request_rate {rate}: type 1 or more.")
    with _bound(host, port) as listening:
        from engine.serve import app
        from engine.serve.model import Model

        place = request.place
        compute_on(choose.choose(place.device).device, place.compile_cache)
        model = Model(load(Path(place.run_dir), request.config, checkpoint, best_of))
        model.compile()
        found = listening.getsockname()
        shown = f"[{found[0]}]" if ":" in found[0] else found[0]
        own = ipaddress.ip_address(found[0].partition("%")[0]).is_loopback
        if not own:
            say(f"{host} is open to whoever reaches this machine: there is no password")
        hosts = ["localhost", "127.0.0.1", "[::1]", host] if own else ["*"]
        say(f"{model.run!r}")
        asyncio.run(_serve(app.of(model, rate, hosts), listening,
                           f"serving at http://{shown}:{found[1]} (Ctrl-C ends it)"))
    say("served; ended as asked")


def _bound(host: str, port: int) -> socket.socket:
    """Listening there, so that a taken port is told before a model is loaded."""
    if not 0 <= port < 1 << 16:
        raise RequestError(f"--port {port}: type 0 to {(1 << 16) - 1}.")
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        made = socket.socket(family, kind, number)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(address)
            made.listen(1024)
        except OSError:
            made.close()
            raise
        return made
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"--host {host} --port {port}: {reason}; type another, or --port 0 for "
                           "a free one.") from None


async def _serve(application: object, listening: socket.socket, told: str) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        def capture_signals(self):  # they are the loop's, below
            return contextlib.nullcontext()

        async def startup(self, sockets=None):
            await super().startup(sockets)
            print(told, flush=True)

    server = Server(uvicorn.Config(
        application, log_level="error", access_log=False, server_header=False,  # type: ignore[arg-type]
        limit_concurrency=_MOST_AT_ONCE, timeout_graceful_shutdown=_SECONDS))

    def end() -> None:
        if server.should_exit:  # the second time: what is cut short by it is no error to tell
            server.force_exit = True
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end)
    await server.serve([listening])
