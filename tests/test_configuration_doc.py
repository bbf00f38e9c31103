"""docs/configuration.md names every variable that the code reads, with its default and its description, and no other."""

import re
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from dispatcher.config import DispatcherSettings
from outbox.config import DatabaseSettings, Settings
from receiver.config import ReceiverSettings

DOC = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
ROW = re.compile(r"^\| `([A-Z_]+)` \| (.*?) \| (.*?) \|$", re.MULTILINE)
GROUPS: tuple[type[Settings], ...] = (DatabaseSettings, ReceiverSettings, DispatcherSettings)
OF_THIS_MACHINE = {"POSTROOM_WORKER_NAME"}  # its default is the host's name and the process id


def rows() -> dict[str, tuple[str, str]]:
    return {name: (default, text) for name, default, text in ROW.findall(DOC.read_text("utf-8"))}


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_every_variable_of_the_code_is_documented_as_it_is(group: type[Settings]) -> None:
    documented = rows()
    for field in group.model_fields.values():
        assert field.alias in documented, f"{field.alias} is missing in docs/configuration.md"
        default, text = documented[field.alias]
        assert text == field.description
        if field.alias not in OF_THIS_MACHINE:
            assert default == shown(field.default)


def test_no_other_variable_is_documented() -> None:
    known = {field.alias for group in GROUPS for field in group.model_fields.values()}
    assert set(rows()) == known


def shown(default: object) -> str:
    """A default as the table shows it."""
    if default in (None, (), PydanticUndefined):
        return "–"
    return f"`{','.join(default)}`" if isinstance(default, tuple) else f"`{default}`".replace("True", "on").replace("False", "off")
