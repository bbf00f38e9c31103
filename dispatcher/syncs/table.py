"""The literal table: the syncs that there are."""

from collections.abc import Mapping

from dispatcher.syncs.appointments import APPOINTMENTS
from dispatcher.syncs.base import Sync
from dispatcher.syncs.ghl_contacts import GHL_CONTACTS
from dispatcher.syncs.ghl_missed import GHL_MISSED
from dispatcher.syncs.google_contacts import GOOGLE_CONTACTS
from dispatcher.syncs.notion_clients import NOTION_CLIENTS
from dispatcher.syncs.phorest import PHOREST_SYNCS
from dispatcher.syncs.phorest_audit import PHOREST_AUDIT

_ALL = (GHL_CONTACTS, GHL_MISSED, APPOINTMENTS, NOTION_CLIENTS, GOOGLE_CONTACTS, *PHOREST_SYNCS, PHOREST_AUDIT)

SYNCS: Mapping[str, Sync] = {sync.name: sync for sync in _ALL}
"""Every sync by its name."""
