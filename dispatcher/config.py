"""The dispatcher's variables."""

import os
import socket
from typing import Literal

from pydantic import AnyHttpUrl, Field, SecretStr, field_validator
from pydantic_core import PydanticCustomError

from outbox.config import Settings, Words

CLIENT_COLUMNS = ("name", "slug", "contact_email", "products_services")


class DispatcherSettings(Settings):
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
    google_client_id: str | None = Field(
        None, alias="GOOGLE_CLIENT_ID", description="Client id of your Google app, for users' contacts. Absent: no user's are kept in step."
    )
    google_client_secret: SecretStr | None = Field(None, alias="GOOGLE_CLIENT_SECRET", description="Client secret of that app.")
    google_api_base_url: AnyHttpUrl = Field(
        AnyHttpUrl("https://people.googleapis.com"), alias="GOOGLE_API_BASE_URL", description="Where Google's People API is."
    )
    google_token_base_url: AnyHttpUrl = Field(
        AnyHttpUrl("https://oauth2.googleapis.com"), alias="GOOGLE_TOKEN_BASE_URL", description="Where Google's token endpoint is."
    )
    google_consent_base_url: AnyHttpUrl = Field(
        AnyHttpUrl("https://accounts.google.com"), alias="GOOGLE_CONSENT_BASE_URL", description="Where people consent at Google."
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

    def client_properties(self) -> dict[str, str]:
        """Column of crm.clients to property id."""
        return dict(pair.split("=", 1) for pair in self.notion_client_properties)
