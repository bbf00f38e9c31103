"""The Phorest client against the examples and against the simulator that misbehaves: flags, pages, months, and what each refusal means."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from dispatcher.clients.http import Http, Unlimited
from dispatcher.clients.phorest import PhorestClient, basic
from dispatcher.clients.phorest_errors import classify_phorest
from dispatcher.clients.phorest_pages import months, wall_time
from dispatcher.config import DispatcherSettings
from dispatcher.errors import AnswerLost, Failed, Forbidden, Gone, RateLimited, RemoteError, Unauthorised, Unavailable
from dispatcher.handlers import phorest_reading as reading
from outbox.errors import ConfigError
from simulators.phorest import PhorestSimulator
from simulators.samples import DEMO_BRANCH_ID
from tests.dispatcher.salon import Phorest
from tests.specs import specs_path

SINCE = datetime(2026, 10, 5, 8, 59, tzinfo=UTC)


def case(name: str) -> dict[str, Any]:
    examples = json.loads(specs_path("phorest/response-examples.json").read_text("utf-8"))
    found: dict[str, Any] = next(one for one in examples["cases"] if one["name"] == name)
    return found


@pytest.fixture
async def api(phorest: Phorest) -> AsyncIterator[PhorestClient]:
    there = phorest[0].settings
    token = basic(there.username, SecretStr(there.password))
    async with Http("phorest", phorest[1], token=token, scheme="Basic", classify=classify_phorest, budget=Unlimited()) as http:
        yield PhorestClient(http, there.business_id)


async def example(name: str, call: Any) -> tuple[Any, str]:
    """What the client makes of an example, and the query that it asked with."""
    one = case(name)
    token = basic("api@example.com", SecretStr("x"))
    with respx.mock:
        route = respx.route(host="api.example.com").mock(httpx.Response(one["status"], json=one["body"]))
        async with Http(
            "phorest", "https://api.example.com", token=token, scheme="Basic", classify=classify_phorest, budget=Unlimited()
        ) as http:
            answer = await call(PhorestClient(http, "B1"))
        return answer, str(route.calls[0].request.url)


async def test_clients_are_asked_for_and_read_as_the_example_shows() -> None:
    page, asked = await example("clients/page", lambda api: api.clients(0, updated_after=SINCE))
    wanted = urlsplit(case("clients/page")["request"].removeprefix("GET "))
    assert parse_qs(urlsplit(asked).query) == parse_qs(wanted.query)
    record = reading.client(page.rows[0])
    assert record is not None
    assert (record.id, record.version, page.is_last) == ("AAAAAAAAAAAAAAAAAAAA01", 7, True)


async def test_appointments_are_asked_for_as_the_example_shows_and_whatever_became_of_them_comes() -> None:
    november = date(2026, 11, 1), date(2026, 11, 30)
    page, asked = await example("appointments/page", lambda api: api.appointments("BR", *november, 0, updated_from=SINCE))
    wanted = parse_qs(urlsplit(case("appointments/page")["request"].removeprefix("GET ")).query)
    assert wanted.items() <= parse_qs(urlsplit(asked).query).items()
    assert len([reading.appointment(row, "BR") for row in page.rows]) == 3


async def test_an_empty_page_has_no_list_and_is_the_last() -> None:
    page, _ = await example("clients/empty", lambda api: api.clients(0))
    assert (page.rows, page.is_last) == ((), True)


async def test_tombstones_and_mergers_are_known_by_their_members() -> None:
    page, _ = await example("clients/tombstone-and-merge", lambda api: api.clients(0))
    deleted, merged = (reading.client(row) for row in page.rows)
    assert deleted is not None
    assert merged is not None
    assert (deleted.deleted, merged.deleted, merged.merged_to) == (True, False, "AAAAAAAAAAAAAAAAAAAA01")


async def test_what_is_deleted_archived_or_cancelled_comes_too(phorest: Phorest, api: PhorestClient) -> None:
    phorest[0].put_client("p1", deleted=True)
    phorest[0].put_client("p2", archived=True)
    phorest[0].put_appointment("a1", activationState="CANCELED")
    phorest[0].put_appointment("a2", deleted=True)
    assert (await api.clients(0)).total == 2
    assert (await api.appointments(DEMO_BRANCH_ID, date(2026, 11, 1), date(2026, 11, 30), 0)).total == 2


async def test_pages_are_counted_from_nought(phorest: Phorest, api: PhorestClient) -> None:
    for n in range(201):
        phorest[0].put_client(f"p{n}")
    pages = [await api.clients(number) for number in range(3)]
    assert [(len(page.rows), page.is_last) for page in pages] == [(100, False), (100, False), (1, True)]


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, Unauthorised), (403, Forbidden), (404, Gone), (429, RateLimited), (500, Failed), (503, Unavailable)],
)
async def test_each_refusal_is_named(phorest: Phorest, api: PhorestClient, status: int, error: type[RemoteError]) -> None:
    phorest[0].faults.add("answer", status=status)
    with pytest.raises(error) as caught:
        await api.client("p1")
    assert caught.value.status == status


@pytest.mark.parametrize(("fault", "error"), [("drop", AnswerLost), ("truncate", Failed), ("garble", Failed), ("cut", AnswerLost)])
async def test_a_broken_answer_is_never_taken_for_an_empty_one(
    phorest: Phorest, api: PhorestClient, fault: str, error: type[RemoteError]
) -> None:
    phorest[0].put_client("p1")
    phorest[0].faults.add(fault)
    with pytest.raises(error):
        await api.clients(0)


async def test_an_answer_that_does_not_count_its_pages_ends_no_walk(phorest: Phorest, api: PhorestClient) -> None:
    phorest[0].faults.add("answer", status=200, body={"_embedded": {"clients": []}})
    with pytest.raises(Failed, match="does not count its pages"):
        await api.clients(0)


async def test_a_rate_over_the_limit_is_told(phorest: Phorest, api: PhorestClient) -> None:
    simulator: PhorestSimulator = phorest[0]
    simulator._budget.limit = 1
    await api.branches()
    with pytest.raises(RateLimited, match="its rate limit is used up"):
        await api.branches()


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.integers(0, 1000))
def test_months_cover_each_day_once_and_none_spans_more_than_a_month(first: date, days: int) -> None:
    windows = list(months(first, first + timedelta(days=days)))
    covered = [begin + timedelta(days=n) for begin, end in windows for n in range((end - begin).days + 1)]
    assert covered == [first + timedelta(days=n) for n in range(days + 1)]
    assert all((begin.year, begin.month) == (end.year, end.month) for begin, end in windows)


@given(
    st.dates(date(2000, 1, 1), date(2100, 1, 1)),
    st.times(),
    st.sampled_from(["UTC", "Europe/Dublin", "America/New_York", "Australia/Sydney"]),
)
def test_a_time_on_the_wall_is_read_in_the_zone_of_its_branch(on: date, at: Any, zone: str) -> None:
    read = wall_time(on, at.isoformat(), ZoneInfo(zone))
    assert read is not None
    shown = read.astimezone(ZoneInfo(zone))
    assert abs(shown.replace(tzinfo=None) - datetime.combine(on, at)) <= timedelta(hours=1)  # one hour, where the clocks jump over it


@pytest.mark.parametrize("value", ["DemoBranch", "B=Mars/Olympus", "=UTC", "B=", "B=../etc/passwd"])
def test_a_branch_without_a_zone_that_there_is_cannot_be_set(value: str) -> None:
    with pytest.raises(ConfigError, match="PHOREST_BRANCHES: each part is branch=zone"):
        DispatcherSettings.read(PHOREST_BRANCHES=value)
