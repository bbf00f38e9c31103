"""Tokens of connected accounts: the access token of the moment, refreshed once however many ask for it, in however many processes.

    fresh ──near its end, or refused──▶ take the lease ──▶ ask the provider ──▶ store the pair ──▶ use it
                │ another has it: look again                 ├ answer lost: ask again, as long as the provider repeats itself
                                                             ├ no answer, or suspended: give the lease back, the pair stays
                                                             └ refused for good: inactive, until a person consents again

A pair is stored before it is used, and a refresh that was begun is carried to its end whoever stops waiting for it: an answer that
is thrown away is a consent that is lost. Knows no provider; ghl_oauth.py and google_oauth.py are two.
"""

import asyncio
import json
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

from pydantic import SecretStr

from dispatcher.errors import (
    AnswerLost,
    ConsentLost,
    Failed,
    Forbidden,
    Gone,
    Misused,
    Refused,
    RemoteError,
    Suspended,
    Unauthorised,
    Unavailable,
)
from outbox.db import Pool, Record
from outbox.errors import ConfigError, DatabaseUnavailable, PostroomError
from outbox.log import get_logger
from outbox.seal import Sealer
from outbox.store import connections

log = get_logger(__name__)

# A provider repeats its answer for 30 s (GHL). Whoever dies in the middle of a refresh is followed within LEASE_S + LOOK_S, which is less.
LEASE_S: Final = 15.0
LOOK_S: Final = 5.0
CALL_S: Final = 6.0  # two calls fit into a lease
SAFETY_S: Final = 60.0  # a token is not used in its last minute
EARLY_S: Final = 600.0  # and is refreshed well before, by whoever looks first, while everybody goes on using it
PATIENCE_S: Final = 20.0
LONGEST_AGAIN_S: Final = 60.0
STOP_S: Final = 5.0
LIFE_UNTOLD_S: Final = 3_600.0
LONGEST_LIFE_S: Final = 30 * 86_400.0


class NotConnected(PostroomError):
    """There is no such account here, or its app was removed: whatever wanted it is skipped."""


def life_s(value: object) -> float:
    """`expires_in` as it can be believed: seconds up to a month, else an hour."""
    said = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= LONGEST_LIFE_S
    return float(value) if said and isinstance(value, int | float) else LIFE_UNTOLD_S


@dataclass(frozen=True, slots=True)
class Pair:
    """What a provider gives out. `refresh` None: this token ends, and another way has to bring the next."""

    access: SecretStr
    refresh: SecretStr | None
    expires_in_s: float

    def seal(self, sealer: Sealer) -> bytes:
        """As the database keeps it."""
        refresh = None if self.refresh is None else self.refresh.get_secret_value()
        return sealer.seal(json.dumps({"access_token": self.access.get_secret_value(), "refresh_token": refresh}))


@dataclass(frozen=True, slots=True)
class Account:
    """A connection as it stands, opened. `version` is its pair's."""

    destination: str
    name: str
    company_id: str | None
    version: int
    access: SecretStr
    refresh: SecretStr | None


class Provider(Protocol):
    """How one provider refreshes.

    `ahead`: its tokens are refreshed before somebody asks, and a refresh that was begun is finished by another, because a refresh token
    counts once there. Where it stays the same, thousands of accounts that are asked for once a day must not be refreshed every hour.
    """

    @property
    def name(self) -> str: ...

    @property
    def ahead(self) -> bool: ...

    async def refresh(self, account: Account) -> Pair:
        """The next pair. Raises ConsentLost when there will be none, Suspended, or any other RemoteError; all name the account."""


@dataclass(frozen=True, slots=True)
class _Held:
    version: int
    access: SecretStr
    good_until: float  # on this process's monotonic clock


class Tokens:
    """Use as `async with Tokens(pool, sealer, provider) as tokens`. One for each provider and process."""

    def __init__(self, pool: Pool, sealer: Sealer, provider: Provider) -> None:
        self._pool, self._sealer, self._provider = pool, sealer, provider
        self._held: dict[str, _Held] = {}
        self._fetching: dict[str, asyncio.Task[_Held]] = {}
        self._failures: dict[str, tuple[float, int]] = {}  # not before this moment, and how many in a row
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._provider.ahead:
            self._keeper = asyncio.create_task(self._keep(), name=f"tokens of {self._provider.name}")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """A refresh under way gets a few seconds to store what it was given."""
        keepers = [] if self._keeper is None else [self._keeper]
        for keeper in keepers:
            keeper.cancel()
        running = list(self._fetching.values())
        if running:
            await asyncio.wait(running, timeout=STOP_S)
        for task in running:
            task.cancel()
        await asyncio.gather(*keepers, *running, return_exceptions=True)

    async def current(self, destination: str) -> SecretStr:
        """A token that is good for a minute at least. Raises NotConnected, ConsentLost, or what the provider made of a refresh."""
        held = self._held.get(destination)
        if held is None or time.monotonic() >= held.good_until:
            held = await self._other_than(destination, version=None)
        return held.access

    async def renew(self, destination: str, refused: SecretStr) -> bool:
        """The far side did not take this token before its time. Whether there is another one by now; raises as current()."""
        held = self._held.get(destination)
        if held is not None and held.access == refused:
            held = await self._other_than(destination, version=held.version)
        return held is None or held.access != refused

    def forget(self, destination: str) -> None:
        """The next call looks into the database."""
        self._held.pop(destination, None)

    async def _other_than(self, destination: str, *, version: int | None) -> _Held:
        """A pair that is good, and not this one. All who want one at the same time wait for the same."""
        for _ in range(3):
            if (task := self._fetching.get(destination)) is None:
                task = asyncio.create_task(self._fetch(destination, version), name=f"token of {destination}")
                self._fetching[destination] = task
                task.add_done_callback(lambda done: self._fetched(destination, done))
            held = await _patiently(destination, task)
            if held.version != version:
                break
        return held

    def _fetched(self, destination: str, task: "asyncio.Task[_Held]") -> None:
        del self._fetching[destination]
        if not task.cancelled():
            task.exception()  # those who wait raise it; that nobody waits any more is no error

    async def _fetch(self, destination: str, refused: int | None) -> _Held:
        """From the database, where another may have stored it, else from the provider."""
        began = time.monotonic()
        while True:
            account, left_s = self._opened(destination, await connections.one(self._pool, destination))
            if account.version != refused and left_s > SAFETY_S:
                return self._hold(destination, account.version, account.access, left_s)
            if await connections.take(self._pool, destination, version=account.version, lease_s=LEASE_S):
                return await self._refresh(account)
            if time.monotonic() - began > PATIENCE_S:
                raise Unavailable(destination, "another process takes long to refresh its token", happened=False)
            await asyncio.sleep(0.1 + 0.2 * random.random())  # noqa: S311 -- jitter, not secrecy

    def _opened(self, destination: str, row: Record | None) -> tuple[Account, float]:
        """With the seconds that its access token has left."""
        if row is None or row["state"] == "uninstalled":
            self.forget(destination)
            raise NotConnected(f"{destination} is not connected")
        if row["state"] == "inactive":
            self.forget(destination)
            raise ConsentLost(destination, row["why"] or "it is not connected any more")
        try:
            pair = json.loads(self._sealer.open(bytes(row["sealed"])).get_secret_value())
        except ConfigError as problem:
            raise Suspended(destination, str(problem)) from None  # as long as the key is missing; the pair stays
        refresh = None if pair["refresh_token"] is None else SecretStr(pair["refresh_token"])
        account = Account(destination, row["account"], row["company_id"], row["version"], SecretStr(pair["access_token"]), refresh)
        return account, float(row["left_s"])

    def _hold(self, destination: str, version: int, access: SecretStr, left_s: float) -> _Held:
        held = _Held(version, access, time.monotonic() + max(left_s - SAFETY_S, left_s / 2))
        self._held[destination] = held
        return held

    async def _refresh(self, account: Account) -> _Held:
        """With the lease in hand."""
        destination = account.destination
        try:
            pair = await self._ask(account)
        except ConsentLost as problem:
            self.forget(destination)
            if not await connections.give_up(self._pool, destination, version=account.version, why=problem.message):
                return await self._fetch(destination, None)  # a slow other one had stored the next pair after all
            log.error("a connection is lost", destination=destination, why=problem, do="postroom connect")
            raise
        except RemoteError as problem:
            # What the token endpoint will not take says nothing of the events, which wait for a token: none of them is buried for it.
            # If the pair may have been changed over there, it has to be asked for again before the time of grace is over.
            unknown = problem.happened is None
            await connections.give_back(self._pool, destination, version=account.version, why=problem.message, unfinished=unknown)
            if isinstance(problem, Refused | Forbidden | Misused | Gone):
                raise Unauthorised(destination, f"no fresh token: {problem.message}", status=problem.status) from problem
            raise
        version = await self._store(account, pair)
        if version is None:
            return await self._fetch(destination, None)
        log.info("token refreshed", destination=destination)
        return self._hold(destination, version, pair.access, pair.expires_in_s)

    async def _ask(self, account: Account) -> Pair:
        """Once more after a lost answer: the same question within the provider's time of grace has the same answer."""
        try:
            return await self._provider.refresh(account)
        except (AnswerLost, Failed, Unavailable) as problem:
            if problem.happened is False:
                raise
            log.info("answer to a refresh lost, asking again", destination=account.destination, problem=problem)
        return await self._provider.refresh(account)

    async def _store(self, account: Account, pair: Pair) -> int | None:
        """However long it takes: until it is stored, this process is the only place where the new pair is."""
        wait_s, sealed = 0.2, pair.seal(self._sealer)
        while True:
            began = time.monotonic()
            try:
                return await connections.store(
                    self._pool, account.destination, version=account.version, sealed=sealed, expires_in_s=pair.expires_in_s
                )
            except DatabaseUnavailable as problem:
                log.error("a new token pair could not be stored yet", destination=account.destination, problem=problem)
                await asyncio.sleep(max(0.0, wait_s - (time.monotonic() - began)))
                wait_s = min(2.0, wait_s * 2)

    async def _keep(self) -> None:
        """Refreshes ahead of time, and finishes what a process that died had begun, for ever, also through an outage."""
        while True:
            try:
                for destination, version in await connections.due(self._pool, self._provider.name, within_s=EARLY_S):
                    await self._keep_one(destination, version)
            except DatabaseUnavailable:
                pass  # the main loop says it
            except Exception:  # the one that keeps all connections must outlive whatever it meets at one
                log.exception("tokens could not be looked after")
            await asyncio.sleep(LOOK_S)

    async def _keep_one(self, destination: str, version: int) -> None:
        not_before, failed = self._failures.get(destination, (0.0, 0))
        if time.monotonic() < not_before:
            return
        try:
            await self._other_than(destination, version=version)
        except (RemoteError, NotConnected) as problem:
            self._failures[destination] = (time.monotonic() + min(LONGEST_AGAIN_S, LOOK_S * 2.0**failed), min(failed + 1, 10))
            log.warning("a token could not be refreshed ahead of time", destination=destination, problem=problem)
        else:
            self._failures.pop(destination, None)


async def _patiently(destination: str, task: "asyncio.Task[_Held]") -> _Held:
    """Who stops waiting does not stop the task."""
    done, _ = await asyncio.wait({task}, timeout=PATIENCE_S + LEASE_S)
    if not done:
        raise Unavailable(destination, "its token takes long to refresh", happened=False)
    with suppress(asyncio.CancelledError):
        return task.result()
    raise Unavailable(destination, "this process stops", happened=False)
