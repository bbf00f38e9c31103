"""Which scene brings a dispatcher to which named point."""

from collections.abc import Mapping

from tests.crashes import bulk, pulls, salons
from tests.crashes.scenes import (
    Scene,
    delayed,
    deleted,
    failing,
    hanging,
    held,
    is_tidy,
    late,
    left_open,
    locked,
    mixed,
    old_day,
    orphaned,
    refusing,
    removed,
    stop,
    waiting,
    wide,
)

MIXED = Scene(mixed)
STOPPING = Scene(hanging, env={"POSTROOM_GRACE_SECONDS": "0"}, act=stop)
UPKEEP = Scene(old_day, mended=is_tidy)
REFUSED = Scene(refusing, dead=1)
PROBED = Scene(held(state="open"), flows=True)

SCENES: Mapping[str, Scene] = {
    "claim": Scene(wide),
    "claim_fresh": Scene(mixed, env={"CRASH_DEAR": "1"}),
    "take_due": Scene(waiting),
    "promote_delayed": Scene(delayed),
    "finish_with_followers": Scene(removed),
    "wait": Scene(failing("answer", status=500)),
    "hold": Scene(mixed, env={"POSTROOM_DESTINATION_CONCURRENCY": "1"}),
    "bury": REFUSED,
    "hand_back": STOPPING,
    "hand_back_strays": Scene(wide, also=("lose:during:claim",)),
    "journal.not_done": REFUSED,
    "journal.found": Scene(failing("drop", after_work=True)),
    "call.undone_note": Scene(failing("drop")),
    "call.late_note": Scene(late),
    "handler.deleted": Scene(deleted),
    "renew": Scene(hanging),
    "end": STOPPING,
    "end_lapsed": Scene(orphaned()),
    "end_frozen": Scene(left_open("begin; lock table crm.clients in share mode")),
    "terminate": Scene(locked),
    "bury_poison": Scene(orphaned(crashes=2), dead=1),
    "release_orphans": Scene(orphaned()),
    "open_breaker": Scene(failing("answer", "/contacts/**", times=None, method="*", status=503)),
    "take_probe": PROBED,
    "give_up_probe": Scene(held(state="open", first_asks=False), flows=True),
    "flow": PROBED,
    "end_pauses": Scene(held(state="paused"), flows=True),
    "release_held": Scene(held(state="flowing"), flows=True),
    "release_probe": PROBED,
    "upkeep.open_days": UPKEEP,
    "upkeep.prune_workers": UPKEEP,
    "upkeep.prune_runs": UPKEEP,
    "upkeep.forget_wanted": UPKEEP,
    "upkeep.prune_plans": UPKEEP,
    "upkeep.prune_keys": UPKEEP,
    "upkeep.drop_day": UPKEEP,
    **dict.fromkeys(("run.begin", "run.call", "run.progress", "run.log", "run.keep", "run.page", "run.advance", "run.end"), pulls.RUN),
    "run.saw": pulls.FULL_RUN,
    "run.forget_seen": pulls.FULL_RUN,
    "run.end_dead": Scene(pulls.dead_run, mended=pulls.has_failed, dead=1),
    **dict.fromkeys(("notion.query", "notion.page", "notion.end"), pulls.NOTION_RUN),
    **dict.fromkeys(("google.call", "google.page", "google.end"), pulls.GOOGLE_RUN),
    **dict.fromkeys(("google.hand_on", "google.sweep"), pulls.GOOGLE_FULL),
    **dict.fromkeys(("salon.call", "salon.page"), salons.IMPORT),
    **dict.fromkeys(("push.make", "push.book", "push.tags", "push.link", "push.commit"), salons.PUSH),
    **dict.fromkeys(("repair.ask", "repair.fetch", "repair.follow", "repair.wake", "repair.commit"), salons.REPAIR),
    **dict.fromkeys(("undo.delete", "undo.commit"), salons.ROLLBACK),
    **dict.fromkeys(("tick", "tick.stage"), pulls.TICK),
    **dict.fromkeys(("begin.routes", "begin.sync", "begin.schedule", "begin.retire"), Scene(mixed, mended=pulls.is_registered)),
    **dict.fromkeys(("plan.portion", "plan.settle", "plan.commit"), bulk.RETRIES),
    "plan.discard": bulk.DISCARDS,
    "plan.replay": bulk.REPLAYS,
}


def scene_of(name: str) -> Scene:
    """The scene in which a dispatcher comes to this point."""
    return SCENES.get(name, MIXED)
