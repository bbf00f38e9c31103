"""Everything that can go wrong at a destination, as one small tree.

RemoteError
├ Unavailable    could not be reached, 502/503/504/529
├ Failed         500 and other unmapped 5xx, an answer that cannot be read
├ AnswerLost     time-out or cut after the request may have been sent
├ RateLimited    429: wait as told
├ Refused        our data: will not get better by itself
│ └ Expired      a token of a list that is too old: the list begins anew without it
├ Unauthorised   the token is dead or wrong
│ ├ WrongToken   it is of the wrong class: an agency's, where a location's is wanted
│ ├ Suspended    its account is paused over there; the same token works again later
│ └ ConsentLost  it cannot be refreshed any more: a person has to consent again
├ Forbidden      the token is good, but must not do this
├ Misused        our own bug: version header missing, unknown path
└ Gone           the object is not there, or not shown to us

The HTTP client maps each foreign failure onto this tree once; nothing else looks at status codes.
Foreign text is scrubbed and bounded here, by construction, so that no caller can forget it.
"""

import re
from types import EllipsisType
from typing import ClassVar, Final

from dispatcher.policy.breaker import Verdict
from dispatcher.policy.ratelimit import Scope
from outbox.errors import PostroomError

MESSAGE_CHARS: Final = 200
DETAILS: Final = 20
_EXAMINED_CHARS: Final = 2_000

# One pass, first alternative wins: a dashed UUID and an event of ours are kept (they name no person), before their digits look like a
# phone number; those have at most 15.
_PRIVATE = re.compile(
    r"(?P<uuid>\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b)"
    r"|(?P<event>(?<!\S)#\d{16}(?!\S))"
    r"|(?P<mail>[^\s@<>\"',;()]{1,100}@[^\s@<>\"',;()]{1,255})"
    r"|(?P<secret>\bBearer\s+\S+|\b(?:pit-|ntn_|secret_|whsec_|eyJ)[\w.+/=-]+|[A-Za-z0-9_+/=-]{32,})"
    r"|(?P<number>\+?\(?\d[\d\s().-]{5,}\d)",
    re.IGNORECASE,
)
_MARKS: Final = {"mail": "[e-mail]", "secret": "[secret]", "number": "[number]"}


def scrub(text: str, *, max_chars: int = MESSAGE_CHARS) -> str:
    """Text of the far side without e-mail addresses, phone numbers and tokens, on one line, at most `max_chars` long."""
    if len(text) > _EXAMINED_CHARS:  # cut at a space, so that half an address does not slip through
        text = text[:_EXAMINED_CHARS].rpartition(" ")[0]
    printable = "".join(c if c.isprintable() else " " for c in text)
    scrubbed = " ".join(_PRIVATE.sub(_mark, printable).split())
    return scrubbed if len(scrubbed) <= max_chars else scrubbed[: max_chars - 1] + "…"


def _mark(match: re.Match[str]) -> str:
    return _MARKS.get(match.lastgroup or "", match.group())


class RemoteError(PostroomError):
    """A destination did not do what it was asked.

    `happened`: False = the far side surely did not do it, None = unknown, so look before asking again;
    True = it failed to say so, but it told us that it was done (look, never repeat).
    """

    advice: ClassVar[str] = "Look at the destination's own status page."
    verdict: ClassVar[Verdict] = Verdict.ANSWERED
    usually_happened: ClassVar[bool | None] = False

    def __init__(
        self,
        destination: str,
        message: str,
        *,
        status: int | None = None,
        details: tuple[str, ...] = (),
        happened: bool | EllipsisType | None = ...,
    ) -> None:
        self.destination = destination
        self.status = status
        self.message = scrub(message) or "no reason given"
        self.details = tuple(scrub(detail) for detail in details[:DETAILS])
        self.happened = self.usually_happened if isinstance(happened, EllipsisType) else happened
        super().__init__(destination, self.message)

    def __str__(self) -> str:
        answered = self.destination if self.status is None else f"{self.destination} answered {self.status}"
        details = f" ({'; '.join(self.details)})" if self.details else ""
        return f"{answered}: {self.message.rstrip('.')}{details}. {self.advice}"


class Unavailable(RemoteError):
    """The destination could not be reached or says that it is down."""

    advice = "It is tried again until it is back; nothing to do here."
    verdict = Verdict.FAILED
    usually_happened = None


class Failed(RemoteError):
    """The destination broke while it worked on our request, or its answer cannot be read."""

    advice = "It is tried again; if it stays, report it to the destination's support."
    verdict = Verdict.FAILED
    usually_happened = None


class AnswerLost(RemoteError):
    """The request may have been sent, but no whole answer came: the effect has to be looked up before it is repeated."""

    advice = "The effect is looked up before it is tried again."
    verdict = Verdict.FAILED
    usually_happened = None


class RateLimited(RemoteError):
    """Too many requests: nothing was done, and this credential rests for `retry_after_s` seconds."""

    advice = "It goes on by itself when the limit allows."

    def __init__(
        self,
        destination: str,
        message: str,
        *,
        retry_after_s: float,
        scope: Scope = Scope.BURST,
        status: int | None = 429,
        details: tuple[str, ...] = (),
    ) -> None:
        super().__init__(destination, message, status=status, details=details)
        self.retry_after_s = retry_after_s
        self.scope = scope


class Refused(RemoteError):
    """The destination will not take this data, now or later. `duplicate_of`: id of the contact that is already there (GHL), else None."""

    advice = "Correct the data, then retry the dead letter."

    def __init__(
        self,
        destination: str,
        message: str,
        *,
        status: int | None = None,
        details: tuple[str, ...] = (),
        happened: bool | EllipsisType | None = ...,
        duplicate_of: str | None = None,
    ) -> None:
        super().__init__(destination, message, status=status, details=details, happened=happened)
        self.duplicate_of = duplicate_of


class Expired(Refused):
    """A token that continued a list, or asked for its changes, counts no more; the same question without it is answered."""

    advice = "The list is read anew, whole."


class Unauthorised(RemoteError):
    """The token is dead or wrong: no request with it can succeed. `is_stale`: a fresh token of the same consent may help."""

    advice = "Replace the token, then resume the destination."
    verdict = Verdict.LOCKED_OUT
    is_stale: ClassVar[bool] = True


class WrongToken(Unauthorised):
    """The token is alive, but of a class that may not do this, whatever its scopes are."""

    advice = "Use a token of the location itself, then resume the destination."
    is_stale = False


class Suspended(Unauthorised):
    """The account behind the token is paused over there (billing, its agency): the same token works again later, so it is kept."""

    advice = "Reactivate the account over there; it goes on by itself."
    is_stale = False


class ConsentLost(Unauthorised):
    """There is nothing left to refresh with: the consent was withdrawn, ran out, or was never given."""

    advice = "Connect it again with `postroom connect`; its events wait until then."
    is_stale = False


class Forbidden(RemoteError):
    """The token is good, but must not do this: a scope, a capability or a share is missing."""

    advice = "Grant the missing permission at the destination, then retry."


class Misused(RemoteError):
    """We called the destination wrongly. A bug of this program, or a wrong base address."""

    advice = "Check the base address in the configuration; if it is right, this is a bug."


class Gone(RemoteError):
    """The object is not there. Notion says the same of a page that is merely no longer shared: one Gone is no reason to delete anything."""

    advice = "If it should be there, check that it is shared with this connection."
