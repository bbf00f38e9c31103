"""A form that is kept over a sign-in: what was written may be changed, everything else goes along as it was."""

import re
from pathlib import Path

from receiver.console.kept import WRITTEN, keep
from receiver.console.page import Form
from receiver.console.render import ticks

TEMPLATES = Path(__file__).parents[2] / "receiver" / "console" / "templates"
FIELD = re.compile(r"<(input|textarea)\b([^>]*)>")


def test_only_what_a_person_wrote_is_shown_as_a_field() -> None:
    kept = keep("/console/acts/plan", Form(b"form=1&back=%2F&group=cafe&act=discard&event=7&event=8&reason=booked+again&dry_run=1"))
    assert kept is not None
    assert kept.written == [("reason", "booked again")]
    assert kept.said == [("Group", "cafe"), ("Act", "discard"), ("Event", "2 of them"), ("Dry run", "1")]
    assert ("event", "8") in kept.given
    assert keep("/console/connections/notion/resume", Form(b"form=1&back=%2F")) is None


def test_every_field_that_is_written_into_by_a_form_that_acts_is_known_as_such() -> None:
    written = set[str]()
    for template in TEMPLATES.glob("*.html"):
        acting = re.sub(r'<form[^>]*method="get".*?</form>', "", template.read_text(), flags=re.DOTALL)
        for tag, attributes in FIELD.findall(acting):
            kind = re.search(r'type="(\w+)"', attributes)
            name = re.search(r'name="([\w{} .]+)"', attributes)
            if name and "{" not in name[1] and (tag == "textarea" or kind is None or kind[1] in ("number", "search", "text")):
                written.add(name[1])
    assert written - {"username"} <= WRITTEN


def test_backticks_become_code_and_nothing_else_becomes_markup() -> None:
    assert ticks("Start `postroom worker <x>`; <b>") == "Start <code>postroom worker &lt;x&gt;</code>; &lt;b&gt;"
    assert ticks("it`s alone") == "it`s alone"
