"""/openapi.json says what the code does: every route is in it, nothing else is, and the answers are as it describes them."""

import time
from typing import Any

import jsonschema
import pytest
from starlette.routing import Route

from dispatcher.context import Context
from dispatcher.outcome import Dead, Outcome
from dispatcher.routes import Route as HandlerRoute
from outbox import Claimed, Event
from outbox.cadence import Every
from outbox.store import events, runs, schedules, syncs
from outbox.store.runs import Category, Entry, Trigger, What
from outbox.store.schedules import CatchUp
from outbox.testing import Drain, Postroom
from receiver.api.endpoint import Endpoint
from receiver.api.openapi import document
from receiver.api.table import build_table
from tests.receiver.google_users import consent, keep_contacts
from tests.receiver.running import AS_OPERATOR, CRON_SECRET, UNUSED_DSN, ghl_delivery, standard_delivery, started
from tests.receiver.test_api_events import stage_all
from tests.receiver.test_appointments import CUT
from tests.receiver.test_handshake import handshake

METHODS = ("get", "post", "patch", "put", "delete")
SANE = {
    "type": "object",
    "required": ["openapi", "info", "paths", "components"],
    "properties": {
        "openapi": {"const": "3.1.0"},
        "info": {"type": "object", "required": ["title", "version"]},
        "paths": {
            "type": "object",
            "propertyNames": {"pattern": "^/"},
            "additionalProperties": {
                "type": "object",
                "propertyNames": {"enum": list(METHODS)},
                "additionalProperties": {
                    "type": "object",
                    "required": ["summary", "operationId", "responses"],
                    "properties": {
                        "operationId": {"type": "string", "pattern": "^[a-z0-9_-]+$"},
                        "parameters": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["name", "in", "schema", "required"],
                                "properties": {"in": {"enum": ["path", "query", "header"]}, "schema": {"type": "object"}},
                            },
                        },
                        "requestBody": {"type": "object", "required": ["content"]},
                        "responses": {
                            "type": "object",
                            "minProperties": 1,
                            "propertyNames": {"pattern": "^[1-5][0-9][0-9]$"},
                            "additionalProperties": {"type": "object", "required": ["description"]},
                        },
                    },
                },
            },
        },
    },
}


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for inner in value.values() for found in references(inner)]
    return [found for inner in value for found in references(inner)] if isinstance(value, list) else []


async def test_the_description_is_served_and_sane() -> None:
    async with started(UNUSED_DSN) as talk:
        described = (await talk.client.get("/openapi.json")).json()
    jsonschema.validate(described, SANE)
    names = [operation["operationId"] for path in described["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))
    known = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    assert set(references(described)) <= known
    for schema in described["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


async def test_every_route_is_described_and_everything_described_is_a_route() -> None:
    async with started(UNUSED_DSN) as talk:
        described = {(method.upper(), path) for path, methods in document(talk.app.table)["paths"].items() for method in methods}
        served = set()
        for route in talk.app.routes:
            assert isinstance(route, Route)
            if route.path.startswith("/console"):
                continue  # pages for people are no part of the API
            assert isinstance(route.endpoint, Endpoint)
            served |= {(method, route.path) for method in route.endpoint.operations}
        served |= {("POST", f"/api/webhooks/{name.partition('/')[0]}") for name in talk.desk.webhooks.doors if "/" not in name}
        served.add(("POST", "/api/webhooks/standard/{name}"))
    assert described == served


def test_every_path_parameter_is_described() -> None:
    for path, methods in document(build_table())["paths"].items():
        for operation in methods.values():
            inside = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
            assert inside == {part[1:-1] for part in path.split("/") if part.startswith("{")}


@pytest.fixture
async def ids(postroom: Postroom, drain: Drain) -> dict[str, str]:
    """A dead letter, and rows in every list."""

    async def dies(event: Claimed, ctx: Context) -> Outcome:
        return Dead("no good")

    [dead, *_] = await stage_all(
        postroom, Event("test.dies", {}, lane="a"), Event("test.dies", {}, lane="d"), Event("test.unheard", {}, lane="b")
    )
    await drain({"test.dies": HandlerRoute(dies)})
    await stage_all(postroom, Event("test.waits", {}, lane="c"))
    await postroom.pool.execute(
        """insert into outbox.busy (lane, event_id, urgency, due_at, why)
           select p.lane, p.event_id, p.urgency, now() + interval '1 h', 'held' from outbox.pending p;
           delete from outbox.pending;
           insert into outbox.budgets (credential, tokens) values ('ghl:somewhere', 20)"""
    )
    await postroom.pool.execute("insert into crm.audits (id, system, started_at) values ($1, 'phorest', now())", dead)
    await postroom.pool.execute(
        "insert into crm.audit_gaps (audit_id, kind, id, gap, repair) values ($1, 'client', 'p1', 'not here', $1)", dead
    )
    group = await postroom.value("select fingerprint from outbox.dead where event_id = $1", dead)
    async with postroom.pool.acquire() as connection, connection.transaction():
        await syncs.register(connection, "shop", destination=None, types=["incremental"], off=None)
        await schedules.put(connection, "shop", "incremental", Every(600), catch_up=CatchUp.ONE, now=await events.clock(connection))
        run = await runs.ask(connection, "shop", "incremental", trigger=Trigger.MANUAL, by="ada")
        assert run is not None
        await runs.log(connection, run.id, [Entry("r1", What.CREATED), Entry("r2", What.ERROR, Category.API, "refused")])
        await connection.execute("""update outbox.runs set errors_by = '{"api": 1}' where id = $1""", run.id)
    return {"id": str(dead), "group": group, "run": str(run.id), "sync": "shop", "type": "incremental"}


async def test_what_the_api_answers_is_as_described(postroom: Postroom, ids: dict[str, str]) -> None:
    described = document(build_table())
    async with started(postroom) as talk:
        await talk.webhook("ghl", ghl_delivery())
        await talk.webhook("standard/shop", standard_delivery("m1", int(time.time())))
        await talk.webhook("ghl", ({}, b"{}"))
        await talk.webhook("notion", handshake())
        appointment = (await talk.post("/api/appointments", CUT)).json()["appointment"]
        plan = (await talk.post("/api/dead-letters/plans", {"lane": "d"})).json()["id"]
        assert (await talk.post(f"/api/plans/{plan}/start")).json()["portions"]
        await talk.post("/api/destinations/ghl/pause", {"reason": "a test"})
        await consent(postroom)
        await talk.client.put("/api/auto-sync/ada", json={"enabled": True}, headers=AS_OPERATOR)
        await keep_contacts(postroom, "a")
        await talk.flushed()
        for path, methods in described["paths"].items():
            if "get" not in methods or path == "/metrics" or path.startswith("/api/oauth/"):  # the last are a browser's
                continue
            given = {**ids, "name": "shop", "source": "ghl", "user_id": "ada"} | (
                {"id": appointment["id"]} if "appointments" in path else {}
            )
            given |= {"id": plan} if "/plans/" in path else {}
            if "/runs/" in path:
                given["id"] = ids["run"]
            by_cron = {"authorization": f"Bearer {CRON_SECRET}"} if path.startswith("/api/cron/") else {}
            answer = await talk.client.get(path.format(**given), headers={**AS_OPERATOR, **by_cron})
            assert answer.status_code == 200, path
            schema = methods["get"]["responses"]["200"]["content"]["application/json"].get("schema")
            if schema is not None:
                validate(answer.json(), schema, described)
                assert_not_empty(answer.json(), path)
        refused = await talk.client.get("/api/events?colour=red", headers=AS_OPERATOR)
        validate(refused.json(), {"$ref": "#/components/schemas/Problem"}, described)


def validate(said: Any, schema: dict[str, Any], described: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator({**schema, "components": described["components"]}).validate(said)


def assert_not_empty(said: dict[str, Any], path: str) -> None:
    """A list without a row would prove nothing about its rows."""
    lists = [
        value
        for name, value in said.items()
        if isinstance(value, list) and name not in ("switched_off", "steps_done", "covered", "follow_ups", "destinations")
    ]
    assert all(lists), path
