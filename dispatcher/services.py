"""Builds what the handlers of a process share: the pool, and a client for each destination whose credentials are set."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import TypeAlias

from dispatcher.budget import SharedBudget
from dispatcher.calls import counting
from dispatcher.clients import channels
from dispatcher.clients.accounts import GHL, App, GhlAccounts
from dispatcher.clients.ghl import GhlClient
from dispatcher.clients.ghl_errors import classify_ghl
from dispatcher.clients.ghl_oauth import GhlOAuth
from dispatcher.clients.google_accounts import CONSENTS as GOOGLE_CONSENTS
from dispatcher.clients.google_accounts import GOOGLE, GoogleAccounts
from dispatcher.clients.google_errors import classify_google, classify_google_oauth, google_limits
from dispatcher.clients.google_oauth import GoogleOAuth
from dispatcher.clients.http import Http, Observe, Unlimited
from dispatcher.clients.notion import NotionClient
from dispatcher.clients.notion_errors import classify_notion
from dispatcher.clients.oauth import Tokens
from dispatcher.clients.phorest import PHOREST, PhorestClient, basic
from dispatcher.clients.phorest_errors import classify_phorest
from dispatcher.config import DispatcherSettings
from dispatcher.context import Services
from dispatcher.policy.ratelimit import GHL_RATE, GOOGLE_RATE, NOTION_RATE, PHOREST_RATE, ghl_limits, notion_limits
from outbox import db
from outbox.db import Pool
from outbox.errors import ConfigError
from outbox.log import get_logger, scrub
from outbox.seal import Sealer, fingerprint

log = get_logger(__name__)

# Opens a client of the user's own; what it yields is what ctx.client() gives. None: it is not set up, and its events wait.
OpenClient: TypeAlias = Callable[[], AbstractAsyncContextManager[object]]

POOL_TIMEOUT_S = 5  # as the engine's own: a line that fell silent is given up well inside P9's 15 s


@asynccontextmanager
async def services(
    dsn: str,
    settings: DispatcherSettings,
    *,
    sealer: Sealer | None = None,
    pool_size: int = 16,
    own: Mapping[str, OpenClient] = MappingProxyType({}),
) -> AsyncIterator[Services]:
    """Open for the life of a dispatcher process. A database that is away does not stop the start.

    `sealer` opens the tokens of connected accounts; without one there are none. `own` are the clients of the user's own modules.
    Raises ConfigError for one that cannot be opened.
    """
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(db.pool(dsn, name="postroom:handlers", size=pool_size, timeout_s=POOL_TIMEOUT_S))
        sealer = sealer or Sealer(())
        observe = (await stack.enter_async_context(counting(pool))).made
        accounts = await _accounts(stack, pool, settings, sealer, observe)
        google = await _google(stack, pool, settings, sealer, observe)
        notion = None
        if settings.notion_api_key is not None:
            credential = f"notion:{fingerprint(settings.notion_api_key.get_secret_value())}"
            budget = SharedBudget(pool, destination="notion", credential=credential, rate=NOTION_RATE)
            http = await stack.enter_async_context(
                Http(
                    "notion",
                    str(settings.notion_api_base_url),
                    token=settings.notion_api_key,
                    classify=classify_notion,
                    budget=budget,
                    read_limits=notion_limits,
                    observe=observe,
                )
            )
            notion = NotionClient(http, settings.notion_api_version)
        rooms = await stack.enter_async_context(channels.opened(settings.channels(), allow_private=settings.alert_private))
        opened = {name: await _opened(stack, name, open_client) for name, open_client in own.items()}
        phorest = await _phorest(stack, pool, settings, observe)
        yield Services(pool, settings, None if accounts is None else accounts.default, notion, accounts, opened, google, phorest, rooms)


async def _opened(stack: AsyncExitStack, name: str, open_client: OpenClient) -> object:
    try:
        return await stack.enter_async_context(open_client())
    except ConfigError:
        raise
    except Exception as problem:
        raise ConfigError(f"your own client {name!r} cannot be opened: {type(problem).__name__}: {scrub(str(problem))}") from problem


async def _phorest(stack: AsyncExitStack, pool: Pool, settings: DispatcherSettings, observe: Observe) -> PhorestClient | None:
    """None when it is not set up."""
    username, password, business = settings.phorest_username, settings.phorest_password, settings.phorest_business_id
    if username is None or password is None or business is None:
        return None
    token = basic(username, password)
    budget = SharedBudget(pool, destination=PHOREST, credential=f"phorest:{fingerprint(token.get_secret_value())}", rate=PHOREST_RATE)
    base = str(settings.phorest_api_base_url)
    http = Http(PHOREST, base, token=token, scheme="Basic", classify=classify_phorest, budget=budget, observe=observe)
    return PhorestClient(await stack.enter_async_context(http), business)


async def _accounts(
    stack: AsyncExitStack, pool: Pool, settings: DispatcherSettings, sealer: Sealer, observe: Observe
) -> GhlAccounts | None:
    """The GHL locations that this process can speak for; None when neither a key nor an app is set up."""
    key, location = settings.ghl_api_key, settings.ghl_location_id
    client_id, client_secret = settings.ghl_client_id, settings.ghl_client_secret
    if client_id is not None and client_secret is not None and not sealer.ready:
        log.error("GHL's app is switched off: its tokens cannot be kept", do="set POSTROOM_ENCRYPTION_KEYS")
        client_id = None
    if (key is None or location is None) and (client_id is None or client_secret is None):
        return None

    def budget(name: str, location_id: str) -> SharedBudget:
        # By location, whichever token calls: GHL counts them together.
        return SharedBudget(pool, destination=name, credential=f"ghl:{location_id}", rate=GHL_RATE)

    base = Http(
        GHL,
        str(settings.ghl_api_base_url),
        token=None,
        classify=classify_ghl,
        budget=Unlimited(),
        read_limits=ghl_limits,
        observe=observe,
    )
    http = await stack.enter_async_context(base)
    default = None
    if key is not None and location is not None:
        default = GhlClient(http.for_account(GHL, token=key, budget=budget(GHL, location)), location)
    app = None
    if client_id is not None and client_secret is not None:
        oauth = GhlOAuth(http, client_id=client_id, client_secret=client_secret)
        oauth.tokens = await stack.enter_async_context(Tokens(pool, sealer, oauth))
        app = App(oauth, oauth.tokens, sealer)
    return GhlAccounts(pool, http, default=default, default_location=location, budget=budget, app=app)


async def _google(
    stack: AsyncExitStack, pool: Pool, settings: DispatcherSettings, sealer: Sealer, observe: Observe
) -> GoogleAccounts | None:
    """The users whose Google contacts this process can read; None when Google's app is not set up."""
    client_id, client_secret = settings.google_client_id, settings.google_client_secret
    if client_id is None or client_secret is None:
        return None
    if not sealer.ready:
        log.error("Google's app is switched off: its tokens cannot be kept", do="set POSTROOM_ENCRYPTION_KEYS")
        return None

    def budget(name: str) -> SharedBudget:
        return SharedBudget(pool, destination=name, credential=name, rate=GOOGLE_RATE)

    people = Http(
        GOOGLE,
        str(settings.google_api_base_url),
        token=None,
        classify=classify_google,
        budget=Unlimited(),
        read_limits=google_limits,
        observe=observe,
    )
    at_tokens = str(settings.google_token_base_url)
    endpoint = Http(GOOGLE_CONSENTS, at_tokens, token=None, classify=classify_google_oauth, budget=Unlimited(), observe=observe)
    oauth = GoogleOAuth(await stack.enter_async_context(endpoint), client_id=client_id, client_secret=client_secret)
    tokens = await stack.enter_async_context(Tokens(pool, sealer, oauth))
    return GoogleAccounts(await stack.enter_async_context(people), oauth, tokens, sealer, budget=budget)
