"""The command line: assembles the commands of cli/, and makes of everything that goes wrong one line and an exit code.

Refuses to do anything itself; what a command does stands in the file of its name.
"""

import os
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from cli import dead, demo, destinations, doctor, events, handshake, migrate, send, simulate, stage, up, web, worker
from cli.errors import EXIT_CODES, Code, explain

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)


def _version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"postroom {version('postroom')}")
        except PackageNotFoundError:
            typer.echo("postroom (not installed)")
        raise typer.Exit


@app.callback()
def postroom(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")] = False,
) -> None:
    """Signed webhooks and an app's own changes, through a Postgres outbox, to SaaS systems: nothing lost, nothing twice.

    Begin with `postroom up` (the whole system on this machine) or `postroom demo` (the same, ends by itself).
    The database is DATABASE_URL, else an embedded Postgres in POSTROOM_DATA_DIR (.postroom).
    """


RUN, LOOK = "Run", "Look and act"
app.command("up", rich_help_panel=RUN)(up.command)
app.command("demo", rich_help_panel=RUN)(demo.command)
app.command("migrate", rich_help_panel=RUN)(migrate.command)
app.command("web", rich_help_panel=RUN)(web.command)
app.command("worker", rich_help_panel=RUN)(worker.command)
app.command("simulate", rich_help_panel=RUN)(simulate.command)
app.command("doctor", rich_help_panel=LOOK)(doctor.command)
app.command("stage", rich_help_panel=LOOK)(stage.command)
app.add_typer(send.app, name="send", rich_help_panel=LOOK)
app.add_typer(events.app, name="events", rich_help_panel=LOOK)
app.add_typer(dead.app, name="dead", rich_help_panel=LOOK)
app.add_typer(destinations.app, name="destinations", rich_help_panel=LOOK)
app.add_typer(handshake.app, name="handshake", rich_help_panel=LOOK)


def main() -> None:
    """Runs the command of sys.argv and exits."""
    try:
        _check_arguments(sys.argv[1:])
        code = typer.main.get_command(app).main(prog_name="postroom", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough; flushing at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Code.FINE)
    except (Exception, KeyboardInterrupt) as problem:  # the last stop: everything ends as one line and a code
        line, code = explain(problem)
        if line:
            sys.stderr.write(f"postroom: {line}\n")
    sys.exit(code if isinstance(code, int) else Code.FINE)


def _check_arguments(arguments: list[str]) -> None:
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise typer.BadParameter(f"{argument[:40]!a} is not valid UTF-8") from None


if __name__ == "__main__":
    main()
