"""What all tests of the dispatcher share."""

from typing import Any

import httpx
import pytest
import respx.mocks
from pydantic import AnyHttpUrl, SecretStr

from dispatcher import effects
from dispatcher.config import DispatcherSettings
from simulators.ghl import GhlSimulator
from simulators.phorest import PhorestSimulator
from simulators.samples import DEMO_BRANCH_ID, DEMO_CALENDAR_ID

# In front of whatever transport a client has; respx's own default replaces one that ours does not use.
respx.mocks.DEFAULT_MOCKER = "httpx"


@pytest.fixture(autouse=True)
def a_far_side_that_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulator has done a request before its next one is answered: no need to wait before a lost effect is looked for."""
    monkeypatch.setattr(effects, "SETTLING_S", 0.0)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[httpx.Request]:
    """Every request that goes out."""
    requests: list[httpx.Request] = []
    real = httpx.AsyncClient.send

    async def recorded(self: httpx.AsyncClient, request: httpx.Request, **kwargs: Any) -> httpx.Response:
        requests.append(request)
        return await real(self, request, **kwargs)

    monkeypatch.setattr(httpx.AsyncClient, "send", recorded)
    return requests


@pytest.fixture
def salon(simulated: DispatcherSettings, phorest: tuple[PhorestSimulator, str]) -> DispatcherSettings:
    """Phorest and GHL, with a calendar for the one branch."""
    there = phorest[0].settings
    return simulated.model_copy(
        update={
            "ghl_default_calendar_id": DEMO_CALENDAR_ID,
            "phorest_username": there.username,
            "phorest_password": SecretStr(there.password),
            "phorest_business_id": there.business_id,
            "phorest_api_base_url": AnyHttpUrl(phorest[1]),
            "phorest_branches": (f"{DEMO_BRANCH_ID}=Europe/Dublin",),
        }
    )


@pytest.fixture
def booking(simulated: DispatcherSettings, ghl: tuple[GhlSimulator, str]) -> DispatcherSettings:
    """With a default calendar, and the contact c1."""
    ghl[0].put_contact("c1")
    return simulated.model_copy(update={"ghl_default_calendar_id": DEMO_CALENDAR_ID})
