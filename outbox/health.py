"""How the system stands, from its numbers: what is checked, what is wrong, what to do. Pure; both ends say it in the same words.

unhealthy   a limit is broken: customers notice
degraded    a target is missed, or something stands still that a person or its provider stopped
healthy     neither
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

LATE_S: Final = 5.0  # from staged to done
TARGET_SUCCESS, LEAST_SUCCESS = 0.95, 0.90
TARGET_DEAD, MOST_DEAD = 20, 50
MOST_FAILURES_AN_HOUR: Final = 10
OLD_S: Final = 900.0


class Health(StrEnum):
    """From best to worst."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class Stopped:
    """A destination that does not flow; `state` is open, unauthorised or paused.

    `consent`: the command that makes a link for the person without whose consent it does not flow again; None: it needs none.
    """

    name: str
    state: str
    why: str
    consent: str | None = None

    @property
    def said(self) -> str:
        """In words."""
        return f"{self.name} {'needs consent' if self.consent else 'does not flow'}: {self.why}"


@dataclass(frozen=True, slots=True)
class StoppedUsers:
    """How many single users' destinations do not flow. They are told as one, `google`, since there may be thousands; none is named."""

    need_consent: int = 0
    refused: int = 0  # a token is not taken, though a consent stands
    failing: int = 0
    paused: int = 0
    since: datetime | None = None  # the first of them

    @property
    def state(self) -> str:
        """As a destination's: the worst of them."""
        worst = {"unauthorised": self.need_consent + self.refused, "open": self.failing, "paused": self.paused}
        return next((state for state, number in worst.items() if number), "flowing")

    @property
    def said(self) -> str:
        """In words; nothing when all flow."""
        verbs = (("need consent", "needs consent"), ("are refused", "is refused"), ("fail", "fails"), ("are paused", "is paused"))
        numbers = (self.need_consent, self.refused, self.failing, self.paused)
        parts = [
            f"{number} {'user' if number == 1 else 'users'} {verb[number == 1]}"
            for number, verb in zip(numbers, verbs, strict=True)
            if number
        ]
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known. Rates are those of the last 24 hours; None: nothing happened."""

    success_rate: float | None
    latency_s: float | None
    dead: int
    buried_last_hour: int
    workers: int
    oldest_ready_s: float | None = None  # of the events that wait for nobody but a dispatcher; None: none waits
    stopped: Sequence[Stopped] = ()
    stopped_users: StoppedUsers = StoppedUsers()
    red_syncs: Sequence[str] = ()
    braked_syncs: Sequence[tuple[str, str]] = ()  # whose brake asks a person, and what
    red_users: int = 0  # syncs of single users that are red


@dataclass(frozen=True, slots=True)
class Check:
    """One question. `value` and `limit` in words; `worst`: what the system is while this one is not met."""

    name: str
    is_met: bool
    value: str
    limit: str
    worst: Health
    issue: str
    advice: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The whole answer."""

    status: Health
    checks: tuple[Check, ...] = field(default=())

    @property
    def unmet(self) -> tuple[Check, ...]:
        """Worst first."""
        return tuple(sorted((check for check in self.checks if not check.is_met), key=lambda check: check.worst is not Health.UNHEALTHY))


def judge(standing: Standing) -> Verdict:
    """Of numbers, a status and its reasons."""
    checks = tuple(_checks(standing))
    order = list(Health)
    worst = max((check.worst for check in checks if not check.is_met), key=order.index, default=Health.HEALTHY)
    return Verdict(worst, checks)


def _checks(now: Standing) -> Iterator[Check]:
    bad, fair = Health.UNHEALTHY, Health.DEGRADED
    look = "`postroom dead groups` says what died of what; put the cause right, then retry the group."
    yield Check(
        "dispatchers",
        now.workers > 0,
        str(now.workers),
        "at least 1",
        bad,
        "no dispatcher is alive",
        "Start `postroom worker`; nothing is lost.",
    )
    rate = now.success_rate
    percent = "no events" if rate is None else f"{int(rate * 1000) / 10:g} %"
    yield Check("success", rate is None or rate > LEAST_SUCCESS, percent, "over 90 %", bad, f"only {percent} of the events succeed", look)
    yield Check(
        "success target", rate is None or rate > TARGET_SUCCESS, percent, "over 95 %", fair, f"{percent} of the events succeed", look
    )
    yield Check("dead letters", now.dead < MOST_DEAD, str(now.dead), "under 50", bad, f"{now.dead} dead letters", look)
    yield Check("dead letters target", now.dead < TARGET_DEAD, str(now.dead), "under 20", fair, f"{now.dead} dead letters", look)
    failures = now.buried_last_hour
    yield Check(
        "failures", failures < MOST_FAILURES_AN_HOUR, f"{failures}/h", "under 10/h", bad, f"{failures} events died in the last hour", look
    )
    slow = "no events" if now.latency_s is None else f"{now.latency_s:.1f} s"
    yield Check(
        "latency target",
        now.latency_s is None or now.latency_s < LATE_S,
        slow,
        "under 5 s",
        fair,
        f"events take {slow} from staged to done",
        "Look for a slow or limited destination (`postroom destinations`), or start another dispatcher.",
    )
    waits = 0.0 if now.oldest_ready_s is None else now.oldest_ready_s
    yield Check(
        "oldest waiting",
        waits < OLD_S,
        f"{waits:.0f} s",
        "under 15 min",
        fair,
        f"an event has been ready for {waits / 60:.0f} minutes and was not taken",
        "Start another dispatcher, or look what the running ones are busy with.",
    )
    for one in now.stopped:
        resume = f"`postroom destinations` says what it waits for; `postroom destinations resume {one.name}`."
        link = f"`{one.consent}` makes a link for the person; they go on by themselves when it is given."
        advice = f"Its events wait and none is lost. {link if one.consent else resume}"
        yield Check(f"destination {one.name}", False, one.why, "flowing", fair, one.said, advice)
    if (users := now.stopped_users).said:
        advice = (
            "Their events wait and none is lost. `postroom syncs --users --light grey` and the console's page of users say whose;"
            " `postroom connect google --user USER` makes a link for one, and they go on by themselves when they consent."
        )
        yield Check("destination google", False, users.said, "flowing", fair, f"google: {users.said}", advice)
    for name in now.red_syncs:
        yield Check(
            f"sync {name}",
            False,
            "red",
            "green or yellow",
            fair,
            f"the sync {name} is red",
            f"`postroom syncs` says why; then `postroom sync {name}`.",
        )
    if now.red_users:
        yield Check(
            "syncs of users",
            False,
            f"{now.red_users} red",
            "green or yellow",
            fair,
            f"{now.red_users} users' syncs are red",
            "`postroom syncs --users --light red` says whose and why.",
        )
