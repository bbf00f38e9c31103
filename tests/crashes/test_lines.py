"""P6, P7 and P9 over lines that fail: a dispatcher's and a receiver's to Postgres, a dispatcher's to GHL. Then every id is added up."""

import asyncio
from collections.abc import Callable

import pytest

from tests.crashes.conftest import Worlds
from tests.crashes.evidence import Row
from tests.crashes.lines import FAULTS, LINES, Told
from tests.crashes.world import World

Keep = Callable[[Row], None]
HERE = ".venv/bin/pytest tests/crashes/test_lines.py"
FAMILIES = {"dispatcher": "database line of a dispatcher", "receiver": "database line of a receiver", "provider": "line to a provider"}
ANSWERS_WITHIN_S = 10.0  # a receiver without its database says so after 3 s; the rest is for a busy machine
SHORT = (("dispatcher", "cut"), ("dispatcher", "half-open-here"), ("receiver", "stalled"), ("provider", "losing"))
LONG = [
    *(("dispatcher", name) for name in FAULTS if name != "silent-for-40-s"),
    *(("receiver", name) for name in ("cut", "stalled", "deaf", "slow", "losing", "half-open-there", "half-open-here", "silent")),
    *(("provider", name) for name in ("cut", "dropped", "stalled", "deaf", "slow", "losing", "half-open-here", "silent-for-40-s")),
]


async def add_up(world: World, scenario: str, healed_s: float, evidence: Keep, *, select: str) -> None:
    account = await world.account()
    told = f"{scenario}: {account}\n{world.logs()}"
    assert account.is_clean, told
    assert (account.undone, account.dead) == (0, 0), told
    evidence(Row(scenario, account.accepted, account.lost, account.duplicated, healed_s, f'{HERE} -k "{select}"'))


async def fails(worlds: Worlds, whose: str, name: str, evidence: Keep) -> Told:
    fault = FAULTS[name]
    async with worlds() as world:
        told = await LINES[whose](world, fault)
        assert told.answers <= {202, 429, 503}
        assert told.slowest_s <= ANSWERS_WITHIN_S
        if (whose, name) == (
            "provider",
            "silent-for-40-s",
        ):  # with every seventh answer lost, chance says whether an effect's is among them
            assert "lost answer looked up" in told.log
        await add_up(world, f"{FAMILIES[whose]}: {fault.says}", told.healed_s, evidence, select=f"{whose}-{name}")
        return told


async def test_p9_lines_that_fail_heal_and_lose_nothing(worlds: Worlds, evidence: Keep) -> None:
    async with asyncio.TaskGroup() as side_by_side:
        for whose, name in SHORT:
            side_by_side.create_task(fails(worlds, whose, name, evidence))


@pytest.mark.long
@pytest.mark.parametrize(("whose", "name"), [pytest.param(*one, id="-".join(one)) for one in LONG])
async def test_p9_a_line_that_fails_heals_and_loses_nothing(worlds: Worlds, evidence: Keep, whose: str, name: str) -> None:
    await fails(worlds, whose, name, evidence)
