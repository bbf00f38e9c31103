"""The tags of a location of the simulated GHL, as endpoint functions and their table. The refusal of a second one is plausible only."""

from simulators import ghl_rules
from simulators.ghl_call import Call, Rule
from simulators.ghl_rules import Refusal, Scope
from simulators.shapes import JsonObject

_PATH = "/locations/{location_id}/tags"


def list_tags(call: Call) -> JsonObject:
    return {"tags": _here(call)}


def create_tag(call: Call) -> JsonObject:
    name = str(call.body["name"]).strip().lower()
    if any(tag["name"] == name for tag in _here(call)):
        raise Refusal(400, "The tag name is already exist.")
    tag = {"id": call.store.new_id(), "name": name, "locationId": call.path["location_id"]}
    call.store.tags[tag["id"]] = tag
    call.effects.add("tag", tag["id"], text=name)
    return {"tag": tag}


def update_tag(call: Call) -> JsonObject:
    tag = _tag(call)
    tag["name"] = str(call.body["name"]).strip().lower()
    call.effects.add("tag.update", tag["id"])
    return {"tag": tag}


def delete_tag(call: Call) -> JsonObject:
    tag = _tag(call)
    del call.store.tags[tag["id"]]
    call.effects.add("tag.delete", tag["id"])
    return {"succeded": True}


def _here(call: Call) -> list[JsonObject]:
    call.grant.check_location(call.path["location_id"])
    return [tag for tag in call.store.tags.values() if tag["locationId"] == call.path["location_id"]]


def _tag(call: Call) -> JsonObject:
    found = next((tag for tag in _here(call) if tag["id"] == call.path["tag_id"]), None)
    if found is None:
        raise Refusal(400, f"Tag with id {call.path['tag_id']} not found")
    return found


RULES = (
    Rule("GET", _PATH, Scope.TAGS_READ, list_tags),
    Rule("POST", _PATH, Scope.TAGS_WRITE, create_tag, ghl_rules.LOCATION_TAG),
    Rule("PUT", _PATH + "/{tag_id}", Scope.TAGS_WRITE, update_tag, ghl_rules.LOCATION_TAG),
    Rule("DELETE", _PATH + "/{tag_id}", Scope.TAGS_WRITE, delete_tag),
)
