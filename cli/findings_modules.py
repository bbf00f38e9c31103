"""What `postroom doctor` finds in modules of the user's own: what each adds, or why it cannot be used."""

from collections.abc import Mapping
from typing import Any

from cli import own_modules
from cli.findings import AllSettings, Finding, fine, off, wrong
from cli.output import count
from dispatcher.modules import Own


def modules(settings: AllSettings) -> list[Finding]:
    """One finding for each module, or one for each fault of it."""
    found = own_modules.found(settings.dispatcher)
    if not found:
        return [off("modules", "none of your own: POSTROOM_MODULES is not set, and no installed package has any")]
    return [finding for one in found for finding in _about(one)]


def _about(one: Own) -> list[Finding]:
    area = f"module {one.name}"
    if one.faults:
        return [wrong(area, fault, f"Mend it, or take it out of {one.named_by}: no dispatcher starts with it.") for fault in one.faults]
    adds = [f"{count(len(there), noun)} ({', '.join(sorted(there))})" for noun, there in _of(one).items() if there]
    return [fine(area, f"named by {one.named_by}: {'; '.join(adds) or 'nothing'}")]


def _of(one: Own) -> dict[str, Mapping[str, Any]]:
    return {"route": one.routes, "sync": one.syncs, "client": one.clients}
