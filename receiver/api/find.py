"""Find: what something that a person has at hand leads to. By POST, so that an address or a number is in no URL and no log."""

from pydantic import Field

from outbox.finding import found
from receiver.api.operation import Answer, Call, NoQuery, Operation, Said, Table, Time, Told, Words
from receiver.config import Role


class FindTold(Told):
    text: Words = Field(
        description="An event's id, a key, a lane, an appointment's, contact's or page's id, an e-mail address or a phone number."
    )


class LaneFound(Said):
    lane: str
    what: str = Field(description="lane, contact, appointment, page, or the kind of a link.")
    newest: int | None = Field(description="Its newest event; null: none is known.")


class SourceSpoke(Said):
    source: str
    last_accepted_at: Time | None
    last_rejected_at: Time | None


class TurnedAway(Said):
    source: str
    reason: str
    requests: int
    last_at: Time


class SyncComes(Said):
    sync: str
    type: str
    due_at: Time | None


class Absence(Said):
    since: Time
    until: Time
    sources: list[SourceSpoke]
    rejected: list[TurnedAway]
    syncs: list[SyncComes]


class FoundSaid(Said):
    events: list[int]
    lanes: list[LaneFound]
    absence: Absence | None = Field(description="null: there are events of it.")


async def find(call: Call[NoQuery, FindTold]) -> Answer:
    """Changes nothing."""
    known = sorted({"app", *(door.source.name for door in call.desk.webhooks.doors.values())})
    return Answer(FoundSaid.model_validate(await found(call.desk.pool, call.body.text, known_sources=known)))


OPERATIONS: Table = (Operation("POST", "/api/find", "What a text leads to", Role.VIEWER, find, NoQuery, FindTold, FoundSaid),)
