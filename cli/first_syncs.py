"""What `postroom up` asks for once it runs, so that there is something to see: one user's consent. Other syncs begin by themselves.

Through the operators' API, as a person would; waits for none of it. Nothing of it is asked of a system that is real.
"""

from typing import Final

import httpx

from cli import deliver
from cli.errors import Failed
from cli.system import GOOGLE, System

USER: Final = "demo-user"


async def begin(system: System) -> None:
    """Of what is simulated. Without an operator's token, nothing."""
    if system.token is None:
        return
    async with deliver.client(system.url) as to:
        to.headers["authorization"] = f"Bearer {system.token}"
        if GOOGLE in system.simulators:
            await _consent(to)


async def _consent(to: httpx.AsyncClient) -> None:
    """The simulated consent page consents at once, and sends the browser back to the receiver."""
    path = f"/api/auto-sync/{USER}"
    known = _taken(await to.get(path)).json()
    if known["connection"] != "active":
        link = _taken(await to.post(f"{path}/consent")).json()["consent_url"]
        async with httpx.AsyncClient(trust_env=False, timeout=30, follow_redirects=True) as browser:
            _taken(await browser.get(link))
    if not known["enabled"]:
        _taken(await to.put(path, json={"enabled": True}))


def _taken(answer: httpx.Response) -> httpx.Response:
    if not answer.is_success:
        raise Failed(f"{answer.request.method} {answer.request.url.path} was answered {answer.status_code}: {answer.text[:300]}")
    return answer
