-- name: look
-- read only: what health is judged by, without a look at settled events. The oldest ready event is looked for among 100,000 that wait: those whose
-- lane is not busy, by one pass over both. A join would be a scan of busy for each of them, whenever busy was thought to be empty.
select (select count(*)::int from outbox.dead) dead,
       (select count(*)::int from outbox.dead where died_at > now() - interval '1 hour') buried_last_hour,
       (select count(*)::int from outbox.workers where ended_at is null and until > now()) workers,
       (select extract(epoch from now() - e.staged_at)::float8 from outbox.events e where e.id = (
          select min(free.event_id) from (
            select min(event_id) event_id from (
              (select lane, event_id from outbox.pending where attempt >= 0 limit 100000) union all select lane, null from outbox.busy) waits
            group by lane having count(*) = count(event_id)) free)) oldest_ready_s

-- name: stopped
-- read only: destinations that do not flow, single users' not among them; with a provider: until a person consents again.
select d.name, d.state, coalesce(c.why, d.why) why, c.provider, c.account from outbox.destinations d
left join outbox.connections c on c.destination = d.name and c.state = 'inactive' and d.state = 'unauthorised'
where d.state <> 'flowing' and d.name not like 'google:%' order by d.name

-- name: stopped_users
-- read only: how many single users' destinations do not flow, by what they wait for.
select count(*) filter (where d.state = 'unauthorised' and c.destination is not null)::int need_consent,
       count(*) filter (where d.state = 'unauthorised' and c.destination is null)::int refused,
       count(*) filter (where d.state = 'open')::int failing, count(*) filter (where d.state = 'paused')::int paused,
       min(d.since) since
from outbox.destinations d left join outbox.connections c on c.destination = d.name and c.state = 'inactive'
where d.state <> 'flowing' and d.name like 'google:%'

-- name: died
-- read only: what died last, at most $1.
select d.event_id id, d.died_at, d.reason, d.attempt, e.kind from outbox.dead d join outbox.events e on e.id = d.event_id
order by d.died_at desc, d.event_id desc limit $1
