"""Appointment events for tests."""

from outbox import Event


def appointment(word: str, *, number: str = "a1", contact: str | None = "c1", **fields: str) -> Event:
    """`appointment.<word>` of one appointment, in its lane."""
    status = word if word in ("confirmed", "cancelled", "completed") else "scheduled"
    content = {
        "id": number,
        "status": status,
        "contact_id": contact,
        "title": "Cut and colour",
        "starts_at": "2027-01-05T10:00:00+00:00",
        **fields,
    }
    return Event(f"appointment.{word}", {"appointment": content}, lane=f"appointment:{number}")
