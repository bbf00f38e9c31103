"""From crm.leads to crm.contacts: no row, no id and no grant is lost on the way, and who was a customer already is one."""

import asyncpg
import pytest

from outbox import migrate as module
from outbox.migrate import migrate, migrations

BEFORE = 5
ROWS = """insert into crm.leads (ghl_contact_id, first_name, changed_at, content_hash, custom_fields)
select 'c' || n, 'Ada ' || n, '2026-01-05', 'x', '{"f1": 1}' from generate_series(1, 3) n;
insert into crm.appointments (status, contact_id, title, starts_at, ends_at)
values ('completed', 'c1', 'Cut', '2026-03-05', '2026-03-06'), ('completed', 'c1', 'Cut', '2026-02-05', '2026-02-06'),
       ('confirmed', 'c2', 'Cut', '2026-02-05', '2026-02-06'), ('completed', null, 'Cut', '2026-02-05', '2026-02-06')"""


async def test_leads_become_contacts_with_their_ids_and_grants(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    every = migrations()
    connection = await asyncpg.connect(empty_database)
    with monkeypatch.context() as earlier:
        earlier.setattr(module, "migrations", lambda: [one for one in every if one[0] < BEFORE])
        await migrate(connection)
    await connection.execute(ROWS)
    role = f"reader_{connection.get_server_pid()}"
    await connection.execute(f"create role {role}; grant usage on schema crm to {role}; grant select, update on crm.leads to {role}")
    try:
        await migrate(connection)
        found = await connection.fetch("select id, ghl_contact_id, first_name, custom_fields, customer_since from crm.contacts order by id")
        assert [(row["id"], row["ghl_contact_id"], row["first_name"]) for row in found] == [(n, f"c{n}", f"Ada {n}") for n in (1, 2, 3)]
        assert [row["customer_since"] is not None for row in found] == [True, False, False]
        assert found[0]["customer_since"] == await connection.fetchval("select '2026-02-05'::timestamptz")
        await connection.execute(f"set role {role}")
        assert [row[0] for row in await connection.fetch("select ghl_contact_id from crm.leads order by 1")] == ["c2", "c3"]
        assert await connection.fetchval("select count(*) from crm.contacts") == 3
        await connection.execute("update crm.leads set first_name = 'Eve' where ghl_contact_id = 'c2'")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("delete from crm.leads")
    finally:
        await connection.execute(f"reset role; drop owned by {role} cascade; drop role {role}")
        await connection.close()
