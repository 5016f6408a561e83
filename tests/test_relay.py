import socket
import threading

import numpy as np
import pytest

from engine.job import relay

SECONDS = 10


class Ends:
    """A connection through the relay: `near` as a client has it, `far` as the server has."""

    def __init__(self):
        self.lost, self.release = threading.Event(), threading.Event()
        self.server = socket.create_server(("127.0.0.1", 0))
        address = "{}:{}".format(*self.server.getsockname())
        self.way = relay.through(address, self._lose)
        host, port = self.way.split(":")
        self.near = socket.create_connection((host, int(port)), SECONDS)
        self.server.settimeout(SECONDS)
        self.far, _ = self.server.accept()
        self.far.settimeout(SECONDS)

    def _lose(self) -> None:
        self.lost.set()
        self.release.wait(SECONDS)


@pytest.fixture
def ends():
    made = Ends()
    yield made
    made.release.set()
    for each in (made.near, made.far, made.server):
        each.close()


def received(end: socket.socket, count: int) -> bytes:
    parts = []
    while count and (part := end.recv(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def test_bytes_go_both_ways_unchanged(ends):
    data = np.random.default_rng(0).bytes(3_000_000)
    for source, sink in ((ends.near, ends.far), (ends.far, ends.near)):
        sender = threading.Thread(target=source.sendall, args=(data,))
        sender.start()
        assert received(sink, len(data)) == data
        sender.join()
    assert not ends.lost.is_set()


def test_a_far_end_that_closes_is_told_of_before_the_near_end_sees_it(ends):
    ends.far.close()
    assert ends.lost.wait(SECONDS)
    ends.near.settimeout(0.3)
    with pytest.raises(TimeoutError):
        ends.near.recv(1)
    ends.release.set()
    ends.near.settimeout(SECONDS)
    assert ends.near.recv(1) == b""


def test_a_near_end_that_closes_is_no_loss(ends):
    ends.near.sendall(b"last words")
    ends.near.close()
    assert received(ends.far, 10) == b"last words" and ends.far.recv(1) == b""
    ends.far.close()
    assert not ends.lost.wait(0.3)


def test_a_far_end_that_starts_late_is_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    way = relay.through(f"localhost:{port}", lambda: None).split(":")
    with socket.create_connection((way[0], int(way[1])), SECONDS) as near:
        near.sendall(b"early")
        with socket.create_server(("127.0.0.1", port)) as server:
            server.settimeout(SECONDS)
            far, _ = server.accept()
            with far:
                assert received(far, 5) == b"early"
