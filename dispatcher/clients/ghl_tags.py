"""The tags that one GHL location offers. Every method is one call; what tags a contact has is in ghl.py."""

from dispatcher.clients.answer import member
from dispatcher.clients.ghl_calls import LOCATIONS_VERSION, GhlCalls
from dispatcher.clients.ghl_models import GhlTag


class TagCalls(GhlCalls):
    """Part of GhlClient."""

    async def list_tags(self) -> tuple[GhlTag, ...]:
        """All tags of the location."""
        answer = await self._call("GET", LOCATIONS_VERSION, "locations", self.location_id, "tags")
        return self._read_all(GhlTag, answer, "tags")

    async def create_tag(self, name: str) -> GhlTag:
        """Makes a tag; GHL writes it in lower case. Not idempotent: after a lost answer look for it in list_tags()."""
        answer = await self._call("POST", LOCATIONS_VERSION, "locations", self.location_id, "tags", json={"name": name})
        return self._read(GhlTag, member(answer, "tag"))

    async def rename_tag(self, tag_id: str, name: str) -> GhlTag:
        """Gives a tag another name; may be repeated. Gone when it was deleted."""
        answer = await self._call("PUT", LOCATIONS_VERSION, "locations", self.location_id, "tags", tag_id, json={"name": name})
        return self._read(GhlTag, member(answer, "tag"))

    async def delete_tag(self, tag_id: str) -> None:
        """Deletes a tag; Gone when it was not there."""
        await self._call("DELETE", LOCATIONS_VERSION, "locations", self.location_id, "tags", tag_id)
