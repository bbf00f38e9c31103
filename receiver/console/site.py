"""Which pages there are. A new page: its module's SITE in `PAGES`, and an entry in `TABS` if it is one of the navigation.

TABS: name, words, path, the key behind `g`, and which count of outbox.store.console.attention() is its badge.
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

TABS: tuple[tuple[str, str, str, str, str | None], ...] = (
    ("overview", "Overview", "/console/", "o", None),
    ("events", "Events", "/console/events", "e", None),
    ("dead", "Dead letters", "/console/dead", "d", "dead"),
    ("lanes", "Lanes", "/console/lanes", "l", "lanes"),
    ("syncs", "Syncs", "/console/syncs", "s", None),
    ("connections", "Connections", "/console/connections", "c", "connections"),
    ("audit", "Audit", "/console/audit", "a", None),
)
