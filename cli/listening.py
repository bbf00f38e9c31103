"""The one place that opens a port."""

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
        raise Failed(
            f"Cannot listen on port {port} of {host}: {problem.strerror or problem}. Set PORT (or --port) to another, or end what uses it."
        ) from None
