"""Contacts, tags, notes, tasks and custom fields of the simulated GHL, as endpoint functions and their table.

Owns what each call does and answers; documents are kept by `ghl_store`, the checks before it are made by `ghl`.
"""

from typing import Any

from simulators import ghl_rules
from simulators.ghl_call import Call, Rule
from simulators.ghl_rules import Refusal, Scope
from simulators.ghl_search import search
from simulators.ghl_store import normalised_tags
from simulators.shapes import JsonObject

_DND_CHANNELS = {"Call": "call", "Email": "email", "SMS": "sms", "WhatsApp": "whatsApp", "GMB": "gmb", "FB": "fb"}


def get_contact(call: Call) -> JsonObject:
    return {"contact": _shown(call, call.contact())}


def create_contact(call: Call) -> JsonObject:
    """400 with `meta` when the location already has this person."""
    call.grant.check_location(call.body["locationId"])
    if not call.allows_duplicates and (found := call.store.duplicate_of(call.body, location_id=call.body["locationId"])):
        contact, matching = found
        meta = {"contactId": contact["id"], "contactName": contact.get("name", ""), "matchingField": matching}
        raise Refusal(400, "This location does not allow duplicated contacts.", more={"meta": meta})
    return {"contact": _shown(call, _create(call, call.body))}


def upsert_contact(call: Call) -> JsonObject:
    call.grant.check_location(call.body["locationId"])
    fields = dict(call.body)
    is_forced = fields.pop("createNewIfDuplicateAllowed", False) and call.allows_duplicates
    found = None if is_forced else call.store.duplicate_of(fields, location_id=fields["locationId"])
    contact = _update(call, found[0], fields) if found else _create(call, fields)
    return {"new": found is None, "contact": _shown(call, contact)}


def update_contact(call: Call) -> JsonObject:
    contact = _update(call, call.contact(), call.body)
    return {"succeeded" if call.is_v3 else "succeded": True, "contact": _shown(call, contact)}


def delete_contact(call: Call) -> JsonObject:
    contact = call.contact()
    call.store.remove_contact(contact["id"])
    call.effects.add("contact.delete", contact["id"], contact_id=contact["id"])
    call.changed("ContactDelete", contact)
    return {"succeded": True, **({"succeeded": True} if call.is_v3 else {})}


def search_contacts(call: Call) -> JsonObject:
    call.grant.check_location(call.body["locationId"])
    return search(call.store.contacts.values(), call.body)


def add_tags(call: Call) -> JsonObject:
    return _retag(call, "tags.add", lambda known, given: [*known, *(tag for tag in given if tag not in known)])


def remove_tags(call: Call) -> JsonObject:
    return _retag(call, "tags.remove", lambda known, given: [tag for tag in known if tag not in given])


def list_notes(call: Call) -> JsonObject:
    notes = call.store.notes.get(call.contact()["id"], {})
    return {"notes": list(reversed(notes.values()))}


def create_note(call: Call) -> JsonObject:
    contact_id = call.contact()["id"]
    note = {**call.body, "id": call.store.new_id(), "contactId": contact_id, "dateAdded": call.store.now()}
    call.store.notes.setdefault(contact_id, {})[note["id"]] = note
    call.effects.add("note", contact_id, text=note["body"], contact_id=contact_id, note_id=note["id"])
    call.changed("NoteCreate", note)
    return {"note": note}


def get_note(call: Call) -> JsonObject:
    return {"note": _note(call)}


def update_note(call: Call) -> JsonObject:
    note = _note(call)
    note.update(call.body)
    call.effects.add("note.update", note["contactId"], contact_id=note["contactId"], note_id=note["id"])
    call.changed("NoteUpdate", note)
    return {"note": note}


def delete_note(call: Call) -> JsonObject:
    note = _note(call)
    del call.store.notes[note["contactId"]][note["id"]]
    call.effects.add("note.delete", note["contactId"], contact_id=note["contactId"], note_id=note["id"])
    call.changed("NoteDelete", note)
    return {"succeded": True}


def list_tasks(call: Call) -> JsonObject:
    tasks = call.store.tasks.get(call.contact()["id"], {})
    return {"tasks": list(reversed(tasks.values()))}


def create_task(call: Call) -> JsonObject:
    contact_id = call.contact()["id"]
    task = {"body": "", **call.body, "id": call.store.new_id(), "contactId": contact_id}
    call.store.tasks.setdefault(contact_id, {})[task["id"]] = task
    call.effects.add("task", contact_id, text=f"{task['title']}\n{task['body']}", contact_id=contact_id, task_id=task["id"])
    call.changed("TaskCreate", {**task, "dateAdded": call.store.now()})
    return {"task": task}


def get_task(call: Call) -> JsonObject:
    return {"task": _task(call)}


def update_task(call: Call) -> JsonObject:
    """There is no TaskUpdate webhook; only completing a task raises one."""
    task = _task(call)
    was_completed = task["completed"]
    task.update(call.body)
    call.effects.add("task.update", task["contactId"], contact_id=task["contactId"], task_id=task["id"])
    if task["completed"] and not was_completed:
        call.changed("TaskComplete", task)
    return {"task": task}


def list_custom_fields(call: Call) -> JsonObject:
    call.grant.check_location(call.path["location_id"])
    model = call.query.get("model", "all")
    fields = [
        field for field in call.store.custom_fields if field["locationId"] == call.path["location_id"] and model in ("all", field["model"])
    ]
    return {"customFields": fields}


def _create(call: Call, fields: JsonObject) -> JsonObject:
    contact, _ = call.store.write_contact(None, fields, location_id=fields["locationId"])
    call.effects.add("contact", contact["id"], contact_id=contact["id"])
    call.changed("ContactCreate", contact)
    return contact


def _update(call: Call, known: JsonObject, fields: JsonObject) -> JsonObject:
    contact, is_changed = call.store.write_contact(known["id"], fields, location_id=known["locationId"])
    call.effects.add("contact.update", contact["id"], contact_id=contact["id"])
    if is_changed:
        call.changed("ContactUpdate", contact)
    return contact


def _retag(call: Call, kind: str, combine: Any) -> JsonObject:
    contact = call.contact()
    tags = combine(contact["tags"], normalised_tags(call.body["tags"]))
    is_changed = tags != contact["tags"]
    contact, _ = call.store.write_contact(contact["id"], {"tags": tags}, location_id=contact["locationId"])
    call.effects.add(kind, contact["id"], contact_id=contact["id"])
    if is_changed:
        call.changed("ContactTagUpdate", contact)
    return {"tags": tags}


def _note(call: Call) -> JsonObject:
    note = call.store.notes.get(call.contact()["id"], {}).get(call.path["note_id"])
    if note is None:
        raise Refusal(400, f"Note with id {call.path['note_id']} not found")
    return note


def _task(call: Call) -> JsonObject:
    task = call.store.tasks.get(call.contact()["id"], {}).get(call.path["task_id"])
    if task is None:
        raise Refusal(400, f"Task with id {call.path['task_id']} not found")
    return task


def _shown(call: Call, contact: JsonObject) -> JsonObject:
    """v3 spells the channels of `dndSettings` in lower camel case."""
    if call.is_v3 and "dndSettings" in contact:
        return {**contact, "dndSettings": {_DND_CHANNELS.get(name, name): value for name, value in contact["dndSettings"].items()}}
    return contact


_READ, _WRITE = Scope.CONTACTS_READ, Scope.CONTACTS_WRITE
RULES = (
    Rule("POST", "/contacts", _WRITE, create_contact, ghl_rules.CREATE_CONTACT, 201),
    Rule("POST", "/contacts/", _WRITE, create_contact, ghl_rules.CREATE_CONTACT, 201),
    Rule("POST", "/contacts/upsert", _WRITE, upsert_contact, ghl_rules.UPSERT_CONTACT),
    Rule("POST", "/contacts/search", _READ, search_contacts, ghl_rules.SEARCH),
    Rule("GET", "/contacts/{contact_id}", _READ, get_contact),
    Rule("PUT", "/contacts/{contact_id}", _WRITE, update_contact, ghl_rules.UPDATE_CONTACT),
    Rule("DELETE", "/contacts/{contact_id}", _WRITE, delete_contact),
    Rule("POST", "/contacts/{contact_id}/tags", _WRITE, add_tags, ghl_rules.TAGS, 201),
    Rule("DELETE", "/contacts/{contact_id}/tags", _WRITE, remove_tags, ghl_rules.TAGS),
    Rule("GET", "/contacts/{contact_id}/notes", _READ, list_notes),
    Rule("POST", "/contacts/{contact_id}/notes", _WRITE, create_note, ghl_rules.CREATE_NOTE, 201),
    Rule("GET", "/contacts/{contact_id}/notes/{note_id}", _READ, get_note),
    Rule("PUT", "/contacts/{contact_id}/notes/{note_id}", _WRITE, update_note, ghl_rules.UPDATE_NOTE),
    Rule("DELETE", "/contacts/{contact_id}/notes/{note_id}", _WRITE, delete_note),
    Rule("GET", "/contacts/{contact_id}/tasks", _READ, list_tasks),
    Rule("POST", "/contacts/{contact_id}/tasks", _WRITE, create_task, ghl_rules.CREATE_TASK, 201),
    Rule("GET", "/contacts/{contact_id}/tasks/{task_id}", _READ, get_task),
    Rule("PUT", "/contacts/{contact_id}/tasks/{task_id}", _WRITE, update_task, ghl_rules.UPDATE_TASK),
    Rule("PUT", "/contacts/{contact_id}/tasks/{task_id}/completed", _WRITE, update_task, ghl_rules.COMPLETE_TASK),
    Rule("GET", "/locations/{location_id}/customFields", Scope.FIELDS_READ, list_custom_fields),
)
