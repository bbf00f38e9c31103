"""Audits in the console: what was compared, what is missing where, and what became of each repair."""

from outbox.testing import Postroom
from tests.console.visiting import looking


async def test_audits_and_their_gaps_are_shown_with_their_repairs(postroom: Postroom) -> None:
    repair = await postroom.value("select outbox.stage('phorest.client', '{}')")
    counts = '{"kinds": {"client": {"here": 10, "linked": 9, "refused": 1}}}'
    await postroom.pool.execute("insert into crm.audits values (7, 'phorest', now(), now(), $1)", counts)
    await postroom.pool.execute(
        """insert into crm.audit_gaps (audit_id, kind, id, gap, repair)
           values (7, 'client', 'c<1>', 'not in ghl', $1), (7, 'client', 'c2', 'not in phorest', null)""",
        repair,
    )
    async with looking(postroom) as visitor:
        listed = await visitor.page("/console/audits")
        shown = await visitor.page("/console/audits/7")
        html = (await visitor.get("/console/audits/7")).text
        syncs = (await visitor.get("/console/syncs")).text
        unknown = await visitor.get("/console/audits/8")
    assert "phorest #7" in listed
    assert "1 client not in ghl" in listed
    assert f"#{repair}" in shown
    assert "a person decides" in shown
    assert "c<1>" in shown
    assert "c<1>" not in html
    assert 'href="/console/lanes/one?lane=phorest%3Aclient%3Ac2"' in html
    assert 'href="/console/audits"' in syncs
    assert unknown.status_code == 404


async def test_without_an_audit_the_page_says_when_one_runs(postroom: Postroom) -> None:
    async with looking(postroom) as visitor:
        assert "No audit has run yet" in await visitor.page("/console/audits")
