"""Opportunities of the simulated GHL, to read, as endpoint functions and their table. Changes are arranged: see GhlSimulator."""

from collections.abc import Mapping

from simulators.ghl_call import Call, Rule
from simulators.ghl_rules import Refusal, Scope
from simulators.shapes import JsonObject, epoch_ms, parse_instant

_KNOWN = {
    "q", "location_id", "pipeline_id", "pipeline_stage_id", "contact_id", "status", "assigned_to", "campaignId", "id", "order", "endDate",
    "startAfter", "startAfterId", "date", "country", "page", "limit", "getTasks", "getNotes", "getCalendarEvents",
}  # fmt: skip
_FILTERS = {
    "pipeline_id": "pipelineId",
    "pipeline_stage_id": "pipelineStageId",
    "contact_id": "contactId",
    "assigned_to": "assignedTo",
    "id": "id",
}
_STATUSES = {"open", "won", "lost", "abandoned", "all"}
_MOST = 100


def search_opportunities(call: Call) -> JsonObject:
    """Newest first. This version of the service wants underscores, and says so of anything else."""
    query = call.query
    faults = [f"property {name} should not exist" for name in query if name not in _KNOWN]
    if not query.get("location_id"):
        faults.append("location_id should not be empty")
    if query.get("status", "all") not in _STATUSES:
        faults.append("status must be one of the following values: open, won, lost, abandoned, all")
    limit = query.get("limit", "20")
    if not limit.isdigit() or not 1 <= int(limit) <= _MOST:
        faults.append(f"limit must not be greater than {_MOST}")
    if faults:
        raise Refusal(422, faults)
    call.grant.check_location(query["location_id"])
    found = [one for one in call.store.opportunities.values() if one["locationId"] == query["location_id"] and _matches(one, query)]
    found.sort(key=_place, reverse=True)
    total = len(found)
    if query.get("startAfterId"):
        after = (int(query.get("startAfter") or "0"), query["startAfterId"])
        found = [one for one in found if _place(one) < after]
    shown = found[: int(limit)]
    meta: JsonObject = {"total": total, "currentPage": 1}
    if len(found) > len(shown):
        meta["nextPage"] = 2
    if shown:
        meta["startAfter"], meta["startAfterId"] = _place(shown[-1])
    return {"opportunities": shown, "meta": meta, "aggregations": {}}


def get_opportunity(call: Call) -> JsonObject:
    found = call.store.opportunities.get(call.path["opportunity_id"])
    if found is None:
        raise Refusal(400, f"Opportunity with id {call.path['opportunity_id']} not found")
    call.grant.check_location(found["locationId"])
    return {"opportunity": found}


def list_pipelines(call: Call) -> JsonObject:
    location_id = call.query.get("locationId", "")
    if not location_id:
        raise Refusal(422, ["locationId should not be empty"])
    call.grant.check_location(location_id)
    return {"pipelines": [one for one in call.store.pipelines if one["locationId"] == location_id]}


def _matches(one: JsonObject, query: Mapping[str, str]) -> bool:
    status = query.get("status", "all")
    return status in ("all", one["status"]) and all(one.get(field) == query[name] for name, field in _FILTERS.items() if query.get(name))


def _place(one: JsonObject) -> tuple[int, str]:
    at = parse_instant(one["createdAt"])
    return (epoch_ms(at) if at else 0), str(one["id"])


RULES = (
    Rule("GET", "/opportunities/search", Scope.OPPORTUNITIES_READ, search_opportunities),
    Rule("GET", "/opportunities/pipelines", Scope.OPPORTUNITIES_READ, list_pipelines),
    Rule("GET", "/opportunities/{opportunity_id}", Scope.OPPORTUNITIES_READ, get_opportunity),
)
