"""Where the children come from: one process for each process of the test run, which has imported everything and forks when it is asked to.

A fresh interpreter takes a second to import a dispatcher, and a crash test needs hundreds of them on few cores. It has no threads and no
event loop, so that a fork is whole. When the test process is gone, whatever is left of its children is killed.

    test process ──role, environment, output, log──▶ nursery ──fork──▶ child
                 ◀──────────── pid ────────────────
                 ── pid, when its output has ended ▶           ◀── its end
                 ◀────────── exit code ────────────
"""

import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping
from typing import BinaryIO

LARGEST = 65_536


class Nursery:
    """The test process's end. Calls return at once: a fork, or the end of a process that is ending."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.crashes.nursery", str(number)], pass_fds=[number], start_new_session=True
            )
        atexit.register(self.close)

    def fork(self, role: str, environment: Mapping[str, str], *, output: int, log: BinaryIO) -> int:
        """A new child's pid. `output` is what it writes its news to."""
        asked = json.dumps({"role": role, "environment": dict(environment)}).encode()
        assert len(asked) < LARGEST, "an environment that is too large for a datagram"
        socket.send_fds(self._line, [asked], [output, log.fileno()])
        return self._answer()

    def code_of(self, pid: int) -> int:
        """The exit code of a child that has ended; negative when a signal ended it. Until this is asked its pid is nobody else's."""
        self._line.send(json.dumps({"wait": pid}).encode())
        return self._answer()

    def _answer(self) -> int:
        answer = self._line.recv(LARGEST)
        assert answer, "the nursery is gone"
        return int(answer)

    def close(self) -> None:
        """Ends it, and with it what is left of its children."""
        atexit.unregister(self.close)
        self._line.close()
        self._process.wait()


def serve(line: socket.socket) -> None:
    """Until the test process is gone. Returns in each child as well, when that has ended."""
    from tests.crashes import dispatcher_child, receiver_child
    from tests.dispatcher import harmful_worker, worker_process

    roles = {
        "dispatcher": dispatcher_child.run,
        "receiver": receiver_child.run,
        "worker": worker_process.run,
        "harmful worker": harmful_worker.run,
    }
    gc.collect()
    gc.freeze()
    living: set[int] = set()
    while True:
        asked, descriptors, _, _ = socket.recv_fds(line, LARGEST, 2)
        if not asked:
            break
        request = json.loads(asked)
        if "wait" in request:
            pid = int(request["wait"])
            living.discard(pid)
            line.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
            continue
        pid = os.fork()
        if pid == 0:
            line.close()
            for number, descriptor in enumerate(descriptors, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.environ.clear()
            os.environ.update(request["environment"])
            roles[request["role"]]()
            return
        living.add(pid)
        for descriptor in descriptors:
            os.close(descriptor)
        line.send(str(pid).encode())
    for pid in living:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    code = 1
    try:
        serve(socket.socket(fileno=int(sys.argv[1])))
        code = 0
    except Exception:  # noqa: BLE001 -- whatever it is, the log of the child has to say it
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)  # a child is a copy: it runs nothing that was meant for the end of the original
