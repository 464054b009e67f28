"""A port for a server under test."""

import socket


def free_port():
    """A port of the loopback address that nobody listens on at present."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
