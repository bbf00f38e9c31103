"""Opportunities of one GHL location, to read. Every method is one call.

This version of the service spells its queries with underscores and refuses them otherwise.
"""

from dataclasses import dataclass
from typing import Final

from dispatcher.clients.answer import Json, member
from dispatcher.clients.ghl_calls import OPPORTUNITIES_VERSION, GhlCalls, given
from dispatcher.clients.ghl_models import GhlOpportunity, GhlPipeline
from dispatcher.clients.http import Params
from dispatcher.errors import Failed

MAX_PAGE_LIMIT: Final = 100


@dataclass(frozen=True, slots=True)
class OpportunityPage:
    """`start_after`: give it to the next search; None = this was the end."""

    opportunities: tuple[GhlOpportunity, ...]
    total: int | None
    start_after: tuple[str, str] | None


class OpportunityCalls(GhlCalls):
    """Part of GhlClient."""

    async def search_opportunities(
        self, *, contact_id: str | None = None, pipeline_id: str | None = None, start_after: tuple[str, str] | None = None, limit: int = 100
    ) -> OpportunityPage:
        """Opportunities of the location, of one contact or of one pipeline, in every status."""
        at, after_id = start_after or (None, None)
        asked = given(contact_id=contact_id, pipeline_id=pipeline_id, startAfter=at, startAfterId=after_id)
        params: Params = {
            "location_id": self.location_id,
            "status": "all",
            "limit": min(max(1, limit), MAX_PAGE_LIMIT),
            **{name: str(value) for name, value in asked.items()},
        }
        answer = await self._call("GET", OPPORTUNITIES_VERSION, "opportunities", "search", params=params)
        found = self._read_all(GhlOpportunity, answer, "opportunities")
        total = member(answer, "meta", "total")
        return OpportunityPage(found, total if isinstance(total, int) else None, self._next(answer) if found else None)

    def _next(self, answer: Json) -> tuple[str, str] | None:
        at, after_id = member(answer, "meta", "startAfter"), member(answer, "meta", "startAfterId")
        if isinstance(at, int | str) and isinstance(after_id, str):
            return str(at), after_id
        if member(answer, "meta", "nextPage"):
            raise Failed(self._http.destination, "the search result does not say where its next page begins")
        return None

    async def get_opportunity(self, opportunity_id: str) -> GhlOpportunity:
        """The opportunity; Gone when it was deleted."""
        answer = await self._call("GET", OPPORTUNITIES_VERSION, "opportunities", opportunity_id)
        return self._read(GhlOpportunity, member(answer, "opportunity"))

    async def list_pipelines(self) -> tuple[GhlPipeline, ...]:
        """The pipelines with their stages."""
        answer = await self._call("GET", OPPORTUNITIES_VERSION, "opportunities", "pipelines", params={"locationId": self.location_id})
        return self._read_all(GhlPipeline, answer, "pipelines")
