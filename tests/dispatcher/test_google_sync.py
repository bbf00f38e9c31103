"""A user's Google contacts through the whole dispatcher: whole and in changes, tokens that end, deletions, faults, deaths, other users."""

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dispatcher.clients import google_people
from dispatcher.syncs.google_contacts import GOOGLE_CONTACTS
from outbox import db
from outbox.store import google_contacts, google_users, syncs
from outbox.testing import Postroom
from tests.dispatcher.googling import LIST, World, world
from tests.dispatcher.handling import fate
from tests.dispatcher.running import WorkerProcess, eventually

WEEK_S = 7 * 86_400.0


@pytest.fixture
async def at(postroom: Postroom) -> AsyncIterator[World]:
    async with world(postroom) as made:
        yield made


@pytest.fixture
def pages_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few contacts make several pages."""
    monkeypatch.setitem(google_people.ASKED, "pageSize", 2)


def counts(row: dict[str, Any]) -> tuple[int, ...]:
    """created, updated, unchanged, skipped, deleted."""
    return tuple(row[name] for name in ("created", "updated", "unchanged", "skipped", "deleted"))


async def kept(at: World, user: str = "ada") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await at.postroom.value("select kept from outbox.syncs where name = $1", f"google-contacts:{user}"))
    return found


async def age(at: World, days: float) -> None:
    """Both clocks go on: Google's, and what we kept is so much older."""
    at.clock.advance(days * 86_400)
    await at.postroom.pool.execute(
        "update outbox.syncs set kept = kept || jsonb_build_object('full_at', (kept ->> 'full_at')::timestamptz - $1 * interval '1 day')",
        days,
    )


@pytest.mark.usefixtures("pages_of_two")
async def test_the_first_run_reads_everything_and_the_next_only_what_changed(at: World) -> None:
    for name in ("Ada", "Brendan", "Ciara", "Dara"):
        changed = at.put(name)
    nobody = at.put("Nobody", emails=[])
    await at.connect(enabled=True)
    async with at.dispatching():
        await at.until(lambda: is_done(at, 1))
    [first] = await at.postroom.rows("select * from outbox.runs")
    assert (counts(first), first["pages"], first["progress"], first["expected"], first["phase"]) == ((4, 0, 0, 1, 0), 3, 5, 5, "everything")
    assert await at.contacts() == ["Ada", "Brendan", "Ciara", "Dara"]
    assert at.lists == 3
    assert await left_out(at) == 1
    at.google.put_contact("ada", changed, phones=[("087 123 4567", "+353871234567")])
    second = await at.synced()
    assert (counts(second), second["phase"], second["calls"]) == ((0, 1, 0, 0, 0), "changes", 1)
    assert await at.postroom.value("select phones from crm.google_contacts where display_name = 'Dara'") == ["+353871234567"]
    third = await at.synced()
    assert (counts(third), at.lists, await left_out(at)) == ((0, 0, 0, 0, 0), 5, 1)
    at.google.put_contact("ada", nobody, emails=["nobody@example.com"])
    await at.synced()
    assert await left_out(at) == 0
    assert at.google.effects.count() == 0  # it only reads


async def left_out(at: World) -> int:
    """How many have no identifier, as the user's settings tell."""
    return int((await google_users.one(at.postroom.pool, "ada"))["no_identifier"])


async def is_done(at: World, number: int) -> bool:
    return bool(await at.postroom.value("select count(*) = $1 from outbox.runs where state = 'done'", number))


async def test_tombstones_and_other_names_are_followed_and_what_was_chosen_stays(at: World) -> None:
    gone, renamed = at.put("Ada"), at.put("Brendan")
    await at.connect(imports="chosen")
    await at.synced()
    async with db.transaction(at.postroom.pool) as connection:
        assert await google_contacts.choose(connection, "ada", [renamed], label="Salon") == 1
    at.google.remove_contact("ada", gone)
    now_called = at.google.rename_contact("ada", renamed)
    row = await at.synced()
    assert counts(row) == (0, 0, 1, 0, 1)
    [left] = await at.postroom.rows(
        "select resource_name, labels, imported_at is not null chosen from crm.google_contacts where deleted_at is null"
    )
    assert left == {"resource_name": now_called, "labels": ["Salon"], "chosen": True}
    records = await at.postroom.rows("select record, what from outbox.run_records where run_id = $1", row["id"])
    assert records == [{"record": gone, "what": "deleted"}]


async def test_a_contact_that_was_renamed_while_no_token_counts_keeps_what_is_ours(at: World) -> None:
    renamed, left_out = at.put("Brendan"), at.put("Ciara")
    await at.connect()
    await at.synced()
    async with db.transaction(at.postroom.pool) as connection:
        await google_contacts.choose(connection, "ada", [renamed], label="Salon")
        await google_contacts.leave_out(connection, "ada", [left_out])
    at.google.rename_contact("ada", renamed)
    at.google.rename_contact("ada", left_out)
    at.put("Dervla")
    assert (await at.synced(type_="full"))["phase"] == "everything"
    left = await at.postroom.rows(
        "select display_name, labels, imported_at is not null chosen from crm.google_contacts where deleted_at is null order by 1"
    )
    assert [(one["display_name"], one["labels"], one["chosen"]) for one in left] == [
        ("Brendan", ["Salon"], True),
        ("Ciara", [], False),
        ("Dervla", [], True),
    ]


async def test_a_contact_that_loses_its_last_identifier_is_kept_out_until_it_has_one(at: World) -> None:
    name = at.put("Ada")
    await at.connect()
    await at.synced()
    at.google.put_contact("ada", name, emails=[])
    assert (counts(await at.synced()), await at.contacts()) == ((0, 0, 0, 1, 0), [])
    at.google.put_contact("ada", name, emails=["ada@example.com"])
    assert (counts(await at.synced()), await at.contacts()) == ((0, 1, 0, 0, 0), ["Ada"])


async def test_before_its_seven_days_are_over_a_token_is_left_and_everything_is_read(at: World) -> None:
    names = [at.put(f"Ada {number}") for number in range(8)]
    await at.connect()
    await at.synced()
    await age(at, 5.9)
    assert (await at.synced())["phase"] == "changes"
    at.google.remove_contact("ada", names[0])
    await age(at, 0.2)
    row = await at.synced()
    assert (row["phase"], counts(row)) == ("everything", (0, 0, 7, 0, 1))
    assert len(await at.contacts()) == 7


async def test_a_token_that_google_calls_expired_costs_a_whole_walk_and_no_failure(at: World) -> None:
    names = [at.put(f"Ada {number}") for number in range(3)]
    await at.connect()
    await at.synced()
    at.google.remove_contact("ada", names[0])
    at.clock.advance(WEEK_S + 1)
    row = await at.synced()
    assert (row["state"], counts(row), row["errors_by"]) == ("done", (0, 0, 2, 0, 1), "{}")
    assert at.lists == 4  # the access token had ended, too


@asynccontextmanager
async def at_its_second_page(at: World, run_id: int, **settings: Any) -> AsyncIterator[None]:
    """A dispatcher whose run has its first page and asks for the second one, which hangs."""
    first = at.google.faults.add("hang", LIST)
    async with at.dispatching(**settings):
        await eventually(lambda: is_hanging(at))
        at.google.faults.add("hang", LIST)
        at.google.faults.release(first)
        await eventually(lambda: has_pages(at, run_id, 1))
        await eventually(lambda: is_hanging(at))
        yield


async def is_hanging(at: World) -> bool:
    return at.google.faults.hanging > 0


@pytest.mark.usefixtures("pages_of_two")
async def test_a_token_that_ends_in_the_middle_of_a_walk_throws_away_what_the_walk_had_met(at: World) -> None:
    names = [at.put(f"Ada {number}") for number in range(5)]
    await at.connect()
    run_id = await at.ask()
    async with at_its_second_page(at, run_id):
        at.google.remove_contact("ada", names[0])  # the first page showed it
        at.clock.advance(WEEK_S + 1)
        at.google.faults.release()
        await at.ended(run_id)
    row = await at.run(run_id)
    assert (row["state"], row["deleted"], await at.contacts()) == ("done", 1, [f"Ada {number}" for number in range(1, 5)])


async def has_pages(at: World, run_id: int, number: int) -> bool:
    return bool((await at.run(run_id))["pages"] >= number)


@pytest.mark.usefixtures("pages_of_two")
async def test_other_parameters_than_the_token_was_given_for_read_everything(at: World, monkeypatch: pytest.MonkeyPatch) -> None:
    at.put("Ada")
    await at.connect()
    await at.synced()
    assert (await kept(at))["parameters"] == google_people.PARAMETERS
    monkeypatch.setattr("dispatcher.syncs.google_contacts.PARAMETERS", "of another version")
    monkeypatch.setitem(google_people.ASKED, "pageSize", 3)
    row = await at.synced()
    assert (row["state"], row["phase"]) == ("done", "everything")


async def test_a_refusal_of_a_call_without_any_token_is_not_tried_for_ever(at: World) -> None:
    await at.connect()
    at.google.faults.add("answer", LIST, status=400, times=None)
    run_id = await at.ask()
    async with at.dispatching():
        await at.ended(run_id)
    assert (await at.run(run_id))["state"] == "failed"
    assert (await fate(at.postroom, run_id)).state == "dead"
    assert at.lists == 1


async def test_more_deletions_than_a_person_allowed_wait_for_one(at: World) -> None:
    names = [at.put(f"Ada {number}") for number in range(12)]
    await at.connect()
    await at.synced()
    for name in names[:8]:
        at.google.remove_contact("ada", name)
    at.clock.advance(WEEK_S + 1)  # so that no tombstone tells of them: the run reads everything
    braked = await at.synced()
    assert (braked["state"], braked["phase"], counts(braked)) == ("braked", "everything", (0, 0, 4, 0, 0))
    assert "postroom syncs release google-contacts:ada --deletions 8" in braked["reason"]
    assert len(await at.contacts()) == 12
    await syncs.allow(at.postroom.pool, "google-contacts:ada", deletions=8)
    assert counts(await at.synced(type_="full")) == (0, 0, 4, 0, 8)
    assert len(await at.contacts()) == 4


async def test_a_rehearsal_changes_nothing_and_says_what_it_would_do(at: World) -> None:
    at.put("Ada")
    await at.connect()
    row = await at.synced(dry_run=True)
    assert (row["state"], counts(row), await at.contacts(), await kept(at)) == ("done", (1, 0, 0, 0, 0), [], {})


FAULTS: dict[str, tuple[dict[str, Any], ...]] = {
    "refusals": (
        {"kind": "answer", "status": 503},
        {"kind": "answer", "status": 500, "body": "<html>500</html>"},
        {"kind": "answer", "status": 429},
        {"kind": "answer", "status": 403, "body": {"error": {"code": 403, "errors": [{"reason": "userRateLimitExceeded"}]}}},
        {"kind": "answer", "status": 401},
        {"kind": "answer", "status": 410, "body": "<html>410</html>"},
    ),
    "answers cut short": ({"kind": "drop"}, {"kind": "truncate"}, {"kind": "cut"}),
    "answers that are none": ({"kind": "garble"}, {"kind": "answer", "status": 200, "body": {}}),
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
@pytest.mark.usefixtures("pages_of_two")
async def test_whatever_google_does_with_a_page_a_run_ends_with_each_contact_once(at: World, faults: tuple[dict[str, Any], ...]) -> None:
    for number in range(5):
        at.put(f"Ada {number}")
    await at.connect()
    run_id = await at.ask()
    async with at_its_second_page(at, run_id):
        for fault in faults:
            at.google.faults.add(path=LIST, **fault)  # the third page meets them, one after the other
        at.google.faults.release()
        await at.ended(run_id)
    row = await at.run(run_id)
    assert (row["state"], row["created"], len(await at.contacts())) == ("done", 5, 5)
    assert (await kept(at))["sync_token"]
    assert at.google.faults.as_json() == []


@pytest.mark.usefixtures("pages_of_two")
async def test_a_token_that_cannot_be_refreshed_in_the_middle_of_a_walk_is_waited_for_and_a_lost_consent_is_given_again(at: World) -> None:
    for number in range(5):
        at.put(f"Ada {number}")
    await at.connect()
    run_id = await at.ask()
    async with at_its_second_page(at, run_id):
        at.google.oauth.expire("ada")
        for status, times in ((503, 2), (429, 1), (502, 2)):  # asked twice where no answer came
            at.google.faults.add("answer", "/token", status=status, times=times, body="<html>away</html>")
        at.google.faults.add("answer", "/token", status=400, body={"error": "invalid_grant"})
        at.google.faults.release()
        await at.until(lambda: is_lost(at))
        assert at.google.requests.count("POST", "/token") == 7  # the first one was of the consent
        await at.settled(at.code())
        await at.ended(run_id)
        assert at.google.requests.count("POST", "/token") == 8
    row = await at.run(run_id)
    assert (row["state"], row["created"], len(await at.contacts())) == ("done", 5, 5)


async def is_lost(at: World) -> bool:
    return bool(await at.postroom.value("select state = 'inactive' from outbox.connections"))


@pytest.mark.usefixtures("pages_of_two")
async def test_a_run_whose_dispatcher_stops_goes_on_at_another_behind_its_last_page(at: World) -> None:
    for number in range(6):
        at.put(f"Ada {number}")
    await at.connect()
    run_id = await at.ask()
    async with at_its_second_page(at, run_id, grace_s=0):
        pass
    at.google.faults.clear()
    async with at.dispatching():
        await at.ended(run_id)
    row = await at.run(run_id)
    assert (row["state"], counts(row), row["pages"]) == ("done", (6, 0, 0, 0, 0), 3)
    assert len(await at.contacts()) == 6


@pytest.mark.long
async def test_a_dispatcher_that_is_killed_in_a_run_is_followed_and_each_contact_counts_once(at: World) -> None:
    for number in range(505):  # two pages
        at.google.put_contact("ada", None, given=f"Ada {number}", emails=[f"ada{number}@example.com"])
    await at.connect()
    run_id = await at.ask()
    first = at.google.faults.add("hang", LIST)
    async with WorkerProcess(at.postroom.dsn, environment=at.environment()) as killed:
        await eventually(lambda: is_hanging(at))
        second = at.google.faults.add("hang", LIST)
        at.google.faults.release(first)
        await eventually(lambda: has_pages(at, run_id, 1))
        await eventually(lambda: is_hanging(at))
        assert await killed.end(signal.SIGKILL) == -signal.SIGKILL
        at.google.faults.release(second)
    async with at.dispatching():
        await at.ended(run_id, within_s=40)
    row = await at.run(run_id)
    assert (row["state"], counts(row), row["pages"]) == ("done", (505, 0, 0, 0, 0), 2)
    assert len(await at.contacts()) == 505
    assert (await kept(at))["sync_token"]


async def test_a_user_who_took_the_consent_back_waits_and_nobody_else_does(at: World) -> None:
    at.put("Ada")
    at.put("Brendan", "brendan")
    await at.connect()
    await at.connect("brendan")
    await at.synced()
    at.google.oauth.revoke("ada")
    await at.postroom.pool.execute("update outbox.connections set expires_at = now()")
    async with at.dispatching():
        lost, other = await at.ask(), await at.ask("brendan")
        await at.ended(other)
        await at.waits(lost)
        assert (await at.run(other))["state"] == "done"
        [connection] = await at.postroom.rows("select state, why from outbox.connections where destination = 'google:ada'")
        assert (connection["state"], "revoked" in connection["why"]) == ("inactive", True)
        asked = at.google.requests.count("POST", "/token")
        await eventually(lambda: is_held(at, lost))
        # The same person consents again: the run goes on, and reads everything, as it might be another account.
        at.put("Ciara")
        await at.settled(at.code())
        await at.ended(lost)
        assert at.google.requests.count("POST", "/token") == asked + 1
    assert await at.contacts() == ["Ada", "Ciara"]


async def test_another_account_of_the_same_user_is_read_from_its_beginning(at: World) -> None:
    at.put("Ada")
    await at.connect()
    await at.synced()
    other = at.code("elsewhere")
    at.put("Brendan", "elsewhere")
    async with at.dispatching():
        await at.settled(type(other)(other.kind, {**other.payload, "account": "ada"}, source="postroom"))
    assert await kept(at) == {}
    row = await at.synced()
    assert (row["state"], row["phase"], counts(row)) == ("done", "everything", (1, 0, 0, 0, 1))
    assert await at.contacts() == ["Brendan"]


async def test_calls_for_one_user_are_one_after_the_other(at: World) -> None:
    at.put("Ada")
    await at.connect()
    at.google.faults.add("hang", LIST)
    async with at.dispatching():
        run_ids = [await at.ask() for _ in range(3)]
        await eventually(lambda: is_hanging(at))
        assert await at.postroom.value("select count(*) from outbox.runs where state = 'running'") == 1
        assert (at.google.faults.hanging, at.lists) == (1, 0)
        at.google.faults.release()
        await at.ended(*run_ids)
    assert at.lists == 3


async def test_without_googles_app_runs_wait_for_it(at: World) -> None:
    await at.connect()
    run_id = await at.ask()
    async with at.dispatching(google_client_id=None):
        await eventually(lambda: is_held(at, run_id))
    async with at.dispatching():
        await at.ended(run_id)
    assert (await at.run(run_id))["state"] == "done"


async def is_held(at: World, event_id: int) -> bool:
    return (await fate(at.postroom, event_id)).is_held


async def test_the_name_without_a_user_is_no_sync(at: World) -> None:
    async with at.dispatching():
        await eventually(lambda: is_registered(at))
    assert await at.postroom.value("select count(*) from outbox.syncs where name = $1", GOOGLE_CONTACTS.name) == 0


async def is_registered(at: World) -> bool:
    return bool(await at.postroom.value("select exists (select from outbox.syncs where name = 'ghl-contacts')"))
