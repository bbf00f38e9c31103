"""Which pages there are. A new page: its module's SITE in `PAGES`, and an entry in `TABS` if it is one of the navigation.

TABS: name, words, path, the key behind `g`, and whether the count of that name in outbox.store.console.attention() is its badge.
"""

from receiver.console.page import Pages
from receiver.console.pages import (
    again,
    audit,
    audits,
    connections,
    dead,
    event,
    events,
    google_users,
    lanes,
    overview,
    schedules,
    syncs,
)

PAGES: tuple[Pages, ...] = (
    overview.SITE,
    events.SITE,
    again.SITE,
    event.SITE,
    dead.SITE,
    lanes.SITE,
    syncs.SITE,
    schedules.SITE,
    google_users.SITE,
    audits.SITE,
    connections.SITE,
    audit.SITE,
)

TABS: tuple[tuple[str, str, str, str, bool], ...] = (
    ("overview", "Overview", "/console/", "o", False),
    ("events", "Events", "/console/events", "e", False),
    ("dead", "Dead letters", "/console/dead", "d", True),
    ("lanes", "Lanes", "/console/lanes", "l", True),
    ("syncs", "Syncs", "/console/syncs", "s", False),
    ("connections", "Connections", "/console/connections", "c", True),
    ("audit", "Audit", "/console/audit", "a", False),
)
