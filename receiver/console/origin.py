"""Whether a form came from our own pages (CSRF), and whether a path is one of ours. Pure.

    Sec-Fetch-Site there     same-origin or none passes; anything else is refused
    absent (plain HTTP)      the host of Origin must be Host, or the public host; `null` or no Origin is refused

Hosts only, not the scheme, so that a proxy that ends TLS does no harm. There are no tokens, so none can expire.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit


def foreign(headers: Mapping[str, str], *, public_host: str | None = None) -> str | None:
    """None for a form of our own; else the header that said otherwise, for the page that refuses it."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return None if site in ("same-origin", "none") else f"Sec-Fetch-Site: {site[:40]}"
    said = headers.get("origin")
    if said is None:
        return "neither Sec-Fetch-Site nor Origin"
    host = host_of(said)
    if host is not None and host in {headers.get("host", "").lower(), public_host}:
        return None
    return f"Origin: {said[:100]}"


def host_of(url: str) -> str | None:
    """Host and port as a Host header has them; None for what is no http URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in ("http", "https") and parts.netloc else None


def own_path(text: str | None) -> str | None:
    """The text, if it is a path of the console and nothing else; None otherwise."""
    if not text or len(text) > 2000 or not text.isascii() or not text.isprintable() or "\\" in text or "//" in text.partition("?")[0]:
        return None
    path = text.partition("?")[0].partition("#")[0]
    return text if (path == "/console" or path.startswith("/console/")) and "/../" not in f"{path}/" else None
