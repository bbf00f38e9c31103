"""Empties a database between tests. Owns what is emptied, and how; whose database it is, its caller knows."""

import asyncio

import asyncpg

# Truncating all takes forty times as long, for a test that has written to a few. Those that a claim walks over must hold no dead rows,
# and large ones are not worth deleting from; triggers and foreign keys are as silent as they are for a truncate.
EMPTY = """do $$
declare place regclass; large text;
begin
  set local session_replication_role = replica;
  for place in
    select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('outbox', 'crm') and c.relkind = 'r' and c.relname not in ('migrations', 'pending', 'busy', 'delayed')
      and pg_relation_size(c.oid) between 1 and 1048576
  loop
    execute format('delete from %s', place);
  end loop;
  select string_agg(c.oid::regclass::text, ', ') into large from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname in ('outbox', 'crm') and c.relkind = 'r' and c.relname <> 'migrations'
    and pg_relation_size(c.oid) > case when c.relname in ('pending', 'busy', 'delayed') then 0 else 1048576 end;
  if large is not null then
    execute format('truncate %s cascade', large);
  end if;
end $$"""
# The same for many times on one connection, which keeps the plans: a function of that connection, for the tables that there are now.
TABLES = """select string_agg(c.oid::text, ' ' order by c.oid) from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('outbox', 'crm') and c.relkind = 'r'"""
SWEEP = """select format('create or replace function pg_temp.sweep() returns void language plpgsql as $sweep$ begin %s end $sweep$',
  string_agg(
    format('if pg_relation_size(%s) > %s then truncate %s cascade; elsif pg_relation_size(%1$s) > 0 then delete from %3$s; end if;',
           c.oid, case when c.relname in ('pending', 'busy', 'delayed') then 0 else 1048576 end, c.oid::regclass), ' '))
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('outbox', 'crm') and c.relkind = 'r' and c.relname <> 'migrations'"""


class Broom:
    """Empties a database between tests, on one connection that is kept: a new one would first read the catalog of all these tables.

    The connection belongs to an event loop of its own, for tests bring theirs.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn, self._loop = dsn, asyncio.new_event_loop()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._tables = ""  # that the connection's function is for

    def sweep(self) -> None:
        """Not while an event loop runs in this thread. A connection that a test has cut is made anew."""
        try:
            self._loop.run_until_complete(self._sweep())
        except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.AdminShutdownError, OSError):
            self._connection = None
            self._loop.run_until_complete(self._sweep())

    async def _sweep(self) -> None:
        if self._connection is None:
            # To set the role for each sweep would throw the plans away.
            settings = {"application_name": "postroom:broom", "session_replication_role": "replica"}
            self._connection, self._tables = await asyncpg.connect(self._dsn, server_settings=settings), ""
        if (tables := await self._connection.fetchval(TABLES)) != self._tables:  # days come and go
            await self._connection.execute(await self._connection.fetchval(SWEEP))
            self._tables = tables
        await self._connection.execute("select pg_temp.sweep()")

    def put_away(self) -> None:
        """Closes the connection and the loop."""
        if self._connection is not None:
            self._connection.terminate()
            self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()
