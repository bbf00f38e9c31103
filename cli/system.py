"""The whole system on one machine: simulators, worker and web as children, with an environment made for them.

    begun:  simulators ─▶ worker ─▶ web          stopped:  web ─▶ worker ─▶ simulators

Owns which variables each simulated system needs. The database is the caller's: the children join it by the data folder, or use
DATABASE_URL, like the commands typed by hand.
"""

import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cli import kept
from cli.children import Child, Children, Spec
from cli.deliver import DEMO_STANDARD_SECRET, DEMO_WORKFLOW_SECRET
from cli.kept import Kept
from dispatcher.config import DispatcherSettings
from outbox.config import DatabaseSettings
from receiver.config import ReceiverSettings
from simulators import samples
from simulators.notion_store import CLIENT_SCHEMA
from simulators.signing import GhlSigner

GHL, NOTION, GOOGLE, PHOREST = "ghl", "notion", "google", "phorest"
WORKER_GRACE_S = 15.0
COLUMNS = {"name": "Name", "slug": "Slug", "contact_email": "Contact email", "products_services": "Products and services"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. `simulated` names the systems that are stood in for; `logs`: a folder for the children's logs, None: our own error."""

    data_dir: Path
    listening: socket.socket
    simulated: frozenset[str]
    env: Mapping[str, str]
    webhooks: bool
    logs: Path | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listening.getsockname()[1]}"


@dataclass(frozen=True, slots=True)
class System:
    """It runs. `simulators`: their addresses, of what is simulated; `token` None: the environment names the operators."""

    url: str
    token: str | None
    simulators: Mapping[str, str]
    pids: Callable[[], dict[str, int | None]]


@asynccontextmanager
async def started(plan: Plan, children: Children) -> AsyncIterator[System]:
    """Begins all and waits until they are ready; `children` stops them. Raises ChildFailed."""
    own = kept.read_or_make(plan.data_dir)
    env = common(plan, own)
    at: dict[str, str] = {}
    all_children: dict[str, Child] = {}
    if plan.simulated:
        simulators = all_children["simulators"] = children.begin(_spec(plan, "simulators", _simulate(plan), env))
        told = await simulators.ready()
        # A simulator that is started again must be found where it was.
        ports = [f"--{name}-port={told[name].rpartition(':')[2]}" for name in (GHL, NOTION, GOOGLE, PHOREST)]
        simulators.spec = replace(simulators.spec, arguments=(*simulators.spec.arguments, *ports))
        at = {name: told[name] for name in plan.simulated}
        env |= destinations(at)
    worker = all_children["worker"] = children.begin(replace(_spec(plan, "worker", ("worker",), env), grace_s=_worker_grace_s(env)))
    fd = plan.listening.fileno()
    web = all_children["web"] = children.begin(replace(_spec(plan, "web", ("web", f"--fd={fd}"), env), pass_fds=(fd,)))
    await web.ready()
    await worker.ready()
    token = own.admin_token if own.admin_token in env["POSTROOM_ADMIN_TOKENS"] else None
    yield System(plan.url, token, at, lambda: {name: child.pid for name, child in all_children.items()})


def common(plan: Plan, own: Kept) -> dict[str, str]:
    """The environment of every child: what is set wins, except for a system that is simulated."""
    env = {**plan.env, "POSTROOM_DATA_DIR": str(plan.data_dir)}
    _default(env, "POSTROOM_ADMIN_TOKENS", f"local:operator:{own.admin_token}")
    _default(env, "POSTROOM_ENCRYPTION_KEYS", own.encryption_key)
    _default(env, "POSTROOM_LOG_LEVEL", "warning")
    if GHL in plan.simulated:
        env |= {"GHL_WEBHOOK_PUBLIC_KEYS": GhlSigner.for_demo().public_key_pem, "GHL_APP_ID": ""}
        _default(env, "GHL_WORKFLOW_SECRETS", f"demo={DEMO_WORKFLOW_SECRET}")
    if GOOGLE in plan.simulated:
        _default(env, "POSTROOM_PUBLIC_URL", plan.url)  # where a person comes back to from the simulated consent page
    if NOTION in plan.simulated:
        env |= {"NOTION_WEBHOOK_SECRET": samples.DEMO_VERIFICATION_TOKEN, "NOTION_CLIENTS_DATA_SOURCE": samples.DEMO_DATABASE_ID}
    if plan.simulated >= {GHL, NOTION}:
        # Everybody has the demo's secrets: they never stand beside a real credential.
        _default(env, "STANDARD_WEBHOOK_SECRETS", f"demo={DEMO_STANDARD_SECRET}")
    return env


def destinations(at: Mapping[str, str]) -> dict[str, str]:
    """Where the dispatcher finds the simulators, and what lets it in."""
    env: dict[str, str] = {}
    if GHL in at:
        env |= {"GHL_API_BASE_URL": at[GHL], "GHL_API_KEY": samples.DEMO_GHL_TOKEN, "GHL_LOCATION_ID": samples.DEMO_LOCATION_ID}
    if NOTION in at:
        columns = ",".join(f"{column}={CLIENT_SCHEMA[name][0]}" for column, name in COLUMNS.items())
        env |= {"NOTION_API_BASE_URL": at[NOTION], "NOTION_API_KEY": samples.DEMO_NOTION_TOKEN, "NOTION_CLIENT_PROPERTIES": columns}
    if GOOGLE in at:
        env |= {f"GOOGLE_{what}_BASE_URL": at[GOOGLE] for what in ("API", "TOKEN", "CONSENT")}
        env |= {"GOOGLE_CLIENT_ID": samples.DEMO_GOOGLE_CLIENT_ID, "GOOGLE_CLIENT_SECRET": samples.DEMO_GOOGLE_CLIENT_SECRET}
    if PHOREST in at:
        env |= {
            "PHOREST_API_BASE_URL": at[PHOREST],
            "PHOREST_USERNAME": samples.DEMO_PHOREST_USERNAME,
            "PHOREST_PASSWORD": samples.DEMO_PHOREST_PASSWORD,
            "PHOREST_BUSINESS_ID": samples.DEMO_BUSINESS_ID,
            "PHOREST_BRANCHES": f"{samples.DEMO_BRANCH_ID}={samples.DEMO_ZONE}",
            "PHOREST_CALENDARS": f"{samples.DEMO_BRANCH_ID}={samples.DEMO_CALENDAR_ID}",
        }
    return env


def without_settings(env: Mapping[str, str], *, keep: frozenset[str]) -> dict[str, str]:
    """An environment without any variable of ours, so that nothing real can be reached by accident."""
    ours = {field.alias for kind in (DatabaseSettings, ReceiverSettings, DispatcherSettings) for field in kind.model_fields.values()}
    return {name: value for name, value in env.items() if name not in ours or name in keep}


def _default(env: dict[str, str], name: str, value: str) -> None:
    env[name] = env.get(name) or value


def _simulate(plan: Plan) -> tuple[str, ...]:
    return ("simulate", *(("--webhooks-to", plan.url) if plan.webhooks else ()))


def _spec(plan: Plan, name: str, arguments: tuple[str, ...], env: Mapping[str, str]) -> Spec:
    return Spec(name, arguments, dict(env), log=plan.logs / f"{name}.log" if plan.logs is not None else None)


def _worker_grace_s(env: Mapping[str, str]) -> float:
    """A worker's own grace, and time to hand back what it could not finish."""
    try:
        return float(env.get("POSTROOM_GRACE_SECONDS") or 20) + WORKER_GRACE_S
    except ValueError:
        return 20 + WORKER_GRACE_S
