"""`postroom doctor` on Phorest and Google: what is missing is named, and a credential that is not taken is wrong."""

import asyncio

import pytest

from outbox.seal import new_key
from outbox.testing import Postroom
from simulators.phorest import PhorestSimulator
from simulators.samples import DEMO_BRANCH_ID
from simulators.serving import serve
from tests.cli.conftest import Command
from tests.cli.test_doctor_command import says, standing

APP = {"GOOGLE_CLIENT_ID": "1-x.apps.googleusercontent.com", "GOOGLE_CLIENT_SECRET": "invented-client-secret"}
KEEPS = APP | {"POSTROOM_ENCRYPTION_KEYS": new_key()}
SALON = {
    "PHOREST_USERNAME": PhorestSimulator().settings.username,
    "PHOREST_PASSWORD": PhorestSimulator().settings.password,
    "PHOREST_BUSINESS_ID": PhorestSimulator().settings.business_id,
    "PHOREST_BRANCHES": f"{DEMO_BRANCH_ID}=Europe/Dublin",
    "GHL_DEFAULT_CALENDAR_ID": "calendar",
}


@pytest.mark.parametrize(
    ("area", "variables", "expected", "words"),
    [
        ("google app", {}, "off", "GOOGLE_CLIENT_ID"),
        ("google app", {"GOOGLE_CLIENT_ID": "x"}, "wrong", "GOOGLE_CLIENT_SECRET is not set"),
        ("google app", APP, "wrong", "POSTROOM_ENCRYPTION_KEYS"),
        ("google app", KEEPS, "off", "POSTROOM_PUBLIC_URL"),
        ("google app", KEEPS | {"POSTROOM_PUBLIC_URL": "http://postroom.example.com"}, "wrong", "it is not https"),
        ("google app", KEEPS | {"POSTROOM_PUBLIC_URL": "https://postroom.example.com"}, "fine", "/api/oauth/google/callback"),
        ("to phorest", {}, "off", "no salon"),
        (
            "to phorest",
            {"PHOREST_USERNAME": "x", "PHOREST_BRANCHES": "a=UTC"},
            "wrong",
            "PHOREST_PASSWORD, PHOREST_BUSINESS_ID are not set",
        ),
        ("to phorest", SALON | {"GHL_DEFAULT_CALENDAR_ID": ""}, "warn", "no calendar for branch"),
    ],
)
def test_what_is_missing_is_named(command: Command, area: str, variables: dict[str, str], expected: str, words: str) -> None:
    ended = command("doctor", "--no-calls", "--json", **variables)
    assert standing(ended, area) == [expected]
    assert words in says(ended, area)
    assert "invented" not in ended.out


async def test_users_without_consent_are_named_while_few_and_counted_when_many(command: Command, postroom: Postroom) -> None:
    add = """insert into outbox.connections (destination, provider, account, state, why)
             select 'google:u' || n, 'google', 'u' || n, 'inactive', 'the consent was taken back' from generate_series($1::int, $2) n"""
    await postroom.pool.execute(add, 1, 2)
    few = await asyncio.to_thread(command, "doctor", "--no-calls", "--json")
    assert standing(few, "to google:u1") == standing(few, "to google:u2") == ["warn"]
    await postroom.pool.execute(add, 3, 212)
    many = await asyncio.to_thread(command, "doctor", "--no-calls", "--json")
    assert "212 users need consent" in says(many, "to google")
    assert "u17" not in many.out


async def test_a_salon_is_found_with_its_branches_or_why_it_is_not(command: Command) -> None:
    async with serve(PhorestSimulator().app) as running:
        there = SALON | {"PHOREST_API_BASE_URL": running.base_url, "PORT": "1"}
        for more, expected, words in (
            ({}, "fine", f"1 branch: {DEMO_BRANCH_ID} (Europe/Dublin)"),
            ({"PHOREST_PASSWORD": "another"}, "wrong", "401"),
            ({"PHOREST_BRANCHES": "elsewhere=UTC"}, "wrong", "has no branch elsewhere"),
        ):
            ended = await asyncio.to_thread(command, "doctor", "--json", **(there | more))
            assert standing(ended, "to phorest") == [expected]
            assert words in says(ended, "to phorest")
