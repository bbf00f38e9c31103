"""`postroom handshake`: the verification tokens that Notion sent, from candidate to in use.

Anybody can post a handshake, so a token counts only after a person promoted it, having compared it with what Notion shows.
"""

from typing import Annotated, Any

import typer
from rich.console import Console

from cli import kept
from cli.database import ask
from cli.errors import Failed
from cli.options import LARGEST_ID, Json
from cli.output import count, emit, facts, table
from cli.who import note, operator
from outbox import db
from outbox.config import DatabaseSettings
from outbox.db import Pool
from outbox.store import handshakes
from outbox.timeline import iso

SOURCE = "notion"

app = typer.Typer(invoke_without_command=True)

HandshakeId = Annotated[int, typer.Argument(metavar="ID", min=1, max=LARGEST_ID, help="As `postroom handshake` lists it.")]


@app.callback()
def list_handshakes(context: typer.Context, as_json: Json = False) -> None:
    """List the verification tokens that Notion sent; show one, to paste it into Notion; promote one, so that it counts.

    To set up a Notion webhook, make the subscription in Notion with the address …/api/webhooks/notion. Notion posts a token
    here: show it, paste it into Notion's dialogue, and promote it.

    Examples:

        postroom handshake

        postroom handshake show 3

        postroom handshake promote 3
    """
    if context.invoked_subcommand is not None:
        return

    async def find(pool: Pool) -> list[dict[str, Any]]:
        return [
            {
                "id": row["id"],
                "fingerprint": row["fingerprint"],
                "state": "in use" if row["promoted_at"] is not None else "candidate",
                "at": iso(row["at"]),
                "from": row["remote"],
                "promoted_by": row["promoted_by"],
            }
            for row in await handshakes.every(pool, SOURCE)
        ]

    found = ask(find)

    def human(console: Console) -> None:
        if not found:
            console.print("Notion has sent no verification token.")
            return
        columns = ("id", "state", "fingerprint", "at", "from", "promoted_by")
        console.print(table("", columns, [[entry[name] for name in columns] for entry in found]))

    emit({"handshakes": found}, as_json=as_json, human=human)


@app.command("show")
def show(handshake_id: HandshakeId, as_json: Json = False) -> None:
    """Print a token as it is, to be pasted into Notion's dialogue. It is a secret: that it was shown is kept
    in the audit. A token in use is not shown.

    Example:

        postroom handshake show 3
    """
    sealer = kept.sealer(DatabaseSettings.read())

    async def read(pool: Pool) -> str:
        row = await handshakes.one(pool, SOURCE, handshake_id)
        if row is None:
            raise _unknown(handshake_id)
        if row["promoted_at"] is not None:
            raise Failed(f"Token {handshake_id} is in use, and such a token is not shown.")
        token = sealer.open(bytes(row["sealed"])).get_secret_value()
        await note(pool, "reveal handshake", target=handshake_id, key=row["fingerprint"])
        return token

    token = ask(read)
    emit({"id": handshake_id, "token": token}, as_json=as_json, human=lambda console: console.print(facts({"verification token": token})))


@app.command("promote")
def promote(
    handshake_id: HandshakeId,
    retire_others: Annotated[bool, typer.Option("--retire-others", help="End the tokens that were in use until now.")] = False,
    as_json: Json = False,
) -> None:
    """Make a candidate count, beside the tokens that are in use. Receivers notice it within seconds.

    With --retire-others also a token that is in use already becomes the only one.

    Examples:

        postroom handshake promote 3

        postroom handshake promote 3 --retire-others
    """

    sealer = kept.sealer(DatabaseSettings.read())

    async def act(pool: Pool) -> int:
        with db.mapped():
            async with pool.acquire() as connection, connection.transaction():
                row = await handshakes.one(connection, SOURCE, handshake_id)
                if row is None:
                    raise _unknown(handshake_id)
                sealer.open(bytes(row["sealed"]))  # or nothing could be verified with it
                if not await handshakes.promote(connection, SOURCE, handshake_id, by=operator()) and not retire_others:
                    raise Failed(f"Token {handshake_id} is in use already.")
                retired = await handshakes.retire_others(connection, SOURCE, handshake_id) if retire_others else 0
                await note(connection, "promote handshake", target=handshake_id, key=row["fingerprint"], retired=retired)
        return retired

    retired = ask(act)
    words = f"Token {handshake_id} is in use." + (f" {count(retired, 'other token')} retired." if retired else "")
    emit({"id": handshake_id, "state": "in use", "retired": retired}, as_json=as_json, human=lambda console: console.print(words))


def _unknown(handshake_id: int) -> Failed:
    return Failed(f"There is no token {handshake_id}. `postroom handshake` lists those that Notion sent.")
