"""The dispatcher's variables."""

import os
import socket
from typing import Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AnyHttpUrl, Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from dispatcher.clients.channels import Channel, read_channels
from outbox.config import GoogleSettings, Secrets, Settings, Words
from outbox.errors import ConfigError

PHOREST_EUROPE = "https://platform.phorest.com"
CLIENT_COLUMNS = ("name", "slug", "contact_email", "products_services")


def is_zone(name: str) -> bool:
    """Whether the database of time zones has it."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # a name that leads out of the database, a folder of it, none of its names
        return False
    return True


class AlertSettings(Settings):
    """Where people are told of alerts: read by dispatchers, and by receivers for when no dispatcher is there."""

    alert_urls: Secrets = Field(
        (),
        alias="POSTROOM_ALERT_URLS",
        description="Where alerts are told: name=url for each; slack+, discord+ or standard+ before a URL is its shape. Absent: nowhere.",
    )
    alert_secrets: Secrets = Field(
        (), alias="POSTROOM_ALERT_SECRETS", description="name=whsec_… for each of these URLs whose messages are signed (Standard Webhooks)."
    )
    alert_private: bool = Field(
        False,
        alias="POSTROOM_ALERT_ALLOW_PRIVATE",
        description="Whether alert URLs may lead into private networks and to this machine, for development.",
    )
    runbook_url: AnyHttpUrl | None = Field(
        None, alias="POSTROOM_RUNBOOK_URL", description="Where your copy of docs/runbooks is, for the links in alerts. Absent: its path."
    )

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        try:
            self.channels()
        except ConfigError as problem:
            raise PydanticCustomError("channels", "{message}", {"message": str(problem)}) from None
        return self

    def channels(self) -> tuple[Channel, ...]:
        """Where alerts are told."""
        return read_channels(self.alert_urls, self.alert_secrets)

    def runbook(self, page: str) -> str:
        """Where it says what to do."""
        base = self.runbook_url
        return f"docs/runbooks/{page}.md" if base is None else f"{str(base).rstrip('/')}/{page}.md"


class DispatcherSettings(AlertSettings, GoogleSettings):
    """Whom the dispatcher calls, and how much at once."""

    ghl_api_key: SecretStr | None = Field(
        None, alias="GHL_API_KEY", description="Private Integration Token of the location. Absent: events for GHL wait."
    )
    ghl_location_id: str | None = Field(None, alias="GHL_LOCATION_ID", description="The location that GHL_API_KEY belongs to.")
    ghl_default_calendar_id: str | None = Field(
        None,
        alias="GHL_DEFAULT_CALENDAR_ID",
        description="Calendar of that location in which appointments that name none are booked. Absent: in none.",
    )
    ghl_api_base_url: AnyHttpUrl = Field(
        AnyHttpUrl("https://services.leadconnectorhq.com"), alias="GHL_API_BASE_URL", description="Where GHL's API is."
    )
    ghl_client_id: str | None = Field(
        None, alias="GHL_CLIENT_ID", description="Client id of your GHL app, for locations that are connected by consent. Absent: none is."
    )
    ghl_client_secret: SecretStr | None = Field(None, alias="GHL_CLIENT_SECRET", description="Client secret of that app.")
    notion_api_key: SecretStr | None = Field(
        None, alias="NOTION_API_KEY", description="Token of the Notion connection. Absent: Notion events wait."
    )
    notion_api_base_url: AnyHttpUrl = Field(
        AnyHttpUrl("https://api.notion.com"), alias="NOTION_API_BASE_URL", description="Where Notion's API is."
    )
    notion_api_version: Literal["2026-03-11", "2025-09-03"] = Field(
        "2026-03-11", alias="NOTION_API_VERSION", description="The version of Notion's API that is spoken: 2026-03-11 or 2025-09-03."
    )
    notion_client_properties: Words = Field(
        ("name=title",),
        alias="NOTION_CLIENT_PROPERTIES",
        description="Which property id fills which column of crm.clients: name, slug, contact_email, products_services, as column=id.",
    )
    notion_clients_data_source: str | None = Field(
        None,
        alias="NOTION_CLIENTS_DATA_SOURCE",
        description="Database or data source whose rows are crm.clients. Absent: the rows of every data source that is shared.",
    )
    sweep_percent: float = Field(
        10,
        alias="POSTROOM_SWEEP_PERCENT",
        ge=0,
        le=100,
        description="Of what is here, a full sync marks at most so many percent as deleted; for more it asks a person.",
    )
    modules: Words = Field(
        (),
        alias="POSTROOM_MODULES",
        description="Modules of your own with routes, as package.module. Absent: only those of installed packages.",
    )
    google_client_secret: SecretStr | None = Field(None, alias="GOOGLE_CLIENT_SECRET", description="Client secret of that app.")
    google_api_base_url: AnyHttpUrl = Field(
        AnyHttpUrl("https://people.googleapis.com"), alias="GOOGLE_API_BASE_URL", description="Where Google's People API is."
    )
    google_token_base_url: AnyHttpUrl = Field(
        AnyHttpUrl("https://oauth2.googleapis.com"), alias="GOOGLE_TOKEN_BASE_URL", description="Where Google's token endpoint is."
    )
    phorest_username: str | None = Field(
        None, alias="PHOREST_USERNAME", description="User of Phorest's API, global/ and an e-mail address. Absent: events for Phorest wait."
    )
    phorest_password: SecretStr | None = Field(None, alias="PHOREST_PASSWORD", description="Password that Phorest gave out for that user.")
    phorest_business_id: str | None = Field(None, alias="PHOREST_BUSINESS_ID", description="The business at Phorest.")
    phorest_api_base_url: AnyHttpUrl = Field(
        AnyHttpUrl(PHOREST_EUROPE),
        alias="PHOREST_API_BASE_URL",
        description="Where Phorest's API is; the United States and Australia have https://platform-us.phorest.com.",
    )
    phorest_branches: Words = Field(
        (),
        alias="PHOREST_BRANCHES",
        description="The branches to keep in step, as branch=zone, with the time zone of the times that Phorest shows for it.",
    )
    phorest_calendars: Words = Field(
        (),
        alias="PHOREST_CALENDARS",
        description="GHL calendar of each branch, as branch=calendar. A branch that is not named: GHL_DEFAULT_CALENDAR_ID.",
    )
    phorest_loyalty_field: str = Field(
        "loyalty_points", alias="PHOREST_LOYALTY_FIELD", description="GHL's custom field of contacts that gets the loyalty points."
    )
    phorest_days_back: int = Field(
        365, alias="PHOREST_DAYS_BACK", ge=1, le=3650, description="Appointments are kept in step from that many days ago."
    )
    phorest_days_ahead: int = Field(
        120, alias="PHOREST_DAYS_AHEAD", ge=1, le=730, description="Appointments are kept in step to that many days ahead."
    )
    concurrency: int = Field(500, alias="POSTROOM_CONCURRENCY", ge=1, le=10_000, description="Events at work at once in one dispatcher.")
    destination_concurrency: int = Field(
        32, alias="POSTROOM_DESTINATION_CONCURRENCY", ge=1, le=1_000, description="Of these, at most so many for one destination."
    )
    grace_s: float = Field(
        20, alias="POSTROOM_GRACE_SECONDS", ge=0, le=600, description="Time that running handlers get when a dispatcher stops."
    )
    worker_name: str = Field(
        f"{socket.gethostname()[:40]}:{os.getpid()}",
        alias="POSTROOM_WORKER_NAME",
        description="This dispatcher's name in lists. Absent: host and process id.",
    )

    @field_validator("notion_client_properties")
    @classmethod
    def _check_pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pair in value:
            column, _, property_id = pair.partition("=")
            if column not in CLIENT_COLUMNS or not property_id:
                raise PydanticCustomError("pair", "each part is column=id, with a column of " + ", ".join(CLIENT_COLUMNS))
        return value

    @field_validator("phorest_branches")
    @classmethod
    def _check_zones(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pair in value:
            branch, _, zone = pair.partition("=")
            if not branch or not is_zone(zone):
                raise PydanticCustomError("zone", "each part is branch=zone, with a zone such as Europe/Dublin, or UTC")
        return value

    @field_validator("phorest_calendars")
    @classmethod
    def _check_calendars(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(all(pair.partition("=")[::2]) for pair in value):
            raise PydanticCustomError("calendar", "each part is branch=calendar")
        return value

    def phorest_zones(self) -> dict[str, ZoneInfo]:
        """Branch to the zone of its times."""
        return {branch: ZoneInfo(zone) for branch, zone in (pair.split("=", 1) for pair in self.phorest_branches)}

    def phorest_calendar(self, branch_id: str) -> str | None:
        """The GHL calendar of a branch; None: it has none."""
        return dict(pair.split("=", 1) for pair in self.phorest_calendars).get(branch_id, self.ghl_default_calendar_id)

    def client_properties(self) -> dict[str, str]:
        """Column of crm.clients to property id."""
        return dict(pair.split("=", 1) for pair in self.notion_client_properties)
