-- works with code from 0001
-- A sync's light ages from when it was last resumed, switched on or given its schedule, not from a success before that.

alter table outbox.syncs add expected_since timestamptz not null default now();
update outbox.syncs set expected_since = added_at;
create or replace view outbox.user_syncs as
select s.name, s.succeeded_at, d.due_at, lost.needs_consent,
       case when lost.needs_consent then 'grey'
            when s.paused_by = 'postroom' then 'red'
            when s.paused_at is not null or d.sync is null then 'grey'
            when d.has_cron then null
            when now() - greatest(s.succeeded_at, s.expected_since) > 6 * d.every_s * interval '1 s' then 'red'
            when now() - greatest(s.succeeded_at, s.expected_since) >= 2 * d.every_s * interval '1 s' then 'yellow'
            else 'green' end light
from outbox.syncs s
left join (
  select sync, min(every_s) every_s, min(due_at) due_at, count(cron) > 0 has_cron from outbox.schedules
  where is_on and sync like 'google-contacts:%' group by sync) d on d.sync = s.name
left join outbox.connections c on c.destination = s.destination and c.state <> 'active'
cross join lateral (select s.off is not null or c.destination is not null needs_consent) lost
where s.name like 'google-contacts:%';
