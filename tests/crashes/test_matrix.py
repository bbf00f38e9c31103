"""The crash matrix: every named point × moment × victim. SIGKILL there, restart, drain, then add up every id and every effect (P6, P7, P9).

The victim is the process itself, or Postgres while the process stands at the point. What the points and moments are: points.py.
A short form runs some of each kind; the whole matrix is marked `long`. Several scenarios wait side by side, each in a database of its own.
"""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import pytest

from outbox.embedded import Embedded
from tests.crashes.conftest import Worlds
from tests.crashes.evidence import Row
from tests.crashes.kills import Healed, Place, killed_there, places_of, postgres_killed_there, together
from tests.crashes.points import POINTS, Moment

Keep = Callable[[Row], None]


def places(*specs: str) -> tuple[Place, ...]:
    """From `moment:name`."""
    return tuple(Place(Moment(moment), name) for moment, _, name in (spec.partition(":") for spec in specs))


# The short form: what is lost most easily. Postgres is killed in another group, because all that stands on its server dies together.
SHORT = {
    "settling": places("after:claim", "during:finish_and_take", "during:handler.commit"),
    "effects": places("during:call.note", "during:journal.done", "after:renew"),
    "taking_over": places("after:end_lapsed", "during:release_orphans", "before:give_up_probe"),
    "pulling": places("during:run.page", "during:push.make", "after:plan.portion"),
    "receiving": places("during:stage_many", "before:answer", "during:api.commit"),
}
SHORT_POSTGRES = places("during:handler.commit", "during:finish_and_take", "during:stage_many")
WRITING = [name for name, point in POINTS.items() if point.queries]


def the_rest(name: str, done: Sequence[Place]) -> list[Place]:
    """The moments of a point that the short form leaves out."""
    return [place for place in places_of(name) if place not in done]


IN_SHORT = [place for group in SHORT.values() for place in group]
AT_ONCE = 3  # points: nearly all of a scenario's time goes by in waiting for a lease to end


def side_by_side(names: Sequence[str]) -> list[Sequence[str]]:
    """So many points a test."""
    return [names[n : n + AT_ONCE] for n in range(0, len(names), AT_ONCE)]


async def kill_there(at: Sequence[Place], worlds: Worlds) -> list[Healed]:
    """Each in a world of its own, side by side."""

    async def one(place: Place) -> Healed:
        async with worlds() as world:
            return await killed_there(world, place)

    return await together(*(one(place) for place in at))


async def kill_postgres_there(at: Sequence[Place], server: Embedded, worlds: Worlds) -> list[Healed]:
    """Each in a world of its own, on one server, which is killed once under all of them."""
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(worlds()) for _ in at]
        return await postgres_killed_there(server, made, at)


def keep(healed: Sequence[Healed], evidence: Keep, request: pytest.FixtureRequest, *, victim: str | None = None) -> None:
    """A row each."""
    file, _, which = request.node.nodeid.partition("::")
    command = f'.venv/bin/pytest {file} -k "{"[" + request.node.callspec.id + "]" if hasattr(request.node, "callspec") else which}"'
    for one in healed:
        family = f"{one.place.role} killed" if victim is None else f"{victim} killed under a {one.place.role}"
        evidence(
            Row(
                f"{family}: {one.place.moment} {one.place.name}",
                one.account.accepted,
                one.account.lost,
                one.account.duplicated,
                one.healed_s,
                command,
            )
        )


@pytest.mark.parametrize("group", SHORT)
async def test_p9_what_is_killed_at_a_telling_point_is_replaced_and_all_adds_up(
    group: str, worlds: Worlds, evidence: Keep, request: pytest.FixtureRequest
) -> None:
    keep(await kill_there(SHORT[group], worlds), evidence, request)


async def test_p9_postgres_killed_at_telling_points_heals_and_all_adds_up(
    own_server: Embedded, own_worlds: Worlds, evidence: Keep, request: pytest.FixtureRequest
) -> None:
    keep(await kill_postgres_there(SHORT_POSTGRES, own_server, own_worlds), evidence, request, victim="Postgres")


@pytest.mark.long
@pytest.mark.parametrize("points", side_by_side([name for name in POINTS if the_rest(name, IN_SHORT)]), ids="+".join)
async def test_p9_what_is_killed_at_any_point_is_replaced_and_all_adds_up(
    points: Sequence[str], worlds: Worlds, evidence: Keep, request: pytest.FixtureRequest
) -> None:
    keep(await kill_there([place for point in points for place in the_rest(point, IN_SHORT)], worlds), evidence, request)


@pytest.mark.long
@pytest.mark.parametrize("point", [name for name in WRITING if the_rest(name, SHORT_POSTGRES)])
async def test_p9_postgres_killed_at_any_point_that_writes_heals_and_all_adds_up(
    point: str, own_server: Embedded, own_worlds: Worlds, evidence: Keep, request: pytest.FixtureRequest
) -> None:
    keep(await kill_postgres_there(the_rest(point, SHORT_POSTGRES), own_server, own_worlds), evidence, request, victim="Postgres")
