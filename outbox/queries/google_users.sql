-- name: some
-- read only: users' settings, the schedule and the last success of their sync, and how their consent stands; what there is not is NULL.
select asked.user_id, u.imports, u.label, coalesce(s.is_on, false) enabled, s.cron, s.every_s, s.due_at, y.succeeded_at last_sync_at,
       c.state connection, c.why connection_why, y.paused_why, case when last.state = 'braked' then last.reason end braked_why,
       (select count(*)::int from crm.google_unidentified n where n.user_id = asked.user_id) no_identifier
from (select user_id, 'google-contacts:' || user_id sync from unnest($1::text[]) user_id) asked
left join crm.google_users u on u.user_id = asked.user_id
left join outbox.syncs y on y.name = asked.sync
left join outbox.schedules s on s.sync = asked.sync and s.type = 'incremental'
left join outbox.connections c on c.destination = 'google:' || asked.user_id
left join lateral (select state, reason from outbox.runs where sync = asked.sync and ended_at is not null order by id desc limit 1) last on true
order by asked.user_id

-- name: list
-- read only: the next $2 users behind $1.
select user_id from crm.google_users where user_id > $1 order by user_id limit $2

-- name: save
-- a user and what of their contacts is imported; NULL keeps what there is, and $4 says whether $3 counts.
insert into crm.google_users as u (user_id, imports, label) values ($1, coalesce($2, 'all'), $3)
on conflict (user_id) do update
set imports = coalesce($2, u.imports), label = case when $4 then excluded.label else u.label end, updated_at = now()
