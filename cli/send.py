"""`postroom send`: a sample webhook, signed as its provider signs, sent to a receiver or printed as a curl command."""

import base64
import secrets
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from pydantic import SecretStr
from rich.console import Console

from cli import deliver
from cli.deliver import Answer, Parcel
from cli.errors import Code, Failed, Usage, bad
from cli.options import Json
from cli.output import emit, print_line, table
from receiver.config import ReceiverSettings
from receiver.signatures import split_named_secrets
from simulators import samples
from simulators.shapes import JsonObject, compact
from simulators.signing import GhlSigner

CONTACT = ("ContactCreate", "ContactUpdate", "ContactDelete", "ContactTagUpdate", "ContactDndUpdate")
APPOINTMENT = ("AppointmentCreate", "AppointmentUpdate", "AppointmentDelete")
NOTE = ("NoteCreate", "NoteUpdate", "NoteDelete")
TASK = ("TaskCreate", "TaskComplete", "TaskDelete")
APP = ("INSTALL", "UNINSTALL")
NOTION = ("page.created", "page.content_updated", "page.properties_updated", "page.moved", "page.deleted", "page.undeleted", "handshake")

app = typer.Typer(no_args_is_help=True)

Url = Annotated[str | None, typer.Option(help="The receiver's address. Absent: http://127.0.0.1:PORT.")]
Repeat = Annotated[int, typer.Option(min=1, max=10_000, help="Deliver the very same request so often.")]
BadSignature = Annotated[bool, typer.Option("--bad-signature", help="Sign something else, so that it must be turned away.")]
Body = Annotated[
    Path | None, typer.Option("--body", metavar="FILE", help="Send the bytes of this file instead of a sample; - reads standard input.")
]
PrintCurl = Annotated[bool, typer.Option("--print-curl", help="Send nothing; print a curl command that would.")]
Secret = Annotated[str | None, typer.Option(help="Absent: the one that is set in the environment, else the demo's.", show_default=False)]


@app.callback()
def send() -> None:
    """Sign a sample webhook as its provider does, and send it to a receiver.

    Signs with the demo keys that `postroom up` accepts, or with those that are given or set. Exits 0 when it was accepted
    (with --bad-signature: when it was turned away).

    Examples:

        postroom send ghl ContactUpdate

        postroom send notion page.content_updated --print-curl

        postroom send standard demo order.paid --repeat 2
    """


@app.command("ghl")
def send_ghl(
    event_type: Annotated[
        str, typer.Argument(metavar="TYPE", help="ContactUpdate, AppointmentCreate, NoteCreate, TaskCreate, INSTALL, …")
    ] = "ContactUpdate",
    contact: Annotated[str, typer.Option(metavar="ID", help="The contact that it is about.")] = samples.DEMO_CONTACT_ID,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="Ed25519 private key (PEM) to sign with. Absent: the demo's.")] = None,
    url: Url = None,
    repeat: Repeat = 1,
    bad_signature: BadSignature = False,
    body: Body = None,
    print_curl: PrintCurl = False,
    as_json: Json = False,
) -> None:
    """A GHL app webhook, signed with Ed25519.

    Examples:

        postroom send ghl ContactUpdate

        postroom send ghl ContactUpdate --contact DemoContact000000002 --repeat 3

        postroom send ghl ContactCreate --print-curl
    """
    settings = ReceiverSettings.read()
    content = _content(body, lambda: {**_ghl_event(event_type, contact), **({"appId": settings.ghl_app_id} if settings.ghl_app_id else {})})
    parcel = deliver.ghl(content, _signer(key), forged=bad_signature)
    _finish(parcel, settings, url, repeat, body, forged=bad_signature, print_curl=print_curl, as_json=as_json)


@app.command("notion")
def send_notion(
    event_type: Annotated[
        str, typer.Argument(metavar="TYPE", help="page.content_updated, page.created, …, or handshake.")
    ] = "page.content_updated",
    page: Annotated[str, typer.Option(metavar="ID", help="The page that it is about.")] = samples.DEMO_PAGE_ID,
    secret: Secret = None,
    url: Url = None,
    repeat: Repeat = 1,
    bad_signature: BadSignature = False,
    body: Body = None,
    print_curl: PrintCurl = False,
    as_json: Json = False,
) -> None:
    """A Notion webhook, signed with HMAC-SHA256; or the handshake of a new subscription.

    Examples:

        postroom send notion page.content_updated

        postroom send notion handshake

        postroom send notion page.created --bad-signature
    """
    settings = ReceiverSettings.read()
    known = _chosen(secret, settings.notion_secrets, samples.DEMO_VERIFICATION_TOKEN)
    token = secret or f"demo-{secrets.token_urlsafe(24)}" if event_type == "handshake" else known
    content = _content(body, lambda: samples.notion_handshake(token) if event_type == "handshake" else _notion_event(event_type, page))
    parcel = deliver.notion(content, token, forged=bad_signature)
    _finish(parcel, settings, url, repeat, body, forged=bad_signature, print_curl=print_curl, as_json=as_json)


@app.command("ghl-workflow")
def send_workflow(
    contact: Annotated[str, typer.Option(metavar="ID", help="The contact that it is about.")] = samples.DEMO_CONTACT_ID,
    secret: Secret = None,
    url: Url = None,
    repeat: Repeat = 1,
    bad_signature: BadSignature = False,
    body: Body = None,
    print_curl: PrintCurl = False,
    as_json: Json = False,
) -> None:
    """What a GHL workflow's webhook action sends: unsigned, with a secret in a header.

    Example:

        postroom send ghl-workflow --contact DemoContact000000001
    """
    settings = ReceiverSettings.read()
    named = split_named_secrets(_plain(settings.ghl_workflow_secrets), setting="GHL_WORKFLOW_SECRETS")
    known = _chosen(secret, tuple(SecretStr(value) for _, value in named), deliver.DEMO_WORKFLOW_SECRET)
    content = _content(body, lambda: samples.ghl_workflow_body(samples.ghl_contact(contact)))
    parcel = deliver.ghl_workflow(content, _header_text(known), forged=bad_signature)
    _finish(parcel, settings, url, repeat, body, forged=bad_signature, print_curl=print_curl, as_json=as_json)


@app.command("standard")
def send_standard(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The sender's name, as in STANDARD_WEBHOOK_SECRETS; `demo` in postroom up.")],
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="The event's type.")] = "order.paid",
    secret: Secret = None,
    url: Url = None,
    repeat: Repeat = 1,
    bad_signature: BadSignature = False,
    body: Body = None,
    print_curl: PrintCurl = False,
    as_json: Json = False,
) -> None:
    """A webhook of any sender that follows the Standard Webhooks specification.

    Example:

        postroom send standard demo order.paid
    """
    settings = ReceiverSettings.read()
    named = split_named_secrets(_plain(settings.standard_secrets), setting="STANDARD_WEBHOOK_SECRETS")
    known = _chosen(secret, tuple(SecretStr(value) for sender, value in named if sender == name), deliver.DEMO_STANDARD_SECRET)
    try:
        base64.b64decode(known.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise Usage("--secret is not whsec_ followed by base64; copy it whole from the sender.") from None
    content = _content(body, lambda: {"type": event_type, "data": {"id": secrets.token_hex(4)}})
    parcel = deliver.standard(content, name, known, forged=bad_signature)
    _finish(parcel, settings, url, repeat, body, forged=bad_signature, print_curl=print_curl, as_json=as_json)


def _ghl_event(event_type: str, contact_id: str) -> JsonObject:
    contact = samples.ghl_contact(contact_id)
    if event_type in CONTACT:
        return samples.ghl_contact_event(event_type, contact)
    if event_type in APPOINTMENT:
        return samples.ghl_appointment_event(event_type, samples.ghl_appointment(contactId=contact_id))
    if event_type in NOTE:
        note = {"id": "DemoNote000000000001", "body": "An invented note.", "contactId": contact_id, "dateAdded": contact["dateAdded"]}
        return samples.ghl_note_event(event_type, note)
    if event_type in TASK:
        task = {"id": "DemoTask000000000001", "title": "An invented task", "dateAdded": contact["dateAdded"], "contactId": contact_id}
        return samples.ghl_task_event(event_type, task)
    if event_type == "INSTALL":
        return samples.ghl_app_event("INSTALL")
    if event_type == "UNINSTALL":
        return samples.ghl_app_event("UNINSTALL")
    raise _unknown(event_type, (*CONTACT, *APPOINTMENT, *NOTE, *TASK, *APP))


def _notion_event(event_type: str, page_id: str) -> JsonObject:
    if event_type not in NOTION:
        raise _unknown(event_type, NOTION)
    parent = {"type": "data_source_id", "data_source_id": samples.DEMO_DATA_SOURCE_ID, "database_id": samples.DEMO_DATABASE_ID}
    return samples.notion_page_event(event_type, {"id": page_id, "parent": parent})


def _unknown(event_type: str, known: tuple[str, ...]) -> Usage:
    like = get_close_matches(event_type, known, n=1)
    meant = f" Did you mean {like[0]}?" if like else ""
    return Usage(f"There is no sample {event_type[:80]!r}.{meant} There are: {', '.join(known)}. For any other, give its --body.")


def _content(body: Path | None, sample: Callable[[], Mapping[str, Any]]) -> bytes:
    if body is None:
        return compact(dict(sample()))
    if str(body) == "-":
        return sys.stdin.buffer.read()
    try:
        return body.read_bytes()
    except OSError as problem:
        raise Usage(f"--body: {body}: {problem.strerror}.") from None


def _signer(key: Path | None) -> GhlSigner:
    if key is None:
        return GhlSigner.for_demo()
    try:
        return GhlSigner.from_pem(key.read_text("utf-8"))
    except OSError as problem:
        raise Usage(f"--key: {key}: {problem.strerror}.") from None
    except (ValueError, TypeError):
        raise Usage(f"--key: {key} does not hold an unencrypted Ed25519 private key in PEM.") from None


def _chosen(given: str | None, configured: tuple[SecretStr, ...], demo: str) -> str:
    return given or (configured[0].get_secret_value() if configured else demo)


def _header_text(secret: str) -> str:
    if not (secret.isascii() and secret.isprintable()):
        raise Usage("--secret has characters that no header can carry.")
    return secret


def _plain(several: tuple[SecretStr, ...]) -> tuple[str, ...]:
    return tuple(secret.get_secret_value() for secret in several)


def _finish(
    parcel: Parcel,
    settings: ReceiverSettings,
    url: str | None,
    repeat: int,
    body: Path | None,
    *,
    forged: bool,
    print_curl: bool,
    as_json: bool,
) -> None:
    base = _base(url, settings.port)
    if print_curl:
        curl = parcel.curl(base, body_file=str(body) if body is not None else None)
        emit({"curl": curl}, as_json=as_json, human=lambda _: print_line(curl))
        return
    answers = deliver.send_now(base, parcel, times=repeat)
    if (silent := next((answer for answer in answers if answer.status is None), None)) is not None:
        raise Failed(f"Nothing answered at {base} ({silent.said}). Start `postroom up`, or name the receiver with --url.")
    as_wanted = all(answer.status == 401 if forged else answer.accepted for answer in answers)
    document = {"url": base + parcel.path, "ok": as_wanted, "answers": [answer.as_json() for answer in answers]}
    emit(document, as_json=as_json, human=lambda console: _show(console, answers))
    if not as_wanted:
        raise typer.Exit(Code.FAILED)


def _show(console: Console, answers: list[Answer]) -> None:
    rows = [(a.status, a.event_id, a.duplicate, a.said or "") for a in answers]
    console.print(table("", ["status", "event", "duplicate", ""], rows))
    if (event_id := answers[0].event_id) is not None:
        console.print(f"\nWhat becomes of it: postroom events show {event_id}")


def _base(url: str | None, port: int) -> str:
    if url is None:
        return f"http://127.0.0.1:{port}"
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        bad("--url", url, "an address like http://127.0.0.1:8000")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        bad("--url", url, "an address like http://127.0.0.1:8000")
    return url.rstrip("/")
