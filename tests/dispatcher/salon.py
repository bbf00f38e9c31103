"""A salon on Phorest and its GHL, for tests: single records are imported as a repair or a person would have them."""

from typing import Any

from outbox.store.phorest import Kind, import_of
from outbox.testing import Postroom
from simulators.ghl import GhlSimulator
from simulators.phorest import PhorestSimulator
from simulators.samples import DEMO_BRANCH_ID
from simulators.shapes import JsonObject
from tests.dispatcher.running import stage_all

Ghl = tuple[GhlSimulator, str]
Phorest = tuple[PhorestSimulator, str]
ADA: dict[str, Any] = {"firstName": "Ada", "lastName": "Example", "email": "ada@example.com", "mobile": "353015550100"}
BEN: dict[str, Any] = {"firstName": "Ben", "lastName": "Example", "email": "ben@example.com", "mobile": "353015550101"}


async def import_clients(postroom: Postroom, *ids: str) -> list[int]:
    return await stage_all(postroom, *(import_of(Kind.CLIENT, one) for one in ids))


async def import_appointments(postroom: Postroom, *ids: str) -> list[int]:
    return await stage_all(postroom, *(import_of(Kind.APPOINTMENT, one, branch_id=DEMO_BRANCH_ID) for one in ids))


def contacts(simulator: GhlSimulator) -> list[JsonObject]:
    return list(simulator.store.contacts.values())


def booked(simulator: GhlSimulator) -> list[JsonObject]:
    return list(simulator.store.appointments.values())


async def ends(postroom: Postroom, kind: str) -> list[tuple[str, str | None]]:
    """State and why of each event of a kind, in the order of staging."""
    return [(event["state"], event["why"]) for event in await postroom.staged(kind)]
