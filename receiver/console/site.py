"""Which pages there are. A new page: its module's SITE in `PAGES`, and an entry in `TABS` if it is one of the navigation."""

from receiver.console.page import Pages, Tab
from receiver.console.pages import (
    again,
    audit,
    audits,
    connections,
    days,
    dead,
    event,
    events,
    google_users,
    lanes,
    overview,
    phorest,
    plans,
    schedules,
    syncs,
)

PAGES: tuple[Pages, ...] = (
    overview.SITE,
    events.SITE,
    again.SITE,
    event.SITE,
    dead.SITE,
    plans.SITE,
    lanes.SITE,
    syncs.SITE,
    schedules.SITE,
    google_users.SITE,
    audits.SITE,
    days.SITE,
    phorest.SITE,
    connections.SITE,
    audit.SITE,
)

TABS: tuple[Tab, ...] = (
    Tab("overview", "Overview", "/console/", "o"),
    Tab("events", "Events", "/console/events", "e"),
    Tab("dead", "Dead letters", "/console/dead", "d", {"dead": None}),
    Tab("lanes", "Lanes", "/console/lanes", "l", {"lanes": None}),
    Tab("syncs", "Syncs", "/console/syncs", "s", {"red": "red", "yellow": "yellow"}),
    Tab("connections", "Connections", "/console/connections", "c", {"connections": None}),
    Tab("audit", "Audit", "/console/audit", "a"),
)
