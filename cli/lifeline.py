"""The child's half of the bond between `postroom up` and its children: standard input is a pipe whose other end only the parent holds.

When the parent is gone, in whatever way, the kernel closes that end, and the child stops as if it had been asked to.
"""

import json
import os
import signal
import sys
import threading
import time

FORCE_AFTER_S = 5.0
GIVE_UP_AFTER_S = 15.0


def watch() -> None:
    """From now on the end of standard input ends this process: first gracefully, then with force, at last in any case."""
    threading.Thread(target=_wait, name="lifeline", daemon=True).start()


def _wait() -> None:
    while os.read(sys.stdin.fileno(), 64):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(FORCE_AFTER_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GIVE_UP_AFTER_S - FORCE_AFTER_S)
    os._exit(1)


def say_ready(**facts: object) -> None:
    """One JSON line on standard output: the parent waits for it."""
    sys.stdout.write(json.dumps({"ready": True, **facts}) + "\n")
    sys.stdout.flush()
