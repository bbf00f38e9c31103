-- name: attention
-- read only: how much needs a person, each counted to 1,000: groups of dead letters, named lanes whose heads were accepted over 15 minutes ago
-- and wait though their destination flows, destinations that do not (single users' are one), and handshakes to promote.
select (select count(*)::int from (select distinct fingerprint from outbox.dead limit 1000) d) dead,
       (select count(*)::int from (select from outbox.busy b join outbox.events e on e.id = b.event_id
          where b.owner is null and b.due_at < 'infinity' and b.lane <> b.event_id and e.staged_at < now() - interval '15 min' limit 1000) held) lanes,
       (select count(distinct case when name like 'google:%' then 'google' else name end)::int from outbox.destinations where state <> 'flowing')
         + (select count(*)::int from outbox.handshakes where promoted_at is null) connections

-- name: any_event
-- read only: has anything ever been staged?
select exists (select from outbox.events)

-- name: oldest
-- read only: the event that has waited longest, what for, and how its destination stands; what waits for its hour only when nothing else
-- waits. Of those that wait their turn it is looked for among 100,000, by one pass over the table, as events.counts does.
with first as (
  select min(event_id) id, 0 turn from (select event_id from outbox.pending where attempt >= 0 limit 100000) p
  union all select min(event_id), 0 from outbox.busy where owner is null
  union all select min(event_id), 1 from outbox.delayed)
select e.id, e.staged_at, s.mark, s.why, s.until, substring(s.why from '^held for (.*)') destination, d.state, d.by_whom
from (select id from first where id is not null order by turn, id limit 1) f
cross join lateral (select id, staged_at from outbox.events e where e.id = f.id offset 0) e
cross join lateral (select mark, why, until from outbox.states(array[f.id]) offset 0) s
left join outbox.destinations d on d.name = substring(s.why from '^held for (.*)')

-- name: undone
-- read only: of what was accepted at id $1 or later: how many are pending, and how many dead.
-- Of pending in one pass over the table, by no index (+ 0): see events.counts.
select ((select count(*) from outbox.pending where event_id + 0 >= $1 and attempt >= 0) + (select count(*) from outbox.busy where event_id >= $1)
        + (select count(*) from outbox.delayed where event_id >= $1))::int pending,
       (select count(*)::int from outbox.dead where event_id >= $1) dead
