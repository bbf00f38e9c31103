-- name: journal
-- read only: what is known of an event's steps, oldest first.
select name, entry::text entry, attempt, answer, extract(epoch from clock_timestamp() - at)::float8 age_s from outbox.steps where event_id = $1 order by at

-- name: write
-- entries, each only while its owner holds its attempt (lanes, events, owners, attempts, ...); `only_first`: only if nothing is known of the event.
-- Returns those whose event is held, and whether they were written; what does not come back was lost to another.
with held as (
  select e.n, b.event_id, b.attempt, e.name, e.entry, e.took_ms, e.answer, e.note,
         not (e.only_first and (select true from outbox.steps s where s.event_id = b.event_id limit 1) is true) is_to_write
  from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::int[], $5::text[], $6::text[], $7::int[], $8::text[], $9::text[], $10::bool[])
         with ordinality e (lane, event_id, owner, attempt, name, entry, took_ms, answer, note, only_first, n)
  cross join lateral (
    select busy.event_id, busy.attempt from outbox.busy
    where busy.lane = e.lane and busy.event_id = e.event_id and busy.owner = e.owner and busy.attempt = e.attempt for share
  ) b
), written as (
  insert into outbox.steps (event_id, name, attempt, entry, took_ms, answer, note)
  select event_id, name, attempt, entry::"char", took_ms, answer::jsonb, note from held where is_to_write order by n
)
select n::int, is_to_write from held
