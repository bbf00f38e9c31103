"""Pictures of the console for the documentation, of the invented installation: `make screenshots`.

`python -m tests.console.screenshots FOLDER` puts them elsewhere. Needs a Chromium. Starts a Postgres of its own, fills it, and takes
each page as a reader should see it.
"""

import asyncio
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from playwright.async_api import Browser, async_playwright

from outbox import db
from outbox.embedded import FAST, Embedded, find_binaries
from outbox.migrate import migrate
from outbox.testing import Postroom
from tests.console.conftest import CHROMIUM, DESKTOP_PX, FLAGS, PHONE_PX, WITHOUT, Served
from tests.console.invented import SWEEPING, Invented, fill
from tests.console.serving import serving

HEIGHT_PX = 860
FOLDER = "docs/images"


@dataclass(frozen=True, slots=True)
class Picture:
    """A page, and how it is looked at."""

    name: str
    path: str
    theme: str = "light"
    width: int = DESKTOP_PX


def pictures(all_: Invented) -> tuple[Picture, ...]:
    """Every one that is kept."""
    return (
        Picture("console-light-overview", ""),
        Picture("console-dark-overview", "", "dark"),
        Picture("console-phone-overview", "", width=PHONE_PX),
        Picture("console-dark-events", "events", "dark"),
        Picture("console-light-why", f"events/{all_.dead[0]}"),
        Picture("console-phone-why", f"events/{all_.dead[0]}", width=PHONE_PX),
        Picture("console-light-dead", f"dead/{all_.group}"),
        Picture("console-light-syncs", "syncs"),
        Picture("console-dark-sync", f"syncs/{SWEEPING}", "dark"),
        Picture("console-light-connections", "connections"),
        Picture("console-phone-connections", "connections", "dark", PHONE_PX),
    )


async def take(folder: Path, dsn: str, browser: Browser) -> None:
    """Fills the database of `dsn`, and writes a picture of each."""
    async with db.pool(dsn, name="postroom:test", size=4) as pool, serving(dsn) as (url, _):
        served = Served(url, Postroom(dsn, pool), await fill(Postroom(dsn, pool)), browser)
        for picture in pictures(served.invented):
            async with served.tab(width=picture.width) as tab:
                await tab.page.set_viewport_size({"width": picture.width, "height": HEIGHT_PX})
                await tab.page.emulate_media(color_scheme="dark" if picture.theme == "dark" else "light")
                await tab.open(picture.path)
                await tab.said("Live")
                await tab.page.screenshot(path=folder / f"{picture.name}.png")
        async with served.tab(None) as tab:
            await tab.open("sign-in")
            await tab.page.screenshot(path=folder / "console-sign-in.png")


async def run(folder: Path, server: Embedded) -> None:
    """The whole, on a database of its own."""
    connection = await asyncpg.connect(server.dsn("postgres"))
    await connection.execute("create database pictures")
    await connection.close()
    connection = await asyncpg.connect(server.dsn("pictures"))
    await migrate(connection)
    await connection.close()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        await take(folder, server.dsn("pictures"), browser)
        await browser.close()


def main() -> None:
    """Into docs/images, or the folder that is named."""
    if CHROMIUM is None:
        raise SystemExit(WITHOUT)
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)  # the server's own user enters it
        with Embedded(Path(place) / "postgres", binaries=find_binaries(None), options=FAST) as server:
            asyncio.run(run(folder, server))


if __name__ == "__main__":
    main()
