"""What `postroom doctor` finds about Phorest and Google: credentials, the region's address, branches, the way back."""

from cli import kept
from cli.findings import AllSettings, Finding, failed, fine, off, warn, wrong
from cli.output import count
from dispatcher.clients.answer import text
from dispatcher.clients.http import Http, Timeouts, Unlimited
from dispatcher.clients.phorest import PHOREST, PhorestClient, basic
from dispatcher.clients.phorest_errors import classify_phorest
from dispatcher.config import DispatcherSettings
from dispatcher.errors import Unauthorised, Unavailable
from outbox.errors import ConfigError
from outbox.google_consent import CALLBACK

TO_PHOREST = "to phorest"
GOOGLE_APP = "google app"
REGIONS = "Europe has https://platform.phorest.com, the United States and Australia https://platform-us.phorest.com (PHOREST_API_BASE_URL)."
ID_ENDS = ".apps.googleusercontent.com"


async def phorest(own: DispatcherSettings, patience: Timeouts, *, calls: bool) -> Finding:
    """Whether the business can be read, has the branches that are set, and each of them a calendar."""
    needed = {
        "PHOREST_USERNAME": own.phorest_username,
        "PHOREST_PASSWORD": own.phorest_password,
        "PHOREST_BUSINESS_ID": own.phorest_business_id,
        "PHOREST_BRANCHES": own.phorest_branches,
    }
    missing = [name for name, value in needed.items() if not value]
    if len(missing) == len(needed):
        return off(TO_PHOREST, "PHOREST_USERNAME is not set: no salon is kept in step")
    if missing:
        return wrong(TO_PHOREST, f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set: its syncs are off", "Set all four.")
    lacking = [branch for branch in own.phorest_zones() if own.phorest_calendar(branch) is None]
    if lacking:
        says = f"no calendar for branch {', '.join(lacking)}: its appointments are skipped"
        return warn(TO_PHOREST, says, "Set PHOREST_CALENDARS, or GHL_DEFAULT_CALENDAR_ID for all.")
    return await _branches(own, patience) if calls else off(TO_PHOREST, "set; not called")


async def _branches(own: DispatcherSettings, patience: Timeouts) -> Finding:
    assert own.phorest_username is not None
    assert own.phorest_password is not None
    token, base = basic(own.phorest_username, own.phorest_password), str(own.phorest_api_base_url)
    http = Http(PHOREST, base, token=token, scheme="Basic", classify=classify_phorest, budget=Unlimited(), timeouts=patience)
    async with http:
        try:
            page = await PhorestClient(http, str(own.phorest_business_id)).branches()
        except Unauthorised as problem:
            return wrong(TO_PHOREST, str(problem), f"Check user, password and business, and the region's address: {REGIONS}")
        except Unavailable as problem:
            return wrong(TO_PHOREST, str(problem), f"Check the base address and the network; events wait meanwhile. {REGIONS}")
        except Exception as problem:  # noqa: BLE001 -- becomes a finding
            return failed(TO_PHOREST, problem)
    zones = own.phorest_zones()
    missing = sorted(set(zones) - {text(row.get("branchId")) for row in page.rows}) if page.is_last else []
    if missing:
        return wrong(TO_PHOREST, f"the business has no branch {', '.join(missing)}", "Correct PHOREST_BRANCHES: its syncs pause.")
    said = ", ".join(f"{branch} ({zone})" for branch, zone in zones.items())
    return fine(
        TO_PHOREST, f"{base} takes the user; {count(len(zones), 'branch', 'branches')}: {said}. docs/phorest.md: check the zone once"
    )


def google(settings: AllSettings) -> Finding:
    """Whether users can consent, come back, and have their tokens kept."""
    own, public = settings.dispatcher, settings.receiver.public_url
    needed = {"GOOGLE_CLIENT_ID": own.google_client_id, "GOOGLE_CLIENT_SECRET": own.google_client_secret}
    missing = [name for name, value in needed.items() if value is None]
    if len(missing) == len(needed):
        return off(GOOGLE_APP, "GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET are not set: no user's contacts are kept in step")
    if missing:
        return wrong(GOOGLE_APP, f"{missing[0]} is not set", "Set both.")
    try:
        can_keep = kept.sealer(settings.database).ready
    except ConfigError as problem:
        return wrong(GOOGLE_APP, str(problem))
    if not can_keep:
        says = "POSTROOM_ENCRYPTION_KEYS is not set, so no token can be kept: users' contacts wait"
        return wrong(GOOGLE_APP, says, "Set it for web and worker to what `postroom doctor --new-key` prints.")
    if public is None:
        return off(GOOGLE_APP, "set up; POSTROOM_PUBLIC_URL is not, so no user can consent")
    back = f"{str(public).rstrip('/')}{CALLBACK}"
    if public.scheme != "https" and public.host not in ("localhost", "127.0.0.1"):
        return wrong(GOOGLE_APP, f"Google sends nobody back to {back}: it is not https", "Set POSTROOM_PUBLIC_URL to an https address.")
    if not str(own.google_client_id).endswith(ID_ENDS):
        return warn(GOOGLE_APP, f"GOOGLE_CLIENT_ID does not end with {ID_ENDS}", "Compare it with Google's console.")
    return fine(GOOGLE_APP, f"users come back to {back}; Google's console must know that address")
