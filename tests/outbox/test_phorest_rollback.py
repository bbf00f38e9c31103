"""A rollback of Phorest: its row of the audit and the pause of the syncs are one act, and it can be told how far it is."""

import json
from typing import Any

import pytest

from outbox import db, operators
from outbox.operators import Actor
from outbox.store import links, phorest_rollback, syncs
from outbox.store.phorest_rollback import Rest
from outbox.testing import Postroom

ANA = Actor("ana", "api")
STANDS = "select paused_why is not null from outbox.syncs where name = 'phorest-clients'"
NOTED = "select result::text from outbox.audit where what = 'phorest rollback'"


@pytest.fixture(autouse=True)
async def a_salon(postroom: Postroom) -> None:
    """Three contacts that were made, one that was found, and a sync."""
    async with db.transaction(postroom.pool) as connection:
        for one in ("p1", "p2", "p3"):
            await links.join(connection, "phorest-client", ours=one, theirs=f"of-{one}", destination="ghl", our_hash=None, made=True)
        await links.join(connection, "phorest-client", ours="p4", theirs="found", destination="ghl", our_hash=None)
        await syncs.register(connection, "phorest-clients", destination="phorest", types=["full"], off=None)


async def breaks(*_: object, **__: object) -> Any:
    raise RuntimeError("the line was cut")


async def test_an_act_that_cannot_be_written_down_pauses_nothing(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outbox.store.audit.write", breaks)
    with pytest.raises(RuntimeError):
        await operators.roll_back_phorest(postroom.pool, ANA)
    assert (await postroom.value(STANDS), await postroom.rows(NOTED), await postroom.staged()) == (False, [], [])


async def test_one_that_is_broken_off_in_between_is_paused_and_written_down(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phorest_rollback, "stage_batch", breaks)
    with pytest.raises(RuntimeError):
        await operators.roll_back_phorest(postroom.pool, ANA)
    assert (await postroom.value(STANDS), await postroom.staged()) == (True, [])
    assert json.loads(await postroom.value(NOTED)) == {"left": {"client": 3}, "paused": ["phorest-clients"]}


async def test_how_far_it_is_tells_what_is_to_come_from_what_is_dead(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phorest_rollback, "BATCH", 2)
    assert await phorest_rollback.rest(postroom.pool) == Rest(left=3, coming=0, dead=0)
    assert await operators.roll_back_phorest(postroom.pool, ANA) == (3, ["phorest-clients"])
    assert await phorest_rollback.rest(postroom.pool) == Rest(left=3, coming=3, dead=0)
    first, second, _ = [event["id"] for event in await postroom.staged("phorest.undo")]
    await operators.bury(postroom.pool, ANA, first, reason="refused")
    await operators.bury(postroom.pool, ANA, second, reason="refused")
    await operators.discard(postroom.pool, ANA, second, reason="kept")
    assert await phorest_rollback.rest(postroom.pool) == Rest(left=3, coming=1, dead=1)
