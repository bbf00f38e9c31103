"""The literal table: the syncs that there are."""

from collections.abc import Mapping

from dispatcher.syncs.base import Sync
from dispatcher.syncs.ghl_contacts import GHL_CONTACTS
from dispatcher.syncs.google_contacts import GOOGLE_CONTACTS

SYNCS: Mapping[str, Sync] = {sync.name: sync for sync in (GHL_CONTACTS, GOOGLE_CONTACTS)}
"""Every sync by its name."""
