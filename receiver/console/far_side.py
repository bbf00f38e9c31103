"""What a lane is about at the far sides: a link where the provider has a page of it by its id, else the id to find it with there.

GHL and Notion have such pages. Phorest and Google tell of none (docs/decisions/console.md), and no address is made up here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from outbox.db import Record

GHL_APP = "https://app.gohighlevel.com/v2/location"
PHOREST = re.compile(r"phorest:([a-z]+):(.+)")


@dataclass(frozen=True, slots=True)
class FarSide:
    """Links and ids. `in_ghl` None: the contact's location is not known here; `phorest`: what it is there, and its id; `others`: lanes."""

    contact: str | None
    in_ghl: str | None
    page: str | None
    phorest: tuple[str, str] | None
    others: Sequence[str]

    @property
    def is_known(self) -> bool:
        """Whether there is anything to tell."""
        return any((self.contact, self.page, self.phorest, self.others))


def far_side(lane: str, thing: Record | None) -> FarSide:
    """Of a lane, and of what outbox.store.find.thing() knows of it."""
    there = PHOREST.fullmatch(lane)
    phorest = None if there is None else (there[1], there[2])
    if thing is None:
        return FarSide(None, None, None, phorest, ())
    contact, location, page = thing["contact_id"], thing["location_id"], thing["page_url"] or ""
    in_ghl = f"{GHL_APP}/{quote(location, safe='')}/contacts/detail/{quote(contact, safe='')}" if contact and location else None
    return FarSide(contact, in_ghl, page if page.startswith("https://") else None, phorest, thing["others"])
