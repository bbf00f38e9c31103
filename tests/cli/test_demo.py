"""`postroom demo`: every event is accounted for, and an account that does not add up is a failure."""

import signal
from pathlib import Path

import pytest

from cli.checks import Seen
from cli.deliver import Answer
from cli.ledger import Became, Ledger, rows, states
from outbox.embedded import temporary_folder
from tests.cli.program import child_pid, environment, gone, run, started, until


def test_the_demo_accounts_for_every_event_and_retries_its_dead_letter_to_success(tmp_path: Path) -> None:
    real = {"GHL_API_KEY": "pit-real", "NOTION_API_KEY": "ntn_real", "DATABASE_URL": "postgresql://app@127.0.0.1:1/real", "PORT": "x"}
    ended = run("demo", "--json", env=environment(**real), cwd=tmp_path, timeout_s=300)
    assert ended.code == 0, ended.out + ended.err
    told = ended.json()
    counts, states = told["counts"], told["states"]
    assert told["ok"]
    assert counts["sent"] == counts["accepted"] + counts["duplicates"] + counts["rejected"] == len(told["events"])
    assert counts["accepted"] == sum(states.values())
    assert (states["dead"], states["pending"], told["states_before_retry"]["dead"]) == (0, 0, 1)
    [letter] = told["dead_letters"]
    assert letter["became"] == "done"
    assert "ghl answered 400" in letter["reason"]
    assert told["effects"]["task"] == 4
    assert told["came_over"]["phorest"] | {"warnings": None} == {
        "clients": 4,
        "of_clients": 5,
        "visits": 4,
        "of_visits": 5,
        "repairs": 1,
        "warnings": None,
    }
    assert told["came_over"]["google"] == {"contacts": 3, "of_contacts": 4, "without": 1}
    assert [check for check in told["checks"] if not check["ok"]] == []
    assert len(told["checks"]) >= 21
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_demo_leaves_no_process(tmp_path: Path) -> None:
    with temporary_folder() as folder, started("demo", env=environment(POSTROOM_DATA_DIR=str(folder)), cwd=tmp_path) as command:
        until(lambda: child_pid(command, "web"), what="the receiver")
        processes = command.family()
        command.send(signal.SIGTERM)
        assert command.ends() == 130
        assert gone(processes) == []


def became(event_id: int, state: str = "done") -> Became:
    return Became(event_id, "ghl.ContactCreate", state, None, 0)


def test_a_ledger_adds_up_what_was_sent() -> None:
    ledger = Ledger()
    ledger.webhook("ghl", "first", Answer(202, 1, False))
    ledger.webhook("ghl", "first, again", Answer(202, 1, True))
    ledger.webhook("ghl", "forged", Answer(401))
    ledger.staged("a change", 2)
    ledger.staged("a change, again", 2)
    assert ledger.counts() == {"sent": 5, "accepted": 2, "duplicates": 2, "rejected": 1}
    assert ledger.ids == [1, 2]
    assert states([became(1), became(2, "dead")]) == {"pending": 0, "done": 1, "skipped": 0, "dead": 1}
    assert [row["state"] for row in rows(ledger, {1: became(1), 2: became(2, "skipped")})] == ["done", "done", None, "skipped", "skipped"]


def test_a_request_without_an_answer_is_neither_accepted_nor_rejected() -> None:
    ledger = Ledger()
    ledger.webhook("ghl", "lost", Answer(None))
    assert ledger.counts() == {"sent": 1, "accepted": 0, "duplicates": 0, "rejected": 0}


@pytest.mark.parametrize(("found", "is_well"), [("1", True), ("2", False)])
def test_one_check_that_differs_fails_the_whole(found: str, is_well: bool) -> None:
    seen = Seen(Ledger(), {}, {}, [], "key")
    assert not seen.is_well
    seen.check("one", 1, 1)
    seen.check("two", "1", found)
    assert seen.is_well is is_well
