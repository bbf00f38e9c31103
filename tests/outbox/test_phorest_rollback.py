"""A rollback of Phorest: its row of the audit and the pause of the syncs are one act, and it can be told how far it is."""

import json
from typing import Any

import pytest

from outbox import db, operators
from outbox.errors import NotNow
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
    assert await phorest_rollback.rest(postroom.pool) == Rest(left=3, coming=0, dead=0, fresh=3)
    assert await operators.roll_back_phorest(postroom.pool, ANA) == (3, ["phorest-clients"])
    assert await phorest_rollback.rest(postroom.pool) == Rest(left=3, coming=3, dead=0, fresh=0)
    first, second, _ = [event["id"] for event in await postroom.staged("phorest.undo")]
    await operators.bury(postroom.pool, ANA, first, reason="refused")
    await operators.bury(postroom.pool, ANA, second, reason="refused")
    await operators.discard(postroom.pool, ANA, second, reason="kept")
    rest = await phorest_rollback.rest(postroom.pool)
    assert (rest, rest.given_up) == (Rest(left=3, coming=1, dead=1, fresh=0), 1)


async def test_a_stopped_one_deletes_nothing_more_and_begun_anew_it_stages_what_is_left(postroom: Postroom) -> None:
    await operators.roll_back_phorest(postroom.pool, ANA)
    await operators.stop_phorest_rollback(postroom.pool, ANA)
    assert await phorest_rollback.rest(postroom.pool) == Rest(left=3, coming=0, dead=0, fresh=3)
    with pytest.raises(NotNow):
        await operators.stop_phorest_rollback(postroom.pool, ANA)
    assert (await operators.roll_back_phorest(postroom.pool, ANA))[0] == 3
    assert await phorest_rollback.rest(postroom.pool) == Rest(left=3, coming=3, dead=0, fresh=0)
    last = await phorest_rollback.newest(postroom.pool)
    assert last is not None
    assert (last.made, last.by_whom, last.stopped_at, last.staged_at is not None, last.stops) == ({"client": 3}, "ana", None, True, 1)
    assert len(await postroom.staged("phorest.undo")) == 6
    assert await postroom.rows("select what from outbox.audit where what like 'stop%'") == [{"what": "stop phorest rollback"}]


async def test_asked_for_again_while_it_is_at_work_it_is_still_the_same(postroom: Postroom) -> None:
    for _ in range(2):
        await operators.roll_back_phorest(postroom.pool, ANA)
    assert await postroom.value("select count(*) from crm.phorest_rollbacks") == 1
