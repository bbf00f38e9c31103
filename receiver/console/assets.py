"""Static files by the hash of their content, so that a browser may keep each for ever. Read once; nothing else is ever served."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
PLACE = "/console/static/"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is served."""

    body: bytes
    content_type: str


class Assets:
    """The files of receiver/console/static."""

    def __init__(self) -> None:
        self._urls: dict[str, str] = {}
        self._served: dict[str, Asset] = {}
        for file in sorted(files("receiver.console").joinpath("static").iterdir(), key=lambda one: one.name):
            stem, _, ending = file.name.rpartition(".")
            body = _slim(file.read_text("utf-8")) if ending == "js" else file.read_bytes()
            served = f"{stem}-{hashlib.sha256(body).hexdigest()[:12]}.{ending}"
            self._urls[file.name] = PLACE + served
            self._served[served] = Asset(body, _TYPES[ending])

    def url(self, name: str) -> str:
        """Where a file is. Raises KeyError for one that there is not."""
        return self._urls[name]

    def find(self, served: str) -> Asset | None:
        """A file by the last part of its URL."""
        return self._served.get(served)


def _slim(script: str) -> bytes:
    """Without the comments and margins that only its readers here need. No string of ours goes over a line."""
    lines = (line.strip() for line in script.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//")).encode()
