"""Where a row of the audit leads."""

import pytest

from receiver.console.pages.audit import place_of


@pytest.mark.parametrize(
    ("what", "target", "place"),
    [
        ("retry", "1427922007097999", "/console/events/1427922007097999"),
        ("cancel sync", "1427922007097999", "/console/events/1427922007097999"),
        ("start plan", "4", "/console/retries/4"),
        ("pause", "notion", "/console/connections#way-notion"),
        ("pause sync", "ghl-contacts", "/console/syncs/ghl-contacts"),
        ("edit schedule", "ghl-contacts full", "/console/syncs/ghl-contacts"),
        ("set auto-sync", "ada", "/console/syncs/google-contacts:ada"),
        ("note on group", "5a2c097c", "/console/dead/5a2c097c"),
        ("promote handshake", "3", "/console/connections#notion"),
        ("refused", "/console/connections/crm/pause", None),
        ("sign in", None, None),
    ],
)
def test_an_act_leads_to_what_it_was_done_on(what: str, target: str | None, place: str | None) -> None:
    assert place_of(what, target) == place
