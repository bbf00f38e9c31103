"""The command line: assembles the commands of cli/, and makes of everything that goes wrong one line and an exit code.

Refuses to do anything itself; what a command does stands in the file of its name.
"""

import os
import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from cli.errors import EXIT_CODES, Code, explain

RUN, LOOK = "Run", "Look and act"
COMMANDS = {
    "up": RUN,
    "demo": RUN,
    "migrate": RUN,
    "web": RUN,
    "worker": RUN,
    "simulate": RUN,
    "sync": RUN,
    "doctor": LOOK,
    "events": LOOK,
    "dead": LOOK,
    "plans": LOOK,
    "lanes": LOOK,
    "destinations": LOOK,
    "audit": LOOK,
    "syncs": LOOK,
    "handshake": LOOK,
    "connect": LOOK,
    "phorest": LOOK,
    "stage": LOOK,
    "send": LOOK,
}


def assembled(names: Iterable[str]) -> typer.Typer:
    """The program with these commands. Each is the module of that name in cli/: `command` or, with commands of its own, `app`."""
    app = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=EXIT_CODES,
    )
    app.callback()(postroom)
    for name in names:
        module = import_module(f"cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, rich_help_panel=COMMANDS[name], epilog=EXIT_CODES)
        else:
            app.command(name, rich_help_panel=COMMANDS[name], epilog=EXIT_CODES)(module.command)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"postroom {version('postroom')}")
        except PackageNotFoundError:
            typer.echo("postroom (not installed)")
        raise typer.Exit


def postroom(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")] = False,
) -> None:
    """Signed webhooks and an app's own changes, through a Postgres outbox, to SaaS systems: nothing lost, nothing twice.

    Begin with `postroom up` (the whole system on this machine) or `postroom demo` (the same, ends by itself).
    The database is DATABASE_URL, else an embedded Postgres in POSTROOM_DATA_DIR (.postroom).
    """


def main() -> None:
    """Runs the command of sys.argv and exits."""
    try:
        _check_arguments(sys.argv[1:])
        # One command is not slowed by what the others import; help and typing errors need them all.
        named = [name for name in sys.argv[1:2] if name in COMMANDS]
        code = typer.main.get_command(assembled(named or COMMANDS)).main(prog_name="postroom", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough; flushing at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Code.FINE)
    except (Exception, KeyboardInterrupt) as problem:  # noqa: BLE001 -- the last stop: everything ends as one line and a code
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
