"""A form that came after its session had ended: what was typed goes through the sign-in page and is shown again, to be sent once more.

It travels in the bodies of pages and forms only, never in an address, a log or a table, and never acts by itself: a person looks at it and
sends it, with an id of its own and through every check of a form.
"""

from dataclasses import dataclass
from urllib.parse import urlencode

from receiver.console.origin import own_path
from receiver.console.page import Form

MOST_CHARS = 60_000
OWN_FIELDS = frozenset({"form", "back"})  # of every form: its one-use id, which is new, and the page it stood on
# What a person writes in forms of the console. All else was chosen, ticked or given by the page: it is shown, and sent as it was.
WRITTEN = frozenset({"reason", "note", "text", "minutes", "hours_back", "number", "deletions", "from", "to"})


@dataclass(frozen=True, slots=True)
class Kept:
    """Where it was to be sent, and what it said, as a browser sends it."""

    path: str
    body: str

    @property
    def form(self) -> Form:
        """What was typed. Raises Refused for what no browser sent."""
        return Form(self.body.encode())

    @property
    def written(self) -> list[tuple[str, str]]:
        """What a person wrote, to be looked through and changed."""
        return [(name, value) for name, value in self._pairs() if name in WRITTEN]

    @property
    def given(self) -> list[tuple[str, str]]:
        """Everything else, to be sent as it was."""
        return [(name, value) for name, value in self._pairs() if name not in WRITTEN]

    @property
    def said(self) -> list[tuple[str, str]]:
        """What was given, in words: each name once, with its value, or how many values it has."""
        of = {name: [value for other, value in self.given if other == name] for name, _ in self.given}
        said = {name: values[0] if len(values) == 1 else f"{len(values)} of them" for name, values in of.items()}
        return [(name.replace("_", " ").capitalize(), value) for name, value in said.items()]

    def _pairs(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self.form.pairs if name not in OWN_FIELDS]


def keep(path: str, form: Form) -> Kept | None:
    """What of a form is worth keeping. None: it says nothing, or it is too long to be carried along."""
    kept = Kept(path, urlencode(form.pairs))
    return kept if len(kept.body) <= MOST_CHARS and (kept.written or kept.given) else None


def carried(form: Form) -> Kept | None:
    """What the sign-in page carried along. None: nothing, or what is no form of the console."""
    path, body = own_path(form.text("kept_path", most=2000)), form.text("kept", most=MOST_CHARS)
    return Kept(path, body) if path is not None and body is not None else None
