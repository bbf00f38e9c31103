-- works with code from 0001
-- The states of events are looked up by keys, whatever the statistics say of tables that are nearly always empty.

create or replace function outbox.states(ids bigint[]) returns table (event_id bigint, state text, why text, until timestamptz, attempts int, changed_at timestamptz, mark text)
language sql stable set enable_seqscan = off as $$
  select e.id,
    case when d.event_id is not null then 'dead'
         when coalesce(b.event_id, p.event_id, y.event_id) is not null then 'pending'
         when last.outcome = 'd' then 'done'
         when last.outcome = 's' then 'skipped'
         else 'lost' end,                          -- promise P7 says that this word never appears
    case when d.event_id is not null then d.reason
         when b.owner is not null then 'running'
         when b.due_at = 'infinity' then coalesce(b.why, 'held')
         when b.event_id is not null then coalesce(b.why, 'waiting')
         when y.event_id is not null then 'delayed'
         when p.event_id is not null and ahead.event_id is not null then 'behind #' || ahead.event_id || ' in its lane'
         when p.event_id is not null then 'ready'
         else last.note end,
    case when b.due_at < 'infinity' then b.due_at when y.event_id is not null then y.due_at end,
    greatest(coalesce(last.runs, 0), case when b.owner is not null then b.attempt else 0 end)::int,
    coalesce(d.died_at, last.started_at + last.took_ms * interval '1 ms', e.staged_at),
    case when d.event_id is not null then 'dead'
         when b.owner is not null then 'running'
         when b.due_at = 'infinity' then 'held'
         when b.event_id is not null then case when last.outcome = 'z' then 'snoozed' else 'retry' end
         when y.event_id is not null then 'delayed'
         when ahead.event_id is not null then 'behind'
         when p.event_id is not null then 'ready'
         when last.outcome = 'd' then 'done'
         when last.outcome = 's' then 'skipped'
         else 'lost' end
  from outbox.events e
  left join outbox.dead d on d.event_id = e.id
  left join lateral (select b.* from outbox.busy b where b.lane = outbox.lane_of(e.lane, e.id) and b.event_id = e.id limit 1) b on true
  left join lateral (select p.event_id, p.urgency from outbox.pending p where p.urgency in (0, 1) and p.lane = outbox.lane_of(e.lane, e.id) and p.event_id = e.id limit 1) p on true
  left join outbox.delayed y on y.event_id = e.id
  left join lateral (
    select x.event_id from outbox.busy x where p.event_id is not null and x.lane = outbox.lane_of(e.lane, e.id)
    union all
    (select x.event_id from outbox.pending x where p.event_id is not null and x.urgency = p.urgency and x.lane = outbox.lane_of(e.lane, e.id) and x.event_id < e.id
     order by x.event_id limit 1)
    limit 1) ahead on true
  left join (                                      -- by attempt, not by time: workers' clocks may differ
    select distinct on (a.event_id) a.event_id, a.outcome, a.note, a.started_at, a.took_ms,
           count(*) filter (where a.outcome <> 'p' and a.owner <> 0) over (partition by a.event_id) runs
    from outbox.attempts a where a.event_id = any (ids) order by a.event_id, a.attempt desc, a.outcome in ('d', 's') desc) last on last.event_id = e.id
  where e.id = any (ids)
$$;
