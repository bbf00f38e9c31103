"""The one place that opens a port."""

import os
import socket

from cli.errors import Failed

BACKLOG = 2048
LARGEST_PORT = 65535


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises Failed, naming PORT, when the port is taken."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as problem:
        said = os.strerror(problem.errno) if isinstance(problem.errno, int) and problem.errno > 0 else problem.strerror
        raise Failed(f"Cannot listen on port {port} of {host}: {said}. Set PORT (or --port) to another, or end what uses it.") from None
