"""What `postroom doctor` finds by calling: the receiver, GHL, Notion and Phorest, once each, with the tokens that are set."""

import httpx
from pydantic import SecretStr

from cli.deliver import client
from cli.findings import AllSettings, Finding, failed, fine, off, warn, wrong
from cli.findings_connections import app
from cli.findings_providers import google, phorest
from cli.output import count
from dispatcher.clients.ghl import GhlClient
from dispatcher.clients.ghl_errors import classify_ghl
from dispatcher.clients.http import Classify, Http, Timeouts, Unlimited
from dispatcher.clients.notion_errors import classify_notion
from dispatcher.config import DispatcherSettings
from dispatcher.errors import Unavailable

PATIENCE = Timeouts(connect_s=5, read_s=8, write_s=5, pool_s=5, total_s=10)


async def receiver(settings: AllSettings) -> Finding:
    """Whether one answers where this environment says that it listens."""
    base = f"http://{'127.0.0.1' if settings.receiver.host in ('0.0.0.0', '::') else settings.receiver.host}:{settings.receiver.port}"  # noqa: S104
    try:
        async with client(base) as to:
            answer = await to.get("/readyz", timeout=5)
    except httpx.HTTPError:
        return off("receiver", f"none answers at {base}", "Start `postroom web`, or set PORT as it has it.")
    if answer.status_code == httpx.codes.OK:
        if settings.dispatcher.channels() and not answer.json().get("watches"):
            says = f"ready at {base}, but it tells nobody when no dispatcher is alive: POSTROOM_ALERT_URLS is set here, and not for it"
            return warn("receiver", says, "Set it for the receiver as well, and start that anew.")
        return fine("receiver", f"ready at {base}")
    return wrong("receiver", f"{base}/readyz answers {answer.status_code}", "Look at its log.")


async def destinations(settings: AllSettings, *, calls: bool) -> list[Finding]:
    """Whether GHL, Notion and Phorest can be called with what is set, and users of Google can consent."""
    own, found = settings.dispatcher, [app(settings)]
    match own.ghl_api_key, own.ghl_location_id:
        case None, None:
            found.append(off("to ghl", "GHL_API_KEY and GHL_LOCATION_ID are not set: events for GHL wait"))
        case SecretStr() as key, str(location):
            found.append(await _ghl(own, key, location) if calls else off("to ghl", "set; not called"))
        case None, str(location) if own.ghl_client_id is not None:
            found.append(fine("to ghl", f"location {location} goes by its consent: GHL_API_KEY is not set"))
        case _, None:
            found.append(wrong("to ghl", "GHL_API_KEY is set, GHL_LOCATION_ID is not: events for GHL wait", "Set both."))
        case _:
            found.append(wrong("to ghl", "GHL_LOCATION_ID is set, GHL_API_KEY is not: events for GHL wait", "Set both."))
    if own.notion_api_key is None:
        found.append(off("to notion", "NOTION_API_KEY is not set: Notion events wait"))
    else:
        found.append(await _notion(own, own.notion_api_key) if calls else off("to notion", "set; not called"))
    return [*found, await phorest(own, PATIENCE, calls=calls), google(settings)]


async def _ghl(own: DispatcherSettings, key: SecretStr, location: str) -> Finding:
    async with _http("ghl", str(own.ghl_api_base_url), key, classify_ghl) as http:
        try:
            fields = await GhlClient(http, location).custom_fields()
        except Exception as problem:  # noqa: BLE001 -- becomes a finding
            return _not_callable("to ghl", problem)
    return fine("to ghl", f"{own.ghl_api_base_url} takes the token for location {location}; {count(len(fields), 'custom field')}")


async def _notion(own: DispatcherSettings, key: SecretStr) -> Finding:
    async with _http("notion", str(own.notion_api_base_url), key, classify_notion) as http:
        try:
            await http.call("GET", http.path("v1", "users", "me"), headers={"notion-version": own.notion_api_version})
        except Exception as problem:  # noqa: BLE001 -- becomes a finding
            return _not_callable("to notion", problem)
    return fine("to notion", f"{own.notion_api_base_url} takes the token")


def _http(name: str, base_url: str, key: SecretStr, classify: Classify) -> Http:
    return Http(name, base_url, token=key, classify=classify, budget=Unlimited(), timeouts=PATIENCE)


def _not_callable(area: str, problem: BaseException) -> Finding:
    if isinstance(problem, Unavailable):
        return wrong(area, str(problem), "Check the base address and the network; events wait meanwhile.")
    return failed(area, problem)
