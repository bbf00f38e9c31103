-- name: all
-- read only: every destination that was ever not flowing, with the seconds until its probe or resumption is due. Single users, of whom there
-- may be thousands, are left out.
select name, state, why, by_whom, since, extract(epoch from until - now())::float8 until_s, opened, probe
from outbox.destinations where name not like 'google:%' order by name

-- name: some
-- read only: as all, those of these names.
select name, state, why, by_whom, since, extract(epoch from until - now())::float8 until_s, opened, probe
from outbox.destinations where name = any ($1::text[]) order by name

-- name: changed
-- read only: what was changed by transactions that had not ended when $1 was told (NULL: all that does not flow), and what to ask with next time.
-- Rows of a restored database may name transactions that are yet to come: those are no news.
select d.name, d.state, extract(epoch from d.until - now())::float8 until_s, d.opened, t.seen
from (select pg_snapshot_xmin(pg_current_snapshot())::text seen) t
left join outbox.destinations d
  on d.changed >= coalesce($1::text, '0')::xid8 and d.changed < pg_snapshot_xmax(pg_current_snapshot()) and ($1 is not null or d.state <> 'flowing')

-- name: open
-- flowing or open -> open (or unauthorised): one event may probe in $3 seconds. A pause by a person stands.
insert into outbox.destinations as d (name, state, why, since, until, opened)
values ($1, $4, $2, now(), now() + $3 * interval '1 s', 1)
on conflict (name) do update
set state = $4, why = $2, since = case when d.state = 'flowing' then now() else d.since end,
    until = now() + $3 * interval '1 s', opened = d.opened + 1, probe = null, probe_at = null, by_whom = null
where d.state <> 'paused'
returning opened

-- name: take_probe
-- the right to try once, for event $2. An earlier probe has given it up when its event is at work no longer (its worker died before it could
-- say so), or when it does not report within 90 s, longer than the longest call.
update outbox.destinations d set probe = $2, probe_at = now()
where name = $1 and state in ('open', 'unauthorised') and until <= now()
  and (probe is null or probe = $2 or probe_at < now() - interval '90 s'
       or exists (select from outbox.events e left join outbox.busy b on b.lane = outbox.lane_of(e.lane, e.id) and b.event_id = e.id
                  where e.id = d.probe and b.owner is null))
returning name

-- name: give_up_probe
-- the probe said nothing about the destination; only its own event gives it up.
update outbox.destinations set probe = null, probe_at = null where name = $1 and probe = $2 returning name

-- name: flow
-- open or unauthorised -> flowing, after a probe succeeded.
update outbox.destinations set state = 'flowing', why = null, until = null, probe = null, probe_at = null, opened = 0, since = now(), by_whom = null
where name = $1 and state in ('open', 'unauthorised') returning name

-- name: pause
-- any -> paused, by a person; $4 seconds or NULL for open end.
insert into outbox.destinations as d (name, state, why, by_whom, until)
values ($1, 'paused', $2, $3, now() + $4 * interval '1 s')
on conflict (name) do update set state = 'paused', why = $2, by_whom = $3, since = now(), until = now() + $4 * interval '1 s', probe = null, probe_at = null
returning name

-- name: resume
-- any -> flowing, by a person.
update outbox.destinations set state = 'flowing', why = null, until = null, probe = null, probe_at = null, opened = 0, since = now(), by_whom = $2
where name = $1 and state <> 'flowing' returning name

-- name: end_pauses
-- paused -> flowing, when its end has come.
update outbox.destinations set state = 'flowing', why = null, until = null, by_whom = null, since = now(), opened = 0
where state = 'paused' and until <= now() returning name
