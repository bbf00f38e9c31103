"""What Phorest means by its refusals: plain text for 429, nothing at all for 401, else {"message" | "errorCode" | "detail"}. Pure."""

from typing import Final

from dispatcher.clients.answer import Answer, by_status, items, member, text
from dispatcher.errors import RemoteError

_UNSAID: Final = {401: "the user or the password is not taken", 429: "its rate limit is used up"}


def classify_phorest(answer: Answer) -> RemoteError:
    """The error that an answer of Phorest means. A 429 tells no time: the credential rests as long as we let it."""
    body = answer.body
    said = next((found for name in ("message", "detail", "errorCode", "error") if (found := text(member(body, name)))), "")
    listed = tuple(found for item in items(member(body, "errors")) if (found := text(item) or text(member(item, "message"))))
    said = said or _UNSAID.get(answer.status, "no reason given")
    return by_status(answer, said, details=listed)
