"""Calendars, their windows and free slots, and opportunities of the simulated GHL, as its client meets them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from simulators.ghl import GhlSimulator
from simulators.samples import DEMO_CALENDAR_ID, DEMO_LOCATION_ID
from simulators.shapes import epoch_ms
from tests.simulators.clients import CALENDARS

MONDAY = datetime(2026, 11, 9, tzinfo=UTC)


async def events(api: httpx.AsyncClient, since: datetime, until: datetime, **more: str) -> httpx.Response:
    asked = {"locationId": DEMO_LOCATION_ID, "startTime": str(epoch_ms(since)), "endTime": str(epoch_ms(until)), **more}
    return await api.get("/calendars/events", params=asked, headers=CALENDARS)


async def test_a_window_shows_what_overlaps_it_cancelled_ones_too_and_of_one_calendar(
    ghl: GhlSimulator, ghl_api: httpx.AsyncClient
) -> None:
    ghl.put_appointment("at-ten", startTime="2026-11-09T10:00:00+00:00", endTime="2026-11-09T10:30:00+00:00")
    ghl.put_appointment(
        "cancelled", startTime="2026-11-09T09:00:00+00:00", endTime="2026-11-09T09:30:00+00:00", appointmentStatus="cancelled"
    )
    ghl.put_appointment("elsewhere", startTime="2026-11-09T10:00:00+00:00", endTime="2026-11-09T10:30:00+00:00", calendarId="other")
    ghl.put_appointment("next-week", startTime="2026-11-16T10:00:00+00:00", endTime="2026-11-16T10:30:00+00:00")
    found = await events(ghl_api, MONDAY, MONDAY + timedelta(days=1), calendarId=DEMO_CALENDAR_ID)
    assert [one["id"] for one in found.json()["events"]] == ["cancelled", "at-ten"]
    ghl.remove_appointment("at-ten")
    found = await events(ghl_api, MONDAY, MONDAY + timedelta(days=1), calendarId=DEMO_CALENDAR_ID)
    assert [one["id"] for one in found.json()["events"]] == ["cancelled"]


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({}, "userId, calendarId or groupId"),
        ({"calendarId": "x", "page": "2"}, "page should not exist"),
        ({"calendarId": "x", "startTime": "soon"}, "startTime"),
    ],
)
async def test_a_window_that_is_not_described_is_refused(ghl_api: httpx.AsyncClient, more: dict[str, str], fault: str) -> None:
    refused = await events(ghl_api, MONDAY, MONDAY, **more)
    assert refused.status_code == 422
    assert fault in " ".join(refused.json()["message"])


async def test_free_slots_leave_out_what_is_booked_and_span_a_month_at_most(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    ghl.put_calendar()
    ghl.put_appointment(startTime="2026-11-09T10:00:00+00:00", endTime="2026-11-09T10:30:00+00:00")

    async def slots(days: int, **more: str) -> httpx.Response:
        asked: dict[str, str | int] = {"startDate": epoch_ms(MONDAY), "endDate": epoch_ms(MONDAY + timedelta(days=days)), **more}
        return await ghl_api.get(f"/calendars/{DEMO_CALENDAR_ID}/free-slots", params=asked, headers=CALENDARS)

    free = (await slots(1)).json()["2026-11-09"]["slots"]
    assert (len(free), free[0], "2026-11-09T10:00:00+00:00" in free) == (15, "2026-11-09T09:00:00+00:00", False)
    assert (await slots(32)).status_code == 400
    assert (await slots(1, locationId=DEMO_LOCATION_ID)).status_code == 422


async def test_opportunities_are_searched_with_underscores_and_paged(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    for n in range(5):
        ghl.put_opportunity(f"opp{n}", contactId="con1" if n else "con2", status="won" if n == 4 else "open")

    async def page(**more: str) -> Any:
        return (await ghl_api.get("/opportunities/search", params={"location_id": DEMO_LOCATION_ID, **more})).json()

    first = await page(limit="2", contact_id="con1")
    rest = await page(limit="5", contact_id="con1", startAfter=str(first["meta"]["startAfter"]), startAfterId=first["meta"]["startAfterId"])
    assert (first["meta"]["total"], first["meta"]["nextPage"], "nextPage" in rest["meta"]) == (4, 2, False)
    assert sorted(one["id"] for one in (*first["opportunities"], *rest["opportunities"])) == ["opp1", "opp2", "opp3", "opp4"]
    assert [one["id"] for one in (await page(status="won"))["opportunities"]] == ["opp4"]
    refused = await ghl_api.get("/opportunities/search", params={"locationId": DEMO_LOCATION_ID})
    assert (refused.status_code, refused.json()["message"][0]) == (422, "property locationId should not exist")
