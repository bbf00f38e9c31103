"""Misbehaviour on demand: which requests meet which fault, how often, and the waiting room of those made to hang.

Decides and remembers; `gate` carries it out. It knows nothing of what a request means.

    add ──▶ armed ──(times used up | clear | release)──▶ gone
"""

import asyncio
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from simulators.shapes import JsonObject, compact, new_rng


class FaultKind(StrEnum):
    """What happens to a request that meets the fault."""

    ANSWER = "answer"  # this status, these headers, this body instead of the true answer
    DELAY = "delay"  # only slow
    DROP = "drop"  # the connection ends without an answer
    HANG = "hang"  # nothing happens until `release`, then the request goes on
    TRUNCATE = "truncate"  # a complete HTTP answer whose JSON stops half-way
    GARBLE = "garble"  # a complete HTTP answer that is not JSON at all
    CUT = "cut"  # half of the announced bytes, then the connection ends


_ONLY_AFTER_WORK = {FaultKind.TRUNCATE, FaultKind.GARBLE, FaultKind.CUT}
_HEADER_TEXT = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class Fault:
    """`after_work`: the work is done first and shows in the effects; otherwise a request that is dropped or answered never does any."""

    id: str
    kind: FaultKind
    path: str = "**"
    method: str = "*"
    times: int | None = 1  # None: until cleared
    probability: float = 1.0
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None  # None: what the provider says with this status
    delay_s: float = 0.0
    after_work: bool = False

    def __post_init__(self) -> None:
        problems = [
            text
            for text, is_wrong in {
                "times must be at least 1": self.times is not None and self.times < 1,
                "probability must be above 0 and at most 1": not 0 < self.probability <= 1,
                "status must be 200 to 599": not 200 <= self.status <= 599,
                "delay_s must not be negative": not self.delay_s >= 0,
                "path must begin with / or *": not self.path.startswith(("/", "*")),
                "headers must be printable ASCII": not all(_HEADER_TEXT.fullmatch(text) for pair in self.headers.items() for text in pair),
            }.items()
            if is_wrong
        ]
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(slots=True)
class _Armed:
    fault: Fault
    pattern: re.Pattern[str]
    used: int = 0
    hanging: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)


@lru_cache(maxsize=256)
def path_pattern(path: str) -> re.Pattern[str]:
    """`*` stands for one path segment or a part of it, `**` for anything."""
    pieces = re.split(r"(\*\*|\*)", path)
    return re.compile("".join({"**": ".*", "*": "[^/]*"}.get(piece, re.escape(piece)) for piece in pieces))


class Faults:
    """The faults of one simulator. A request meets at most one: the first armed one that matches, in the order of adding."""

    def __init__(self, *, rng: random.Random | None = None) -> None:
        self._rng = rng or new_rng()
        self._armed: dict[str, _Armed] = {}
        self._waiting: dict[str, _Armed] = {}  # used up, but requests still hang in them
        self._count = 0
        self._hanging_changed = asyncio.Event()

    def add(
        self,
        kind: FaultKind | str,
        path: str = "**",
        *,
        method: str = "*",
        times: int | None = 1,
        probability: float = 1.0,
        status: int = 503,
        headers: Mapping[str, str] | None = None,
        body: JsonObject | str | None = None,
        delay_s: float = 0.0,
        after_work: bool = False,
    ) -> str:
        """Arm a fault for the next `times` matching requests (None: until cleared) and return its id. ValueError says what is wrong."""
        kind = FaultKind(kind)
        self._count += 1
        fault = Fault(
            id=f"fault-{self._count}",
            kind=kind,
            path=path,
            method=method.upper(),
            times=times,
            probability=probability,
            status=status,
            headers=dict(headers or {}),
            body=compact(body) if isinstance(body, dict) else body.encode() if body is not None else None,
            delay_s=delay_s,
            after_work=after_work or kind in _ONLY_AFTER_WORK,
        )
        self._armed[fault.id] = _Armed(fault, path_pattern(path))
        return fault.id

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, if any; uses it once."""
        for armed in self._armed.values():
            fault = armed.fault
            if fault.method not in ("*", method) or not armed.pattern.fullmatch(path):
                continue
            if fault.probability < 1 and self._rng.random() >= fault.probability:
                continue
            armed.used += 1
            if fault.times is not None and armed.used >= fault.times:
                del self._armed[fault.id]
            if fault.kind is FaultKind.HANG:
                self._waiting[fault.id] = armed
            return fault
        return None

    async def hang(self, fault: Fault) -> None:
        """Wait until this fault is released. The client may be gone by then; the request goes on all the same, as at a real server."""
        armed = self._waiting.get(fault.id)
        if armed is None:  # released between `take` and here
            return
        armed.hanging += 1
        self._hanging_changed.set()
        try:
            await armed.released.wait()
        finally:
            armed.hanging -= 1
            self._hanging_changed.set()

    @property
    def hanging(self) -> int:
        return sum(armed.hanging for armed in self._waiting.values())

    async def wait_hanging(self, count: int = 1) -> None:
        """Return as soon as `count` requests hang: how a test meets the moment it needs without sleeping."""
        while self.hanging < count:
            self._hanging_changed.clear()
            await self._hanging_changed.wait()

    def release(self, fault_id: str | None = None) -> int:
        """Let the requests of a hang, or of all, go on, and disarm it. Returns how many were hanging."""
        chosen = [armed for armed_id, armed in self._waiting.items() if fault_id in (None, armed_id)]
        released = sum(armed.hanging for armed in chosen)
        for armed in chosen:
            armed.released.set()
            self._waiting.pop(armed.fault.id, None)
            self._armed.pop(armed.fault.id, None)
        return released

    def clear(self, fault_id: str | None = None) -> int:
        """Disarm one fault or all, letting go what hangs in them. Returns how many there were."""
        chosen = [known for known in {**self._armed, **self._waiting} if fault_id in (None, known)]
        for known in chosen:
            self.release(known)
            self._armed.pop(known, None)
        return len(chosen)

    def as_json(self) -> list[JsonObject]:
        return [
            {
                "id": armed.fault.id,
                "kind": armed.fault.kind,
                "method": armed.fault.method,
                "path": armed.fault.path,
                "times": armed.fault.times,
                "used": armed.used,
                "hanging": armed.hanging,
            }
            for armed in {**self._armed, **self._waiting}.values()
        ]
