"""The simulated GHL: one Starlette app, its state, its faults and effects, and the checks every call passes.

    gate (log, faults) ─▶ token ─▶ version ─▶ budget ─▶ scope ─▶ body ─▶ endpoint ─▶ traceId and rate-limit headers
                      └▶ /oauth/…: see ghl_oauth

Each instance is a world of its own, in memory. The order of the checks is not documented by GHL; it is ours.
"""

import random
from collections.abc import Awaitable, Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from simulators import ghl_calendars, ghl_contacts, ghl_opportunities, ghl_tags, samples
from simulators.control import control_routes, put_route
from simulators.effects import Effects
from simulators.faults import Faults
from simulators.gate import Answer, Gate
from simulators.ghl_call import Call, Rule
from simulators.ghl_oauth import GhlOAuthDesk, Location, oauth_routes
from simulators.ghl_rules import ARRANGED_APPOINTMENT, ARRANGED_CONTACT, Dto, Grant, Refusal, check_version, error_name, granted
from simulators.ghl_store import GhlStore
from simulators.limits import Budget
from simulators.request_log import RequestLog
from simulators.shapes import Clock, JsonObject, compact, new_rng, parsed, utc_now, uuid_id
from simulators.webhooks import WebhookSender

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class GhlSettings:
    """`grants` adds tokens to the one of `token` and `location_id`. `echo`: changes made through the API raise webhooks, as at GHL.

    `token_life_s` is that of access tokens that a consent brings.
    """

    token: str = samples.DEMO_GHL_TOKEN
    location_id: str = samples.DEMO_LOCATION_ID
    grants: Mapping[str, Grant] | None = None
    burst_limit: int = 100
    burst_interval_s: float = 10.0
    daily_limit: int = 200_000
    allows_duplicates: bool = False
    echo: bool = False
    app_id: str | None = samples.DEMO_APP_ID
    client_id: str = samples.DEMO_CLIENT_ID
    client_secret: str = samples.DEMO_CLIENT_SECRET
    token_life_s: float = 86_399.0
    latency_s: float = 0.0


class GhlSimulator:
    """`app` is served; `effects`, `faults`, `requests`, `store`, `oauth` are for tests; `put_contact` and its kin are somebody at GHL."""

    def __init__(
        self,
        settings: GhlSettings | None = None,
        *,
        webhooks: WebhookSender | None = None,
        clock: Clock = utc_now,
        rng: random.Random | None = None,
    ) -> None:
        self.settings = settings or GhlSettings()
        self.webhooks = webhooks
        self._clock = clock
        self._rng = rng or new_rng()
        self.effects = Effects(clock=clock)
        self.faults = Faults(rng=self._rng)
        self.requests = RequestLog()
        own = Grant(frozenset({self.settings.location_id}))
        self.grants: dict[str, Grant] = {self.settings.token: own, **(self.settings.grants or {})}
        self._burst = Budget(self.settings.burst_limit, self.settings.burst_interval_s)
        self._daily = Budget(self.settings.daily_limit, _DAY_S)
        self.store = self._empty_store()
        self.oauth = self._empty_desk()
        self.app = self._build_app()

    def put_contact(self, contact_id: str | None = None, **fields: object) -> JsonObject:
        """Create or change a contact as a person at GHL would: no effect is counted, a webhook goes out."""
        is_new = contact_id not in self.store.contacts
        location_id = str(fields.pop("locationId", None) or self.settings.location_id)
        contact, is_changed = self.store.write_contact(contact_id, fields, location_id=location_id)
        if is_new or is_changed:
            self._raise("ContactCreate" if is_new else "ContactUpdate", contact)
        return deepcopy(contact)

    def remove_contact(self, contact_id: str) -> None:
        if contact := self.store.remove_contact(contact_id):
            self._raise("ContactDelete", contact)

    def put_appointment(self, appointment_id: str | None = None, **fields: object) -> JsonObject:
        """Create or change an appointment as a person at GHL would."""
        is_new = appointment_id not in self.store.appointments
        blank = samples.ghl_appointment("", locationId=self.settings.location_id) if is_new else {}
        for generated in ("id", "dateAdded", "dateUpdated"):
            blank.pop(generated, None)
        appointment = self.store.write_appointment(appointment_id, {**blank, **fields})
        self._raise("AppointmentCreate" if is_new else "AppointmentUpdate", appointment)
        return deepcopy(appointment)

    def remove_appointment(self, appointment_id: str) -> None:
        if appointment := self.store.appointments.pop(appointment_id, None):
            self._raise("AppointmentDelete", appointment)

    def put_calendar(self, calendar_id: str = samples.DEMO_CALENDAR_ID, **fields: object) -> JsonObject:
        """Create or change a calendar. Calendars raise no webhook."""
        calendar = {**samples.ghl_calendar(calendar_id, locationId=self.settings.location_id), **fields}
        self.store.calendars[calendar_id] = calendar
        return deepcopy(calendar)

    def put_opportunity(self, opportunity_id: str, **fields: object) -> JsonObject:
        """Create or change an opportunity as a person at GHL would, silently."""
        known = self.store.opportunities.get(opportunity_id)
        blank = samples.ghl_opportunity(opportunity_id, locationId=self.settings.location_id, createdAt=self.store.now())
        self.store.opportunities[opportunity_id] = {**(known or blank), **fields, "updatedAt": self.store.now()}
        return deepcopy(self.store.opportunities[opportunity_id])

    def add_location(self, location_id: str, name: str = "Example Salon", *, company_id: str = samples.DEMO_COMPANY_ID) -> Location:
        """Another sub-account, without the app."""
        self.store.add_location(location_id)
        return self.oauth.add_location(location_id, name, company_id=company_id)

    def install(self, location_id: str) -> None:
        """The app is installed there; a webhook says so. A consent (`oauth.consent`) is something else and may come before or after."""
        self.oauth.install(location_id)
        self._send(samples.ghl_app_event("INSTALL", location_id=location_id, **self._said_by(location_id)))

    def uninstall(self, location_id: str) -> None:
        """The app is removed, its tokens end; a webhook says so."""
        self.oauth.uninstall(location_id)
        self._send(samples.ghl_app_event("UNINSTALL", location_id=location_id, **self._said_by(location_id)))

    def _said_by(self, location_id: str) -> dict[str, Any]:
        location = self.oauth.locations[location_id]
        return {
            "company_id": location.company_id,
            "webhook_id": uuid_id(self._rng),
            "at": self._clock(),
            "app_id": self.settings.app_id,
        }

    def state(self) -> JsonObject:
        """A copy of everything stored."""
        store = self.store
        return deepcopy(
            {
                "contacts": store.contacts,
                "notes": store.notes,
                "tasks": store.tasks,
                "appointments": store.appointments,
                "calendars": store.calendars,
                "opportunities": store.opportunities,
                "custom_fields": store.custom_fields,
            }
        )

    def reset(self) -> None:
        """Back to a new instance with the same settings. What hangs is let go."""
        self.store = self._empty_store()
        self.oauth = self._empty_desk()
        self.effects.clear()
        self.faults.clear()
        self.requests.clear()
        self._burst.clear()
        self._daily.clear()

    def _empty_store(self) -> GhlStore:
        return GhlStore(location_id=self.settings.location_id, clock=self._clock, rng=self._rng)

    def _empty_desk(self) -> GhlOAuthDesk:
        settings = self.settings
        desk = GhlOAuthDesk(
            clock=self._clock,
            rng=self._rng,
            token_life_s=settings.token_life_s,
            client_id=settings.client_id,
            client_secret=settings.client_secret,
        )
        desk.add_location(settings.location_id)
        return desk

    def _build_app(self) -> Starlette:
        rules = (*ghl_contacts.RULES, *ghl_calendars.RULES, *ghl_opportunities.RULES, *ghl_tags.RULES)
        doors = control_routes(
            self, extra=[put_route("/_sim/contacts", self._put_contact_door), put_route("/_sim/appointments", self._put_appointment_door)]
        )
        app = Starlette(
            routes=[
                *doors,
                *oauth_routes(lambda: self.oauth, consents_for=self.settings.location_id),
                *(Route(rule.path, self._endpoint(rule), methods=[rule.method]) for rule in rules),
            ],
            middleware=[
                Middleware(
                    Gate,
                    faults=self.faults,
                    requests=self.requests,
                    said_with=self._said_with,
                    latency_s=self.settings.latency_s,
                    clock=self._clock,
                )
            ],
            exception_handlers={HTTPException: self._unknown_path},
        )
        app.router.redirect_slashes = False
        return app

    def _endpoint(self, rule: Rule) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            resource = self.settings.location_id
            try:
                authorization = request.headers.get("authorization", "")
                grant = self.oauth.granted(authorization) or granted(self.grants, authorization)
                version = request.headers.get("version")
                check_version(version, is_calendar=rule.is_calendar)
                resource = grant.resource
                self._spend(resource)
                grant.check(rule.scope)
                body = await _body(request) if rule.dto else {}
                if rule.dto:
                    rule.dto.check(body)
                answer = rule.endpoint(
                    Call(
                        store=self.store,
                        effects=self.effects,
                        changed=self._echo,
                        grant=grant,
                        path=request.path_params,
                        query=request.query_params,
                        body=body,
                        is_v3=version == "v3",
                        allows_duplicates=self.settings.allows_duplicates,
                    )
                )
                status = rule.status
            except Refusal as refusal:
                answer, status = refusal.body, refusal.status
            return JSONResponse({**answer, "traceId": uuid_id(self._rng)}, status, headers=self._limit_headers(resource))

        return handle

    def _spend(self, resource: str) -> None:
        """One request of the day and of the burst. The body of a 429 is not documented; clients go by the headers."""
        now = self._clock()
        if self._daily.left(resource, now) <= 0 or not self._burst.take(resource, now):
            raise Refusal(429, "Too Many Requests")
        self._daily.take(resource, now)

    def _limit_headers(self, resource: str | None = None) -> dict[str, str]:
        resource, now = resource or self.settings.location_id, self._clock()
        headers = {
            "x-ratelimit-max": str(self._burst.limit),
            "x-ratelimit-remaining": str(self._burst.left(resource, now)),
            "x-ratelimit-interval-milliseconds": str(round(self._burst.window_s * 1000)),
            "x-ratelimit-limit-daily": str(self._daily.limit),
            "x-ratelimit-daily-remaining": str(self._daily.left(resource, now)),
        }
        if self._daily.left(resource, now) <= 0:
            headers["x-ratelimit-daily-reset"] = str(round(self._daily.resets_in_s(resource, now) * 1000))
        return headers

    def _said_with(self, status: int) -> Answer:
        """What GHL says with a status that a fault asked for. A 429 comes with an empty burst window."""
        messages = {401: "Invalid token: access token is invalid", 403: "The token does not have access to this location."}
        message = messages.get(status, error_name(status))
        headers = self._limit_headers() | ({"x-ratelimit-remaining": "0"} if status == 429 else {})
        body = Refusal(status, message).body | {"traceId": uuid_id(self._rng)}
        return Answer(status, (("content-type", "application/json"), *headers.items()), compact(body))

    async def _unknown_path(self, request: Request, _: Exception) -> Response:
        body = Refusal(404, f"Cannot {request.method} {request.url.path}").body
        return JSONResponse({**body, "traceId": uuid_id(self._rng)}, 404, headers=self._limit_headers())

    def _echo(self, event_type: str, document: JsonObject) -> None:
        if self.settings.echo:
            self._raise(event_type, document)

    def _raise(self, event_type: str, document: JsonObject) -> None:
        webhook_id, at, app_id = uuid_id(self._rng), self._clock(), self.settings.app_id
        if event_type.startswith("Contact"):
            event = samples.ghl_contact_event(event_type, document, webhook_id=webhook_id, at=at, app_id=app_id)
        elif event_type.startswith("Appointment"):
            event = samples.ghl_appointment_event(event_type, document, webhook_id=webhook_id, at=at, app_id=app_id)
        else:
            make = samples.ghl_note_event if event_type.startswith("Note") else samples.ghl_task_event
            location_id = self.store.contacts[document["contactId"]]["locationId"]
            event = make(event_type, document, location_id=location_id, webhook_id=webhook_id, at=at, app_id=app_id)
        self._send(event)

    def _send(self, event: JsonObject) -> None:
        if self.webhooks is not None:
            self.webhooks.send(event)

    def _put_contact_door(self, document: JsonObject) -> JsonObject:
        """`{"id"?, …fields}`; with `"deleted": true` the contact is removed."""
        _check_arranged(ARRANGED_CONTACT, document)
        contact_id = document.pop("id", None)
        if document.pop("deleted", False):
            self.remove_contact(contact_id)
            return {"id": contact_id, "deleted": True}
        return self.put_contact(contact_id, **document)

    def _put_appointment_door(self, document: JsonObject) -> JsonObject:
        _check_arranged(ARRANGED_APPOINTMENT, document)
        appointment_id = document.pop("id", None)
        if document.pop("deleted", False):
            self.remove_appointment(appointment_id)
            return {"id": appointment_id, "deleted": True}
        return self.put_appointment(appointment_id, **document)


def _check_arranged(dto: Dto, document: JsonObject) -> None:
    try:
        dto.check(document)
    except Refusal as refusal:
        raise ValueError("; ".join(refusal.body["message"])) from None


async def _body(request: Request) -> JsonObject:
    """The JSON object of a body. One sent as another content type is not looked at, so required properties will be missing."""
    raw = await request.body()
    if not raw.strip() or not request.headers.get("content-type", "").startswith("application/json"):
        return {}
    try:
        document = parsed(raw)
    except ValueError:
        raise Refusal(400, "Unexpected token in JSON") from None
    if not isinstance(document, dict):
        raise Refusal(400, "The body must be a JSON object")
    return document
