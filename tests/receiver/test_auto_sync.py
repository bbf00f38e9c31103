"""`/api/auto-sync`: settings with their defaults, what cannot be, and which contacts are imported."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import AnyHttpUrl

from outbox.store import connections, consents
from outbox.testing import Postroom
from tests.receiver.google_users import consent, keep_contacts
from tests.receiver.running import AS_OPERATOR, AS_VIEWER, Talk, settings, started

PATH = "/api/auto-sync/ada"


async def put(talk: Talk, body: Any, *, path: str = PATH, viewer: bool = False) -> httpx.Response:
    return await talk.client.put(path, json=body, headers=AS_VIEWER if viewer else AS_OPERATOR)


async def test_a_user_without_settings_has_the_defaults(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        answer = await talk.get(PATH, viewer=True)
    assert answer.json() == {
        "user_id": "ada",
        "enabled": False,
        "interval_hours": 24,
        "last_sync_at": None,
        "next_sync_at": None,
        "imports": "all",
        "label": None,
        "no_identifier": 0,
        "connection": "none",
        "why": None,
    }
    assert await postroom.value("select count(*) from crm.google_users") == 0


async def test_what_is_put_is_what_is_got_and_what_is_absent_stays(postroom: Postroom) -> None:
    await consent(postroom)
    async with started(postroom) as talk:
        first = (await put(talk, {"enabled": True, "interval_hours": 4, "imports": "chosen", "label": "Google"})).json()
        assert first == (await talk.get(PATH)).json()
        assert (first["enabled"], first["interval_hours"], first["imports"], first["label"]) == (True, 4, "chosen", "Google")
        assert (first["connection"], first["next_sync_at"] is not None) == ("active", True)
        second = (await put(talk, {"enabled": False})).json()
        assert (second["enabled"], second["next_sync_at"]) == (False, None)
        assert (second["interval_hours"], second["imports"], second["label"]) == (4, "chosen", "Google")
        assert (await put(talk, {"enabled": False, "label": None})).json()["label"] is None
    acts = await postroom.rows("select who, what, target from outbox.audit")
    assert acts == [{"who": "otto", "what": "set auto-sync", "target": "ada"}] * 3


async def test_a_user_who_has_to_consent_first_has_no_next_time(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        none = (await put(talk, {"enabled": True})).json()
        version = await consent(postroom)
        await connections.give_up(postroom.pool, "google:ada", version=version, why="Token has been expired or revoked.")
        over = (await talk.get(PATH)).json()
    assert (none["connection"], none["enabled"], none["next_sync_at"]) == ("none", True, None)
    assert (over["connection"], over["next_sync_at"], over["why"]) == ("needs_consent", None, "Token has been expired or revoked.")


async def test_users_are_listed_page_by_page_as_each_is_by_itself(postroom: Postroom) -> None:
    await consent(postroom)
    async with started(postroom) as talk:
        for user in ("ciara", "Brendan"):
            await put(talk, {"enabled": True, "interval_hours": 12}, path=f"/api/auto-sync/{user}")
        first = (await talk.get("/api/auto-sync", viewer=True, limit=2)).json()
        second = (await talk.get("/api/auto-sync", limit=2, after=first["next_after"])).json()
        listed = [one for page in (first, second) for one in page["users"]]
        assert sorted(one["user_id"] for one in listed) == ["Brendan", "ada", "ciara"]
        assert second["next_after"] is None
        assert listed == [(await talk.get(f"/api/auto-sync/{one['user_id']}")).json() for one in listed]
        assert (await talk.get("/api/auto-sync", after="ada@example.com")).status_code == 400


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "enabled"),
        ({"enabled": "yes"}, "enabled"),
        ({"enabled": True, "interval_hours": 5}, "interval_hours"),
        ({"enabled": True, "interval_hours": "4"}, "interval_hours"),
        ({"enabled": True, "interval_hours": -4}, "interval_hours"),
        ({"enabled": True, "imports": "some"}, "imports"),
        ({"enabled": True, "label": ""}, "label"),
        ({"enabled": True, "label": " "}, "label"),
        ({"enabled": True, "label": "x" * 101}, "label"),
        ({"enabled": True, "next_sync_at": "2026-10-05T09:00:00Z"}, "next_sync_at"),
    ],
)
async def test_what_cannot_be_is_refused_by_name_and_changes_nothing(postroom: Postroom, body: Any, field: str) -> None:
    async with started(postroom) as talk:
        answer = await put(talk, body)
    assert answer.status_code == 422
    assert field in {error["field"].partition(".")[0] for error in answer.json()["errors"]}
    assert await postroom.value("select count(*) from crm.google_users") == 0


async def test_only_an_id_names_a_user_and_only_an_operator_changes_one(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        for user in ("ada@example.com", "a%20b", "x" * 65, "%00"):
            assert (await talk.get(f"/api/auto-sync/{user}")).status_code == 404
            assert (await put(talk, {"enabled": True}, path=f"/api/auto-sync/{user}")).status_code == 404
        assert (await put(talk, {"enabled": True}, viewer=True)).status_code == 403
        assert (await talk.client.get(PATH)).status_code == 401


async def test_contacts_are_listed_page_by_page_and_chosen_by_name(postroom: Postroom) -> None:
    await keep_contacts(postroom, "a", "b", "c")
    async with started(postroom) as talk:
        first = (await talk.get(f"{PATH}/contacts", imported=0, limit=2)).json()
        second = (await talk.get(f"{PATH}/contacts", imported=0, limit=2, after=first["next_after"])).json()
        assert [one["name"] for page in (first, second) for one in page["contacts"]] == ["A", "B", "C"]
        assert second["next_after"] is None
        assert (await talk.post(f"{PATH}/import", {"resource_names": ["a", "c", "unknown"], "label": "Salon"})).json() == {"contacts": 2}
        imported = (await talk.get(f"{PATH}/contacts", imported=1)).json()["contacts"]
        assert [(one["resource_name"], one["labels"], one["emails"]) for one in imported] == [
            ("a", ["Salon"], ["a@example.com"]),
            ("c", ["Salon"], ["c@example.com"]),
        ]
        assert (await talk.post(f"{PATH}/leave-out", {"resource_names": ["a"]})).json() == {"contacts": 1}
        assert (await talk.post(f"{PATH}/import", {})).json() == {"contacts": 3}
        assert (await talk.post(f"{PATH}/import", {"resource_names": []})).status_code == 422
        assert (await talk.get(f"{PATH}/contacts", after="x")).status_code == 400
    assert await postroom.value("select count(*) from crm.google_contacts where user_id = 'brendan' and imported_at is not null") == 0


async def test_a_run_shows_as_a_job_with_its_counts_and_progress(postroom: Postroom) -> None:
    await consent(postroom)
    async with started(postroom) as talk:
        assert (await talk.get(f"{PATH}/jobs", viewer=True)).json() == {"jobs": [], "next_before": None}
        await put(talk, {"enabled": True})
        await put(talk, {"enabled": True})
        [queued] = (await talk.get(f"{PATH}/jobs")).json()["jobs"]
        assert (queued["state"], queued["total"], queued["started_at"]) == ("queued", 0, None)
        await postroom.pool.execute(
            "update outbox.runs set state = 'running', created = 3, updated = 1, unchanged = 4, skipped = 2, progress = 10, expected = 40"
        )
        [running] = (await talk.get(f"{PATH}/jobs")).json()["jobs"]
        await postroom.pool.execute("update outbox.runs set state = 'braked', reason = '9 of 12 are gone', ended_at = now()")
        assert (await talk.get(PATH)).json()["why"] == "9 of 12 are gone"
        assert (await talk.get("/api/auto-sync/brendan/jobs")).json()["jobs"] == []
    numbers = ("total", "synced", "skipped_no_identifier", "progress", "expected")
    assert [running[name] for name in numbers] == [10, 8, 2, 10, 40]
    [event] = await postroom.staged("sync.google-contacts")
    assert (event["id"], event["lane"]) == (running["id"], "sync:google-contacts:ada")


async def test_a_link_for_the_users_consent_is_made_for_an_operator_and_names_the_user(postroom: Postroom) -> None:
    public = AnyHttpUrl("https://postroom.example.com")
    async with started(postroom, settings(public_url=public, google_client_id="app1")) as talk:
        assert (await talk.client.post(f"{PATH}/consent", headers=AS_VIEWER)).status_code == 403
        made = await talk.post(f"{PATH}/consent")
    link = urlsplit(made.json()["consent_url"])
    asked = {name: values[0] for name, values in parse_qs(link.query).items()}
    assert (made.status_code, link.netloc, asked["client_id"], asked["code_challenge_method"]) == (
        201,
        "accounts.google.com",
        "app1",
        "S256",
    )
    consent = await consents.end(postroom.pool, "google", asked["state"])
    assert consent is not None
    assert (consent["account"], consent["made_by"], consent["redirect_uri"]) == ("ada", "otto", made.json()["redirect_uri"])
    assert await postroom.rows("select who, what, target from outbox.audit") == [
        {"who": "otto", "what": "begin consent", "target": "google:ada"}
    ]


async def test_without_googles_app_or_a_public_address_there_is_no_link_and_both_are_named(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        answer = await talk.post(f"{PATH}/consent")
    assert answer.status_code == 503
    assert "GOOGLE_CLIENT_ID, POSTROOM_PUBLIC_URL are not set" in answer.json()["detail"]
