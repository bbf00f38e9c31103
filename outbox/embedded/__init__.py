"""A Postgres of our own for development, tests and demos; production names its server by DATABASE_URL.

Owns: finding the binaries, making the cluster, starting, stopping, healing after any kill. Refuses to: hold tables or
run queries (that is the store's), listen beyond 127.0.0.1, open the permissions of any folder it did not make.

    owner ──shares──▶ owners.lock ◀──waits for it alone── guardian ──parent of──▶ postmaster ──▶ backends
    owner ──shares──▶                                                 (all of them hold postgres.lock)

Several processes may own one folder: the first starts the server, the others join it, and it stops when the last owner
is gone, in whatever way it went: the kernel lets go of a dead process's locks. See server.py for the rules of a start.
"""

from outbox.embedded.binaries import Binaries, find_binaries
from outbox.embedded.errors import EmbeddedError
from outbox.embedded.place import temporary_folder
from outbox.embedded.server import FAST, Embedded

__all__ = ["FAST", "Binaries", "Embedded", "EmbeddedError", "find_binaries", "temporary_folder"]
