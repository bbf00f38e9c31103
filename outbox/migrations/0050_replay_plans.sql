-- works with code from 0001
-- Plans of settled events that are replayed; what kinds a plan holds is counted once; a stopped plan may go on.

alter table outbox.plans
  drop constraint plans_act_check,
  add constraint plans_act_check check (act in ('retry', 'discard', 'replay')),
  add kinds jsonb not null default '{}',
  add excused int not null default 0;
update outbox.plans p set kinds = coalesce((
  select jsonb_object_agg(k.kind, k.events) from (
    select e.kind, count(*) events from outbox.plan_events x join outbox.events e on e.id = x.event_id where x.plan_id = p.id group by e.kind) k), '{}');
alter table outbox.plan_events
  alter attempt drop not null,
  alter fingerprint drop not null,
  add check ((attempt is null) = (fingerprint is null));
create index plan_events_under_way on outbox.plan_events (plan_id) where portion is not null and ended is null;
