"""Phorest for one business: clients, appointments, staff, products, branches. Reads only, one call a method; retries nothing.

What is deleted, archived or cancelled is always asked for: without these flags Phorest leaves it out without a word.
"""

import base64
from datetime import date, datetime
from typing import Final

from pydantic import SecretStr

from dispatcher.clients.answer import Json
from dispatcher.clients.http import Http, Params
from dispatcher.clients.phorest_pages import Page, read_page, stamp
from dispatcher.errors import Failed

PHOREST: Final = "phorest"
PAGE_SIZE: Final = 100
ALL_CLIENTS: Final = {"includeArchived": True, "includeDeleted": True}
ALL_APPOINTMENTS: Final = {"fetch_canceled": True, "fetch_deleted": True, "fetch_archived": True, "fetch_notes": True}


def basic(username: str, password: SecretStr) -> SecretStr:
    """The token of HTTP Basic; the user is `global/<e-mail>`, and the prefix is added where it is missing."""
    user = username if username.startswith("global/") else f"global/{username}"
    return SecretStr(base64.b64encode(f"{user}:{password.get_secret_value()}".encode()).decode())


class PhorestClient:
    """`urgency` of every call: 0 = live, 1 = bulk; for_bulk() is the same client at the end of the queue."""

    def __init__(self, http: Http, business_id: str, *, urgency: int = 0) -> None:
        self._http, self.business_id, self._urgency = http, business_id, urgency

    @property
    def destination(self) -> str:
        """Under which name its calls fail, wait and are counted."""
        return self._http.destination

    def for_bulk(self) -> "PhorestClient":
        """This client for syncs; it shares the pool and the budget."""
        return PhorestClient(self._http, self.business_id, urgency=1)

    async def branches(self) -> Page:
        """The branches that the credential reaches: what a check of the configuration asks."""
        return await self._page("branches", "branch", number=0)

    async def client(self, client_id: str) -> dict[str, Json]:
        """One client; Gone when Phorest has no such one."""
        return await self._one("client", client_id)

    async def clients(self, number: int, *, updated_after: datetime | None = None, updated_before: datetime | None = None) -> Page:
        """A page of clients, deleted and archived ones among them."""
        since = {} if updated_after is None else {"updatedAfter": stamp(updated_after)}
        until = {} if updated_before is None else {"updatedBefore": stamp(updated_before)}
        return await self._page("clients", "client", number=number, params={**ALL_CLIENTS, **since, **until})

    async def appointment(self, branch_id: str, appointment_id: str) -> dict[str, Json]:
        """One appointment; Gone when the branch has no such one."""
        return await self._one("branch", branch_id, "appointment", appointment_id)

    async def appointments(self, branch_id: str, first: date, last: date, number: int, *, updated_from: datetime | None = None) -> Page:
        """A page of a branch's appointments on these days, at most a month of them (see months()), whatever became of them."""
        days = {"from_date": first.isoformat(), "to_date": last.isoformat()}
        since = {} if updated_from is None else {"updated_from": stamp(updated_from)}
        return await self._page(
            "appointments", "branch", branch_id, "appointment", number=number, params={**days, **ALL_APPOINTMENTS, **since}
        )

    async def staff(self, branch_id: str, number: int) -> Page:
        """A page of a branch's staff, archived ones among them."""
        return await self._page("staffs", "branch", branch_id, "staff", number=number, params={"fetch_archived": True})

    async def products(self, branch_id: str, number: int) -> Page:
        """A page of a branch's products."""
        return await self._page("products", "branch", branch_id, "product", number=number)

    async def _one(self, *segments: str) -> dict[str, Json]:
        answer = await self._call(*segments)
        if not isinstance(answer, dict):
            raise Failed(self.destination, "the answer is no object")
        return answer

    async def _page(self, plural: str, *segments: str, number: int, params: Params | None = None) -> Page:
        answer = await self._call(*segments, params={**(params or {}), "size": PAGE_SIZE, "page": number})
        return read_page(answer, plural, destination=self.destination)

    async def _call(self, *segments: str, params: Params | None = None) -> Json:
        path = self._http.path("third-party-api-server", "api", "business", self.business_id, *segments)
        return await self._http.call("GET", path, params=params, urgency=self._urgency)
