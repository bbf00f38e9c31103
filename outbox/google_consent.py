"""A user's way to Google's consent page: a link that works once, with a state that we know again and a challenge (PKCE) that we can meet.

Who makes it, the API or the command line, writes that down. What comes back is the receiver's, and the code's exchange a dispatcher's.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from pydantic import AnyHttpUrl

from outbox.config import GoogleSettings
from outbox.db import Connection, Pool
from outbox.errors import ConfigError
from outbox.seal import Sealer
from outbox.store import consents

PROVIDER: Final = "google"
SCOPE: Final = "https://www.googleapis.com/auth/contacts.readonly"
CALLBACK: Final = "/api/oauth/google/callback"
LASTING_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Asking:
    """What a link needs. Raises ConfigError from of(), naming everything that is missing."""

    client_id: str
    consent_base_url: str
    redirect_uri: str
    sealer: Sealer

    @classmethod
    def of(cls, settings: GoogleSettings, *, public_url: AnyHttpUrl | None, sealer: Sealer) -> "Asking":
        needed = {
            "GOOGLE_CLIENT_ID": settings.google_client_id,
            "POSTROOM_PUBLIC_URL": public_url,
            "POSTROOM_ENCRYPTION_KEYS": sealer.ready,
        }
        missing = [name for name, is_there in needed.items() if not is_there]
        if missing:
            are = "is" if len(missing) == 1 else "are"
            raise ConfigError(f"{', '.join(missing)} {are} not set; a user's contacts cannot be connected without.")
        back = f"{str(public_url).rstrip('/')}{CALLBACK}"
        return cls(str(settings.google_client_id), str(settings.google_consent_base_url), back, sealer)


async def begin(connection: Connection | Pool, user_id: str, asking: Asking, *, by: str) -> str:
    """A link for this user, for an hour."""
    verifier = new_verifier()
    state = await consents.begin(
        connection,
        PROVIDER,
        redirect_uri=asking.redirect_uri,
        made_by=by,
        lasting_s=LASTING_S,
        account=user_id,
        verifier=asking.sealer.seal(verifier),
    )
    return consent_link(
        asking.consent_base_url, client_id=asking.client_id, redirect_uri=asking.redirect_uri, state=state, verifier=verifier
    )


def new_verifier() -> str:
    """PKCE: what proves at the exchange that it was us who sent the person out."""
    return secrets.token_urlsafe(48)


def consent_link(base_url: str, *, client_id: str, redirect_uri: str, state: str, verifier: str) -> str:
    """Where a person consents. Asked every time (`prompt`), because only then a refresh token comes for certain."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "scope": SCOPE,
        "access_type": "offline",
        "prompt": "consent",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "state": state,
    }
    return f"{base_url.rstrip('/')}/o/oauth2/v2/auth?{urlencode(asked)}"
