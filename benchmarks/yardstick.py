"""How fast this machine's cores are, by a fixed piece of work, so that the figures of two machines can be compared."""

import hashlib
import json
import time
from typing import Final

WORK: Final = {"id": "note-1", "names": ["Ada", "Grace"], "n": list(range(40))}
LONG_S: Final = 1.0


def rounds_per_s() -> int:
    """Rounds of JSON, hashing and plain Python that one core does in a second of its own time, whatever else runs."""
    rounds, began = 0, time.process_time()
    while (spent_s := time.process_time() - began) < LONG_S:
        for _ in range(100):
            digest = hashlib.sha256(json.dumps(json.loads(json.dumps(WORK))).encode()).digest()
            sum(byte * place for place, byte in enumerate(digest))
        rounds += 100
    return round(rounds / spent_s)
