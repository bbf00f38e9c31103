"""Alerts from the first wrong row to the message in the room: once per change, by whoever looks, whatever breaks."""

import asyncio
from typing import Any

import pytest

from dispatcher import alarms
from dispatcher.alarms import Alarms
from dispatcher.config import DispatcherSettings
from outbox.health import judge
from outbox.store import console, destinations, standing
from outbox.testing import Postroom
from simulators.hooks import HookSimulator
from simulators.serving import serve
from tests.dispatcher.running import dispatching, eventually

DEAD_ROOM = "select from outbox.dead d join outbox.events e on e.id = d.event_id where e.lane = 'alert:gone'"
SECRET = "whsec_" + "aW52ZW50ZWQtc2VjcmV0LWZvci10ZXN0cw=="


async def reject_token(postroom: Postroom, name: str = "ghl") -> None:
    await destinations.open_breaker(postroom.pool, name, why="the token is rejected", probe_in_s=600, unauthorised=True)


async def staged(postroom: Postroom) -> list[dict[str, Any]]:
    rows = await postroom.rows("select kind, convert_from(payload, 'UTF8')::jsonb ->> 'state' state, lane from outbox.events order by id")
    return [dict(row) for row in rows]


async def test_a_rejected_token_is_told_once_by_however_many_dispatchers_and_its_end_too(postroom: Postroom) -> None:
    await reject_token(postroom)
    alive = await postroom.pool.fetchval("insert into outbox.workers (name, until) values ('w', now() + interval '1 min') returning id")
    for _ in range(2):
        await asyncio.gather(*(Alarms(postroom.pool).once() for _ in range(3)))
    assert await staged(postroom) == [{"kind": "alert.raised", "state": "unauthorised", "lane": "alert:connection:ghl"}]
    await destinations.resume(postroom.pool, "ghl", by="ana")
    for _ in range(2):
        await Alarms(postroom.pool).once()
    assert [one["kind"] for one in await staged(postroom)] == ["alert.raised", "alert.cleared"]
    assert alive


async def test_a_bad_hour_is_told_only_when_it_lasts(postroom: Postroom) -> None:
    await postroom.pool.execute("insert into outbox.workers (name, until) values ('w', now() + interval '1 h')")
    await postroom.pool.execute("insert into outbox.dead select n, n, 0, 1, now(), 'f', 'r' from generate_series(1, 60) n")
    look = Alarms(postroom.pool)
    assert await look.once() == []
    await postroom.pool.execute("update outbox.alerts set seen_at = now() - interval '61 s'")
    assert len(await look.once()) == 2
    told = await postroom.rows("select convert_from(payload, 'UTF8')::jsonb ->> 'alert' alert from outbox.events")
    assert {row["alert"] for row in told} == {"health", "dead-letters"}


async def test_a_look_that_breaks_off_has_told_nothing_and_the_next_tells(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    await reject_token(postroom)
    await postroom.pool.execute("insert into outbox.workers (name, until) values ('w', now() + interval '1 h')")

    async def breaks(*_: object) -> int:
        raise ConnectionResetError

    with monkeypatch.context() as patched, pytest.raises(Exception, match=r".*"):  # noqa: PT012 -- the patch is part of it
        patched.setattr(alarms, "stage", breaks)
        await Alarms(postroom.pool).once()
    assert await postroom.rows("select from outbox.alerts") == []
    assert len(await Alarms(postroom.pool).once()) == 1


async def test_an_alert_reaches_every_room_in_its_shape_and_a_dead_room_holds_up_no_other(
    postroom: Postroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarms, "EVERY_S", 0.2)
    hooks = HookSimulator(refusals={"discord": [(503, {}), (429, {"retry-after": "0"})]})
    async with serve(hooks.app) as at:
        base = at.base_url
        urls = f"a=slack+{base}/slack/x,b=discord+{base}/discord/x,c={base}/standard/x?k=1,gone=slack+{base}/removed/x"
        settings = DispatcherSettings.read(alert_urls=urls, alert_secrets=f"c={SECRET}", alert_private=True)
        await reject_token(postroom)
        async with dispatching(postroom.dsn, settings=settings):
            await eventually(lambda: _all_told(postroom, hooks), within_s=40)

            async def buried() -> bool:
                return bool(await postroom.rows(DEAD_ROOM))

            await eventually(buried)
    by_hook = {one.hook: one for one in hooks.taken}
    assert "connection:ghl: unauthorised (was ok)" in by_hook["slack"].body["text"]
    assert "docs/runbooks/connection.md" in by_hook["discord"].body["content"]
    assert by_hook["discord"].body["allowed_mentions"] == {"parse": []}
    standard = by_hook["standard"]
    assert standard.body["type"] == "alert.raised"
    assert standard.body["data"]["name"] == "connection:ghl"
    _verify(standard.raw, standard.headers)


async def _all_told(postroom: Postroom, hooks: HookSimulator) -> bool:
    await postroom.hurry()
    return {one.hook for one in hooks.taken} == {"slack", "discord", "standard"}


def _verify(body: bytes, headers: dict[str, str]) -> None:
    """By the receiver's own check of such messages, which shares no code with the sender."""
    from receiver.signatures import read_standard_secrets, verify_standard

    keys = read_standard_secrets([SECRET], setting="X")
    assert verify_standard(keys, headers["webhook-signature"], headers["webhook-id"], headers["webhook-timestamp"], body) is not None


async def test_gaps_of_the_newest_audit_are_told_until_an_audit_finds_none(postroom: Postroom) -> None:
    await postroom.pool.execute("insert into outbox.workers (name, until) values ('w', now() + interval '1 h')")
    await postroom.pool.execute("insert into crm.audits (id, system, started_at, ended_at) values (7, 'phorest', now(), now())")
    await postroom.pool.execute("insert into crm.audit_gaps (audit_id, kind, id, gap) values (7, 'client', 'c1', 'not in ghl')")
    look = Alarms(postroom.pool)
    for _ in range(2):
        await look.once()
    await postroom.pool.execute("insert into crm.audits (id, system, started_at, ended_at) values (8, 'phorest', now(), now())")
    for _ in range(2):
        await look.once()
    assert [(one["kind"], one["lane"]) for one in await staged(postroom)] == [
        ("alert.raised", "alert:audit:phorest"),
        ("alert.cleared", "alert:audit:phorest"),
    ]


async def test_without_a_url_an_alert_is_skipped_and_says_so(postroom: Postroom) -> None:
    await reject_token(postroom)
    async with dispatching(postroom.dsn):

        async def skipped() -> bool:
            rows = await postroom.rows("select note from outbox.attempts where outcome = 's'")
            return any("POSTROOM_ALERT_URLS" in row["note"] for row in rows)

        await eventually(skipped)


async def test_however_many_users_syncs_turn_red_people_are_told_once_and_no_user_is_named(postroom: Postroom) -> None:
    await postroom.pool.execute("insert into outbox.workers (name, until) values ('w', now() + interval '1 h')")
    await postroom.pool.execute(
        """with users as (insert into outbox.syncs (name, types, expected_since)
                          select 'google-contacts:u' || n, '{full}', now() - interval '9 days' from generate_series(1, 3) n returning name)
           insert into outbox.schedules (sync, type, every_s, catch_up, due_at) select name, 'full', 86400, 'one', now() from users"""
    )
    look = Alarms(postroom.pool)
    for _ in range(2):
        await look.once()
    assert [one["lane"] for one in await staged(postroom) if "sync" in one["lane"]] == ["alert:sync:users"]
    details = await postroom.rows("select name, detail from outbox.alerts")
    assert {row["name"]: row["detail"] for row in details}["sync:users"] == "3 users' syncs are red"
    assert not any("u1" in row["name"] + row["detail"] for row in details)


async def test_however_many_users_have_to_consent_people_are_told_once_with_their_number_until_none_has_to(postroom: Postroom) -> None:
    await postroom.pool.execute("insert into outbox.workers (name, until) values ('w', now() + interval '1 h')")
    look = Alarms(postroom.pool)

    async def consent_is_lost_by(first: int, last: int) -> None:
        await postroom.pool.execute(
            """with lost as (
                 insert into outbox.connections (destination, provider, account, state, why)
                 select 'google:u' || n, 'google', 'u' || n, 'inactive', 'revoked' from generate_series($1::int, $2::int) n
                 returning destination)
               insert into outbox.destinations (name, state, why) select destination, 'unauthorised', 'refused' from lost""",
            first,
            last,
        )
        for _ in range(2):
            await look.once()

    await consent_is_lost_by(1, 1)
    await consent_is_lost_by(2, 212)
    told = await postroom.rows("select name, state, detail from outbox.alerts where name like 'connection:%'")
    assert told == [{"name": "connection:google", "state": "unauthorised", "detail": "google: 212 users need consent"}]
    assert [one["kind"] for one in await staged(postroom) if "connection" in one["lane"]] == ["alert.raised"]
    verdict = judge(await standing.look(postroom.pool))
    assert [check.issue for check in verdict.unmet if "google" in check.name] == ["google: 212 users need consent"]
    assert (await console.attention(postroom.pool))["connections"] == 1
    await postroom.pool.execute("update outbox.destinations set state = 'flowing', why = null")
    for _ in range(2):
        await look.once()
    assert [one["kind"] for one in await staged(postroom) if "connection" in one["lane"]] == ["alert.raised", "alert.cleared"]


async def test_a_brake_asks_a_person_until_a_run_of_its_type_has_ended_well_whatever_the_hourly_ones_do(postroom: Postroom) -> None:
    await postroom.pool.execute("insert into outbox.workers (name, until) values ('w', now() + interval '1 h')")
    await postroom.pool.execute("insert into outbox.syncs (name, types) values ('ghl-contacts', '{incremental,full}')")

    async def ended(run_id: int, type_: str, state: str) -> None:
        query = """insert into outbox.runs (id, sync, type, trigger, state, reason, ended_at)
                   values ($1, 'ghl-contacts', $2, 'manual', $3, 'why', now())"""
        await postroom.pool.execute(query, run_id, type_, state)
        for _ in range(2):
            await Alarms(postroom.pool).once()

    await ended(1, "full", "braked")
    await ended(2, "incremental", "done")
    await ended(3, "incremental", "failed")
    assert [(one["kind"], one["lane"]) for one in await staged(postroom)] == [("alert.raised", "alert:brake:ghl-contacts")]
    assert "why" in await postroom.value("select detail from outbox.alerts where name = 'brake:ghl-contacts'")
    await ended(4, "full", "done")
    assert [one["kind"] for one in await staged(postroom)] == ["alert.raised", "alert.cleared"]
