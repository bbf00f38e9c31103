"""`postroom sync` and `postroom syncs`: a run by hand with nobody else there, and what a person decides."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from cli import sync
from dispatcher.config import DispatcherSettings
from dispatcher.schedule import Schedule
from dispatcher.syncs.ghl_contacts import GHL_CONTACTS
from outbox.store import syncs
from outbox.testing import Postroom
from simulators.ghl import GhlSimulator
from tests.cli.conftest import Command
from tests.dispatcher.booking import made_here
from tests.dispatcher.running import dispatching
from tests.dispatcher.syncing import asked, register

Ghl = tuple[GhlSimulator, str]
NAME = GHL_CONTACTS.name


@pytest.fixture
def variables(simulated: DispatcherSettings) -> dict[str, str]:
    """The environment of a command whose GHL is the simulator."""
    assert simulated.ghl_api_key is not None
    return {
        "GHL_API_KEY": simulated.ghl_api_key.get_secret_value(),
        "GHL_LOCATION_ID": str(simulated.ghl_location_id),
        "GHL_API_BASE_URL": str(simulated.ghl_api_base_url),
    }


async def test_a_sync_runs_with_no_dispatcher_there(command: Command, postroom: Postroom, ghl: Ghl, variables: dict[str, str]) -> None:
    for n in range(3):
        ghl[0].put_contact(f"c{n}", firstName=f"Name {n}")
    bystander = await postroom.value("select outbox.stage('test.bystander', '{}')")
    rehearsed = await asyncio.to_thread(command, "sync", NAME, "--dry-run", "--json", **variables)
    assert (rehearsed.code, rehearsed.json()["state"], rehearsed.json()["counts"]["created"]) == (0, "done", 3)
    assert await postroom.value("select count(*) from crm.contacts") == 0
    ended = await asyncio.to_thread(command, "sync", NAME, **variables)
    assert ended.code == 0
    assert "created" in ended.out
    assert await postroom.value("select count(*) from crm.contacts") == 3
    # Events of others are none of its business, and it leaves as a worker does.
    assert await postroom.value("select event_id from outbox.pending") == bystander
    assert await postroom.value("select count(*) from outbox.workers where ended_at is null") == 0
    full = await asyncio.to_thread(command, "sync", NAME, "--full", "--json", **variables)
    assert (full.json()["type"], full.json()["counts"]["unchanged"]) == ("full", 3)


async def test_a_run_behind_one_that_waits_is_left_to_a_dispatcher_as_that_one_is(
    command: Command, postroom: Postroom, ghl: Ghl, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "WAITS_S", 0.3)
    revoked = {**variables, "GHL_API_KEY": "pit-revoked"}
    for _ in range(2):
        ended = await asyncio.to_thread(command, "sync", NAME, **revoked)
        assert (ended.code, "It goes on as soon as it can" in ended.err) == (1, True)
    assert "Replace the token" in await postroom.value("select reason from outbox.runs order by id limit 1")
    assert "behind" in ended.out


async def test_a_sync_that_a_dispatcher_carries_out_is_watched_to_its_end(
    command: Command, postroom: Postroom, ghl: Ghl, simulated: DispatcherSettings, variables: dict[str, str]
) -> None:
    ghl[0].put_contact("c1")
    async with dispatching(postroom.dsn, settings=simulated) as dispatcher:
        ended = await asyncio.to_thread(command, "sync", NAME, "--hours-back", "2", "--json", **variables)
        run = ended.json()
    assert (ended.code, run["state"], run["counts"]["created"]) == (0, "done", 1)
    assert await postroom.value("select owner from outbox.attempts where event_id = $1", run["id"]) == dispatcher.worker


async def test_a_sync_is_known_before_a_dispatcher_that_has_just_begun_has_written_it_down(
    command: Command,
    postroom: Postroom,
    ghl: Ghl,
    simulated: DispatcherSettings,
    variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written, register, here = asyncio.Event(), Schedule.register, asyncio.get_running_loop()

    async def later(self: Schedule) -> None:
        if asyncio.get_running_loop() is here:  # the dispatcher's; the command has one of its own
            await written.wait()
        await register(self)

    monkeypatch.setattr(Schedule, "register", later)
    async with dispatching(postroom.dsn, settings=simulated):
        ended = await asyncio.to_thread(command, "sync", NAME, "--json", **variables)
        written.set()
    assert (ended.code, ended.json()["state"]) == (0, "done"), ended.err


async def test_a_run_that_fails_is_told_with_its_reason_and_a_code(
    command: Command, postroom: Postroom, ghl: Ghl, variables: dict[str, str]
) -> None:
    ghl[0].faults.add("answer", "/contacts/search", status=400, body={"message": "Invalid field date_updated", "statusCode": 400})
    ended = await asyncio.to_thread(command, "sync", NAME, "--json", **variables)
    assert (ended.code, ended.json()["state"]) == (1, "failed")
    assert "Invalid field" in ended.json()["reason"]


async def test_what_cannot_be_run_is_bad_usage_or_says_what_is_missing(command: Command, postroom: Postroom) -> None:
    unknown = await asyncio.to_thread(command, "sync", "nobody")
    assert (unknown.code, NAME in unknown.err) == (2, True)
    both = await asyncio.to_thread(command, "sync", NAME, "--full", "--hours-back", "3")
    assert both.code == 2
    off = await asyncio.to_thread(command, "sync", NAME)
    assert (off.code, "GHL_API_KEY and GHL_LOCATION_ID are missing" in off.err) == (1, True)
    assert await postroom.staged() == []


async def test_a_range_of_appointments_is_taken_by_days_and_a_rehearsal_stages_nothing(
    command: Command, postroom: Postroom, variables: dict[str, str]
) -> None:
    for day in (4, 5, 6):
        await made_here(postroom, starts_at=datetime(2027, 1, day, 10, tzinfo=UTC), ends_at=datetime(2027, 1, day, 11, tzinfo=UTC))
    span = ("--from", "2027-01-05", "--to", "2027-01-05")
    rehearsed = await asyncio.to_thread(command, "sync", "appointments", *span, "--dry-run", "--json", **variables)
    assert (rehearsed.code, rehearsed.json()["counts"]["updated"]) == (0, 1), rehearsed.err
    staged = "select count(*) from outbox.events where kind = 'appointment.resync'"
    assert await postroom.value(staged) == 0
    ended = await asyncio.to_thread(command, "sync", "appointments", *span, **variables)
    assert (ended.code, "2027-01-06T00:00:00" in ended.out) == (0, True)
    assert await postroom.value(staged) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("appointments",), "needs both --from and --to"),
        (("appointments", "--from", "2027-01-05"), "needs both --from and --to"),
        (("appointments", "--from", "yesterday", "--to", "2027-01-05"), "--from"),
        (("appointments", "--from", "2027-01-06", "--to", "2027-01-04"), "ends before it begins"),
        (("appointments", "--from", "1970-01-01", "--to", "2027-01-04"), "longer than"),
        (("appointments", "--from", "2027-01-04", "--to", "9999-12-31"), "a day that has an end"),
        (("appointments", "--from", "2027-01-04", "--to", "2027-01-04", "--full"), "leave out --full"),
        ((NAME, "--from", "2027-01-04", "--to", "2027-01-04"), "takes no range"),
    ],
)
async def test_a_range_that_cannot_be_is_bad_usage(
    command: Command, postroom: Postroom, variables: dict[str, str], given: tuple[str, ...], said: str
) -> None:
    ended = await asyncio.to_thread(command, "sync", *given, **variables)
    assert (ended.code, said in " ".join(ended.err.split())) == (2, True), ended.err
    assert await postroom.staged() == []


async def test_the_share_that_webhooks_missed_is_shown(command: Command, postroom: Postroom, ghl: Ghl, variables: dict[str, str]) -> None:
    long_ago = await postroom.value("select now() - interval '20 minutes'")
    await postroom.pool.execute("insert into outbox.syncs (name, types, succeeded_run, succeeded_at) values ($1, '{full}', 1, now())", NAME)
    ghl[0].put_contact("c1")
    ghl[0].store.contacts["c1"]["dateUpdated"] = long_ago.isoformat(timespec="milliseconds")
    ended = await asyncio.to_thread(command, "sync", "ghl-missed", **variables)
    assert (ended.code, "1 of 1, 100.0%" in ended.out) == (0, True), ended.err
    assert await postroom.value("select lane from outbox.events where source = 'ghl-found'") == "ghl:contact:c1"


async def test_syncs_are_listed_paused_resumed_released_and_cancelled(
    command: Command, postroom: Postroom, simulated: DispatcherSettings
) -> None:
    def run(*arguments: str) -> str:
        ended = command("syncs", *arguments, LOGNAME="maeve")
        assert ended.code == 0, ended.err
        return ended.out

    assert "None yet" in await asyncio.to_thread(run)
    await register(postroom, GHL_CONTACTS, settings=simulated)
    await asyncio.to_thread(run, "pause", NAME, "--why", "maintenance")
    assert "paused by maeve: maintenance" in await asyncio.to_thread(run)
    assert "goes on" in await asyncio.to_thread(run, "resume", NAME)
    run_id = await asked(postroom, NAME)
    assert "incremental queued" in await asyncio.to_thread(run)
    assert "is cancelled" in await asyncio.to_thread(run, "cancel", str(run_id))
    released = json.loads(await asyncio.to_thread(run, "release", NAME, "--deletions", "12", "--json"))
    listed = json.loads(await asyncio.to_thread(run, "runs", NAME, "--json"))["runs"]
    assert [(one["id"], one["state"]) for one in listed] == [(released["run"], "queued"), (run_id, "cancelled")]
    assert str(run_id) in await asyncio.to_thread(run, "runs", NAME)
    acts = [row["what"] for row in await postroom.rows("select what from outbox.audit order by id")]
    assert acts == ["pause sync", "resume sync", "cancel sync", "release sync"]


async def test_an_unknown_sync_or_run_is_bad_usage(command: Command, postroom: Postroom) -> None:
    for arguments in (
        ("runs", "nobody"),
        ("pause", "nobody"),
        ("resume", "nobody"),
        ("release", "nobody", "--deletions", "1"),
        ("cancel", "17"),
    ):
        ended = await asyncio.to_thread(command, "syncs", *arguments)
        assert ended.code == 2, arguments


async def test_users_syncs_are_one_line_and_listed_when_they_are_asked_for(command: Command, postroom: Postroom) -> None:
    for user in ("ada", "eve"):
        await syncs.register(postroom.pool, f"google-contacts:{user}", destination=None, types=["incremental"], off="no consent")
    listed = await asyncio.to_thread(command, "syncs")
    users = await asyncio.to_thread(command, "syncs", "--users", "--light", "grey", "-n", "1", "--json")
    assert "2 users: 2 grey; 2 have to consent" in " ".join(listed.out.split())
    assert "ada" not in listed.out
    assert [one["name"] for one in users.json()["syncs"]] == ["google-contacts:ada"]
    assert users.json()["next_after"] == "google-contacts:ada"
    assert (await asyncio.to_thread(command, "syncs", "--light", "red")).code == 2
