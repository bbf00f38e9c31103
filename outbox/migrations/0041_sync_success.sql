-- works with code from 0001
-- Each sync knows its newest success, and those that there is one of for each user are read as one.

alter table outbox.syncs add succeeded_run bigint, add succeeded_at timestamptz, add check ((succeeded_run is null) = (succeeded_at is null));
update outbox.syncs s set succeeded_run = ok.id, succeeded_at = ok.ended_at
from (select distinct on (sync) sync, id, ended_at from outbox.runs where state = 'done' and not dry_run order by sync, id desc) ok
where ok.sync = s.name;
create index syncs_of_all on outbox.syncs (name) where name not like 'google-contacts:%';
create index runs_failed on outbox.runs (sync, id) where state in ('failed', 'braked');
create index connections_resting on outbox.connections (destination) where state <> 'active';

create function outbox.note_success() returns trigger
language plpgsql as $$
begin
  update outbox.syncs set succeeded_run = new.id, succeeded_at = new.ended_at
  where name = new.sync and coalesce(succeeded_at <= new.ended_at, true);
  return null;
end $$;
create trigger runs_succeeded after insert or update of state on outbox.runs
  for each row when (new.state = 'done' and not new.dry_run) execute function outbox.note_success();
revoke execute on function outbox.note_success from public;

create view outbox.user_syncs as
select s.name, s.succeeded_at, d.due_at, lost.needs_consent,
       case when lost.needs_consent then 'grey'
            when s.paused_by = 'postroom' then 'red'
            when s.paused_at is not null or d.sync is null then 'grey'
            when d.has_cron then null
            when now() - coalesce(s.succeeded_at, s.added_at) > 6 * d.every_s * interval '1 s' then 'red'
            when now() - coalesce(s.succeeded_at, s.added_at) >= 2 * d.every_s * interval '1 s' then 'yellow'
            else 'green' end light
from outbox.syncs s
left join (
  select sync, min(every_s) every_s, min(due_at) due_at, count(cron) > 0 has_cron from outbox.schedules
  where is_on and sync like 'google-contacts:%' group by sync) d on d.sync = s.name
left join outbox.connections c on c.destination = s.destination and c.state <> 'active'
cross join lateral (select s.off is not null or c.destination is not null needs_consent) lost
where s.name like 'google-contacts:%';
