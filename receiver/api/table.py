"""The table of operations: every route of the receiver, in the order in which it is documented and looked up."""

from starlette.routing import Route

from receiver import health
from receiver.api import (
    appointments,
    audit,
    audits,
    auto_sync,
    dead_letters,
    destinations,
    events,
    find,
    front_door,
    monitor,
    oauth,
    openapi,
    phorest,
    plans,
    syncs,
)
from receiver.api.endpoint import Endpoint
from receiver.api.operation import NoBody, NoQuery, Operation, Table
from receiver.api.webhook_docs import WEBHOOKS


def build_table() -> Table:
    """All operations, those of the webhooks included, which the fast path serves."""
    table: Table = (
        *WEBHOOKS,
        *front_door.OPERATIONS,  # /api/webhooks/notion/handshakes, before /api/webhooks/{source}/health
        *health.operations(health.Metrics()),
        *events.OPERATIONS,
        *find.OPERATIONS,
        *dead_letters.OPERATIONS,
        *plans.OPERATIONS,
        *destinations.OPERATIONS,
        *appointments.OPERATIONS,
        *syncs.OPERATIONS,
        *auto_sync.OPERATIONS,
        *oauth.OPERATIONS,
        *monitor.OPERATIONS,
        *audit.OPERATIONS,
        *audits.OPERATIONS,
        *phorest.OPERATIONS,
    )
    described = Operation("GET", "/openapi.json", "This description", None, openapi.serve(lambda: whole), NoQuery, NoBody)
    whole: Table = (*table, described)
    return whole


def routes(table: Table) -> list[Route]:
    """A route for each path that is served through the table."""
    served = sorted((operation for operation in table if operation.handler is not None), key=lambda operation: operation.path.count("{"))
    paths = {operation.path: None for operation in served}
    return [Route(path, Endpoint([operation for operation in served if operation.path == path])) for path in paths]
