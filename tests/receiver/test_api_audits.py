"""Audits over the API, and one record of Phorest that is asked for."""

from datetime import UTC, datetime

from outbox import db
from outbox.store import audits, links
from outbox.store.audits import Gap
from outbox.store.phorest import Kind, import_of
from outbox.testing import Postroom
from tests.receiver.running import Talk, started
from tests.receiver.test_api_events import stage_all

AT = datetime(2026, 11, 1, 1, tzinfo=UTC)


async def audited(postroom: Postroom) -> int:
    """Two audits; the newer one found a gap whose repair is under way, and one that a person decides."""
    [repair] = await stage_all(postroom, import_of(Kind.CLIENT, "p1"))
    async with db.transaction(postroom.pool) as connection:
        for number in (1, 2):
            await audits.begin(connection, number, "phorest", AT)
        await audits.gap(connection, 2, "client", "p1", Gap.NOT_HERE, repair=repair)
        await audits.gap(connection, 2, "appointment", "a1", Gap.NOT_IN_GHL, repair=None)
        await audits.end(connection, 2, {"there": {"client": 3}, "kinds": {}})
    return repair


async def test_audits_are_listed_with_their_counts_and_gaps(postroom: Postroom) -> None:
    await audited(postroom)
    async with started(postroom) as talk:
        newest = (await talk.get("/api/audits?limit=1", viewer=True)).json()
        older = (await talk.get(f"/api/audits?before={newest['next_before']}", viewer=True)).json()
        others = (await talk.get("/api/audits?system=none", viewer=True)).json()
    [audit] = newest["audits"]
    assert (audit["counts"]["there"], audit["gaps"]) == ({"client": 3}, {"client not here": 1, "appointment not in ghl": 1})
    assert [(one["id"], one["ended_at"], one["gaps"]) for one in older["audits"]] == [(1, None, {})]
    assert others == {"audits": [], "next_before": None}


async def test_an_audits_gaps_tell_what_became_of_their_repairs(postroom: Postroom) -> None:
    repair = await audited(postroom)
    async with started(postroom) as talk:
        first = (await talk.get("/api/audits/2?limit=1", viewer=True)).json()
        rest = (await talk.get("/api/audits/2?after_kind=appointment&after_id=a1", viewer=True)).json()
        missing = await talk.get("/api/audits/99", viewer=True)
        bad = await talk.get("/api/audits/x", viewer=True)
    assert [(gap["id"], gap["repair"]) for gap in first["gaps"]] == [("a1", None)]
    assert [(gap["id"], gap["repair"], gap["repair_state"]) for gap in rest["gaps"]] == [("p1", repair, "pending")]
    assert (first["is_last"], rest["is_last"], missing.status_code, bad.status_code) == (False, True, 404, 404)


async def test_one_record_is_asked_for_and_the_act_is_kept(postroom: Postroom) -> None:
    async def asked(talk: Talk, path: str, body: dict[str, str]) -> int:
        return (await talk.post(f"/api/phorest/{path}/import", body)).status_code

    async with started(postroom) as talk:
        told = await talk.post("/api/phorest/appointments/a1/import", {"branch_id": "b1"})
        assert [await asked(talk, "clients/p1", {}), await asked(talk, "staff/s1", {}), await asked(talk, f"clients/{'x' * 201}", {})] == [
            202,
            404,
            404,
        ]
    staged = await postroom.staged()
    assert (staged[0]["id"], staged[0]["kind"], staged[0]["lane"]) == (
        told.json()["event"],
        "phorest.appointment.import",
        "phorest:appointment:a1",
    )
    assert await postroom.value("select target from outbox.audit order by id limit 1") == "appointment a1"


async def test_a_rollback_counts_and_only_when_told_stages_each_deletion_once(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection, connection.transaction():
        await links.join(connection, "phorest-client", ours="p1", theirs="c1", destination="ghl", our_hash=None, made=True)
        await links.join(connection, "phorest-client", ours="p2", theirs="c2", destination="ghl", our_hash=None)
    async with started(postroom) as talk:
        assert (await talk.get("/api/phorest/rollback", viewer=True)).json()["left"] == {"client": 1}
        assert (await talk.post("/api/phorest/rollback")).json()["staged"] == 0
        assert await postroom.staged("phorest.undo") == []
        for _ in range(2):
            assert (await talk.post("/api/phorest/rollback", {"dry_run": False})).json()["staged"] == 1
        stopped = (await talk.post("/api/phorest/rollback/stop")).json()
        assert (await talk.post("/api/phorest/rollback/stop")).status_code == 409
    assert len(await postroom.staged("phorest.undo")) == 1
    assert (stopped["left"], stopped["coming"], stopped["last"]["made"], stopped["last"]["is_staged"]) == (
        {"client": 1},
        0,
        {"client": 1},
        True,
    )
    assert stopped["last"]["stopped_by"] == stopped["last"]["by"]
