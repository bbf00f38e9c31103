"""A user's consent to read their Google contacts: the code becomes a token pair, and a user whose sync is on is synced at once.

A pair commits together with the settlement of the event that brought it. A code counts once: one whose answer was lost needs another
consent, and its dead letter says so.
"""

from pydantic import BaseModel, ConfigDict

from dispatcher.context import Context
from dispatcher.errors import Refused
from dispatcher.outcome import Dead, Done, Outcome, Settled
from outbox.errors import ConfigError
from outbox.event import Claimed
from outbox.store import events, google_users

AGAIN = "send the person a new link: `postroom connect google --user …`"


class Code(BaseModel):
    """What the receiver stages when a person comes back from Google's consent page."""

    model_config = ConfigDict(frozen=True)

    sealed: str
    verifier: str
    redirect_uri: str
    account: str


async def consented(event: Claimed, ctx: Context) -> Outcome | Settled:
    """A person consented: their contacts can be read from now on."""
    accounts, code = ctx.services.google, Code.model_validate(event.json())
    if accounts is None:
        raise ConfigError("GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET are not set")
    try:
        granted = await accounts.exchange(code.sealed.encode(), code.verifier.encode(), redirect_uri=code.redirect_uri)
    except Refused as problem:
        return Dead(f"Google does not take the code: {problem.message}; {AGAIN}")
    if not granted.may_read_contacts:
        return Dead(f"the person did not leave `See your contacts` ticked; {AGAIN}")
    if granted.refresh_token is None:
        return Dead(f"Google gave no refresh token, so it would be over in an hour; {AGAIN}")
    async with ctx.transaction() as tx:
        name = await accounts.keep(tx.connection, code.account, granted, at=event.staged_at)
        await google_users.connected(tx.connection, code.account, now=await events.clock(tx.connection))
        return await tx.settle(Done({"connected": name}))
