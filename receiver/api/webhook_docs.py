"""The webhook routes as the table documents them. They are served by receiver.webhooks, past the table."""

from receiver.api.operation import NoBody, NoQuery, Operation, Said, Table


class Accepted(Said):
    id: int
    duplicate: bool


_REFUSALS = {
    400: "Rightly signed, but not a message of this sender",
    401: "One and the same answer for every signature or secret that does not fit",
    408: "The body came too slowly",
    413: "The body is too large",
    415: "The body is compressed",
    429: "Overloaded, or (GHL) the database is away; Retry-After says when to come again",
    503: "The database is away; Retry-After says when to come again",
}


def _webhook(path: str, summary: str, proof: str) -> Operation[NoQuery, NoBody]:
    return Operation(
        "POST", f"/api/webhooks/{path}", summary, None, None, NoQuery, NoBody, Accepted, status=202, also=_REFUSALS, webhook=proof
    )


WEBHOOKS: Table = (
    _webhook("ghl", "Webhooks of a GHL app", "X-GHL-Signature: Ed25519 over the raw body, base64."),
    _webhook("ghl-workflow", "Webhooks of GHL workflows", "X-Webhook-Secret, or Authorization: Bearer, with the connection's secret."),
    _webhook(
        "notion",
        "Webhooks of Notion",
        "X-Notion-Signature: sha256= and the HMAC-SHA256 of the raw body in hex. A handshake is answered 200 with {}.",
    ),
    _webhook(
        "standard/{name}",
        "Webhooks of any sender that follows Standard Webhooks",
        "webhook-id, webhook-timestamp and webhook-signature: v1, and the HMAC-SHA256 of id.timestamp.body in base64.",
    ),
)
