"""When a sync is due: a cron expression in a time zone, or a plain interval. Pure, and the only place that knows daylight saving time.

    0 2 * * *      fixed times      each local time once a day; one that the clocks jump over comes at once after the jump, one that
                                    they repeat comes the first time
    0 * * * *      with a star      (as minute or hour) whenever the clock on the wall shows it, so that "hourly" stays every hour
    every 600 s    intervals        counted from the tick before

The same rules as Debian's cron. No tick comes twice, and none is lost.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from outbox.errors import PostroomError

SHORTEST_S: Final = 10
LONGEST_S: Final = 366 * 86_400
GRACE_S: Final = 120.0  # a tick that is so late is still on time; later, the catch-up policy decides
MAX_CHARS: Final = 100


class InvalidCadence(PostroomError):
    """A cron expression, a zone or an interval that cannot be used; the message says what is wrong with which."""


@dataclass(frozen=True, slots=True)
class Cron:
    """Five fields: minute, hour, day of the month, month, weekday. `zone` is a name of the IANA list. Raises InvalidCadence."""

    expression: str
    zone: str = "UTC"

    def __post_init__(self) -> None:
        zone_of(self.zone)
        if len(self.expression) > MAX_CHARS or len(self.expression.split()) != 5 or not self.expression.isascii():
            raise InvalidCadence("a cron expression has five fields: minute, hour, day of the month, month, weekday")
        try:
            next(CronSim(self.expression, datetime(2024, 1, 1, tzinfo=UTC)))
        except (CronSimError, ValueError) as problem:
            raise InvalidCadence(f"this is no cron expression: {problem}") from None
        except (StopIteration, RuntimeError):
            raise InvalidCadence("this cron expression never comes due") from None

    @property
    def follows_the_wall(self) -> bool:
        """Whether it comes due whenever the clock on the wall shows it, rather than once a day at fixed times."""
        return any(part.startswith("*") for part in self.expression.split()[:2])

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The ticks after `moment`, in UTC, without end."""
        zone = zone_of(self.zone)
        if self.follows_the_wall:
            yield from self._by_the_wall(moment.astimezone(UTC).replace(microsecond=0), zone)
        last = moment
        for tick in CronSim(self.expression, moment.astimezone(zone)):
            # Of the times inside a jump of the clocks several come at one moment, and inside a repeated hour some lie behind us.
            if (at := tick.astimezone(UTC)) > last:
                last = at
                yield at

    def _by_the_wall(self, at: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        """From one change of the clocks to the next, as if there were none: the parser takes a change for one of whole hours."""
        offset = _offset(at, zone)
        while True:
            tick = next(CronSim(self.expression, (at + offset).replace(tzinfo=None))).replace(tzinfo=UTC) - offset
            if (change := _change(at, tick, zone, was=offset)) is None:
                at = tick
                yield at
            else:
                at, offset = change - timedelta(seconds=1), _offset(change, zone)


@dataclass(frozen=True, slots=True)
class Every:
    """An interval in seconds. Raises InvalidCadence."""

    seconds: int

    def __post_init__(self) -> None:
        if not SHORTEST_S <= self.seconds <= LONGEST_S:
            raise InvalidCadence(f"an interval has {SHORTEST_S} seconds to 366 days")

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The ticks after `moment`, which is one itself."""
        at = moment.astimezone(UTC)
        while True:
            at += timedelta(seconds=self.seconds)
            yield at


Cadence = Cron | Every


@dataclass(frozen=True, slots=True)
class Due:
    """What becomes of a due entry: `fire` is the tick to stage (None: those were missed and are skipped), `due_at` the next one."""

    fire: datetime | None
    due_at: datetime


def decide(cadence: Cadence, *, due_at: datetime, now: datetime, makes_good: bool) -> Due:
    """For an entry that was due at `due_at`. `makes_good`: what nobody was there for is made good by one tick."""
    newest, upcoming = due_at, _upcoming(cadence, due_at, now)
    if isinstance(cadence, Every):
        missed = (now - due_at) // timedelta(seconds=cadence.seconds)
        newest = due_at + missed * timedelta(seconds=cadence.seconds)
    else:
        for tick in islice(cadence.after(max(due_at, now - timedelta(seconds=GRACE_S))), 200):
            if tick > now:
                break
            newest = tick
    is_on_time = (now - newest).total_seconds() <= GRACE_S
    return Due(newest if is_on_time or makes_good else None, upcoming)


def _upcoming(cadence: Cadence, due_at: datetime, now: datetime) -> datetime:
    if isinstance(cadence, Every):
        missed = (now - due_at) // timedelta(seconds=cadence.seconds)
        return due_at + (missed + 1) * timedelta(seconds=cadence.seconds)
    return next(cadence.after(now))


def read(cron: str | None, zone: str | None, every_s: int | None) -> Cadence:
    """The cadence of a row. Raises InvalidCadence."""
    if cron is not None and every_s is None:
        return Cron(cron, zone or "UTC")
    if every_s is not None and cron is None:
        return Every(every_s)
    raise InvalidCadence("a schedule is either a cron expression or an interval")


def upcoming(cadence: Cadence, *, due_at: datetime, count: int = 5) -> list[datetime]:
    """The next ticks of an entry that is due at `due_at`, itself the first."""
    return [due_at, *islice(cadence.after(due_at), count - 1)]


def interval_s(cadence: Cadence, *, around: datetime) -> float:
    """The usual time between two ticks: the shortest of the next few, so that nights and weekends do not count."""
    if isinstance(cadence, Every):
        return float(cadence.seconds)
    ticks = list(islice(cadence.after(around), 8))
    return min((later - earlier).total_seconds() for earlier, later in pairwise(ticks))


def zone_of(name: str) -> ZoneInfo:
    """The zone of that name. Raises InvalidCadence."""
    try:
        if len(name) > MAX_CHARS:
            raise ValueError
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # of an unknown name, of a path, of a folder of the list
        raise InvalidCadence(f"there is no time zone {name[:40]!r}; the names are as in Europe/Vienna") from None


def _offset(at: datetime, zone: ZoneInfo) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()


def _change(begin: datetime, end: datetime, zone: ZoneInfo, *, was: timedelta) -> datetime | None:
    """The first second after `begin`, and not after `end`, at which the clocks do not show `was` any more; None: they do."""
    low = begin
    while low < end:
        high = min(low + timedelta(days=1), end)
        if _offset(high, zone) != was:
            while (seconds := int((high - low).total_seconds())) > 1:
                middle = low + timedelta(seconds=seconds // 2)
                low, high = (middle, high) if _offset(middle, zone) == was else (low, middle)
            return high
        low = high
    return None
