"""The way to jax's coordinator, which leads through this process: so it learns first that the
coordinator is gone.

jax's client ends its process with a C++ stack where its own connection breaks, and takes no hook.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable

RETRY_SECONDS = 0.1
CHUNK_BYTES = 1 << 16


def through(address: str, lost: Callable[[], None]) -> str:
    """HOST:PORT on this host that leads to `address`, once that is reached.

    `lost` is called, in a thread of its own, where the far end closes a connection first; the near
    end sees of it nothing until `lost` returns.
    """
    host, _, port = address.rpartition(":")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            near, _ = listener.accept()
            _start(_connect, near, (host.strip("[]"), int(port)), lost)

    _start(serve)
    return "{}:{}".format(*listener.getsockname())


def _start(work: Callable, *arguments: object) -> None:
    threading.Thread(target=work, args=arguments, name="relay", daemon=True).start()


def _reached(address: tuple[str, int]) -> socket.socket:
    """Connected as soon as somebody listens there, whose host may still be starting."""
    while True:
        with contextlib.suppress(OSError):
            return socket.create_connection(address)
        time.sleep(RETRY_SECONDS)


def _connect(near: socket.socket, address: tuple[str, int], lost: Callable[[], None]) -> None:
    with near, _reached(address) as far:
        near_closed = threading.Event()

        def forward() -> None:
            _copy(near, far)
            near_closed.set()
            _end(far)

        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _start(forward)
        _copy(far, near)
        if not near_closed.is_set():
            lost()
        _end(near)


def _end(sink: socket.socket) -> None:
    """No more comes. Closing alone would wait for the thread that reads from it."""
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """What comes, until an end closes."""
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK_BYTES):
            sink.sendall(data)
