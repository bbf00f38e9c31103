-- works with code from 0001
-- Stored plans for dead letters, notes on their groups, the routes as people read them; a lane's events are found by an index.

create table outbox.routes (                      -- what the dispatcher that began last does with each kind; told for people, read by no engine
  kind       text primary key,
  handler    text not null,
  destination text,                               -- NULL: it calls nobody
  deadline_s double precision not null,
  retries    text not null,                       -- the schedule in words
  schedule_s double precision[] not null,         -- entry n is waited after failure n
  covers     text,                                -- the coalescing word; NULL: it covers no other event
  told_at    timestamptz not null default now()
);

create table outbox.notes (fingerprint text primary key, note text not null, by_whom text not null, at timestamptz not null default now());

-- A plan is what its button does: which dead letters, counted and kept when it was made. Driven by its row, by whoever locks it.
--
--   made ─start─▶ running ─a portion of the canary is over─▶ resting ─go on─▶ running ─▶ done
--                    └──stop, or the same error came back──▶ stopping ─what was sent is over─▶ stopped
create table outbox.plans (
  id         bigint generated always as identity primary key,
  act        text        not null check (act in ('retry', 'discard')),
  state      text        not null default 'made' check (state in ('made', 'running', 'resting', 'stopping', 'stopped', 'done')),
  which      jsonb       not null,                -- the filter as it was told
  ceiling    bigint      not null,                -- the largest id in it
  events     int         not null,
  lanes      int         not null,
  oldest_at  timestamptz not null,                -- when the first of them died
  steps_done int         not null,                -- finished steps of them all, which are not repeated
  newer      int,                                 -- events with a newer one of their lane done; NULL: nobody looked, there are too many lanes
  canary     boolean     not null default true,   -- 1, then 10, then portions of 100; else portions only
  allowed    int         not null default 0,      -- portions up to this one may be taken: after each of the canary's a person decides
  leave_out  boolean     not null default false,  -- those with newer ones done are left as they are
  reason     text,                                -- why they are discarded; NULL: they are retried
  why        text,                                -- why it stopped; NULL: it did not
  portion    int         not null default 0,      -- the portion under way
  turn       int         not null default 0,      -- the last turn that was taken
  made_at    timestamptz not null default now(),
  made_by    text        not null,
  started_at timestamptz,
  ended_at   timestamptz,
  check ((act = 'discard') = (reason is not null)),
  check ((state in ('stopped', 'done')) = (ended_at is not null)),
  check ((state = 'made') = (started_at is null))
);
create index plans_under_way on outbox.plans (id) where state in ('running', 'stopping');

-- What a plan holds, and what became of each: the sum is the plan.
--   d done   s skipped   x dead again, same group   y dead again, another   a no longer as planned: retried by somebody   g gone   l left out
create table outbox.plan_events (
  plan_id     bigint   not null references outbox.plans on delete cascade,
  turn        int      not null,                  -- oldest first, one of each lane first
  event_id    bigint   not null,
  attempt     int      not null,                  -- when it was planned: with another it is another death
  fingerprint text     not null,
  is_late     boolean  not null default false,    -- a newer event of its lane was done
  portion     int,                                -- NULL: its turn has not come
  ended       "char"   check (ended in ('d', 's', 'x', 'y', 'a', 'g', 'l')),   -- NULL: not yet
  ended_at    timestamptz,
  primary key (plan_id, turn),
  check (ended is null or portion is not null)
);
create index plan_events_portion on outbox.plan_events (plan_id, portion);

create index events_lane on outbox.events using brin (lane text_bloom_ops (n_distinct_per_range = 256)) with (pages_per_range = 16, autosummarize = on);

-- With one column more at the end; who reads the others goes on.
drop function outbox.states(bigint[]);

-- P7: an event is pending, done, skipped or dead. `why` says it in words; `until` when a wait ends (NULL: nobody knows); `mark` is the
-- state, and of a pending event what it waits for: ready, running, retry, snoozed, delayed, behind (in its lane), held (its destination).
create function outbox.states(ids bigint[]) returns table (event_id bigint, state text, why text, until timestamptz, attempts int, changed_at timestamptz, mark text)
language sql stable as $$
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
  left join outbox.busy b on b.lane = outbox.lane_of(e.lane, e.id) and b.event_id = e.id
  left join lateral (select p.event_id, p.urgency from outbox.pending p where p.urgency in (0, 1) and p.lane = outbox.lane_of(e.lane, e.id) and p.event_id = e.id limit 1) p on true
  left join outbox.delayed y on y.event_id = e.id
  left join lateral (
    select x.event_id from outbox.busy x where p.event_id is not null and x.lane = outbox.lane_of(e.lane, e.id)
    union all
    (select x.event_id from outbox.pending x where p.event_id is not null and x.urgency = p.urgency and x.lane = outbox.lane_of(e.lane, e.id) and x.event_id < e.id
     order by x.event_id limit 1)
    limit 1) ahead on true
  left join lateral (                              -- by attempt, not by time: workers' clocks may differ
    select a.outcome, a.note, a.started_at, a.took_ms, count(*) filter (where a.outcome <> 'p' and a.owner <> 0) over () runs
    from outbox.attempts a where a.event_id = e.id order by a.attempt desc, a.outcome in ('d', 's') desc limit 1) last on true
  where e.id = any (ids)
$$;

-- The newest `most` ids of a lane's events below `before` and not below `lowest`, newest first, day by day: for people who look.
create function outbox.in_lane(lane text, before bigint, lowest bigint, most int) returns setof bigint
language plpgsql stable set enable_seqscan = off as $$
declare
  day  record;
  left_ int := most;
  found_ int;
begin
  for day in
    select c.relname, outbox.first_id(to_date(right(c.relname, 8), 'YYYYMMDD')) first
    from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'outbox.events'::regclass order by c.relname desc
  loop
    continue when day.first >= before;
    exit when left_ <= 0 or day.first + (1::bigint << 36) <= lowest;
    return query execute format('with found as materialized (select id from outbox.%I where lane = $1)
      select id from found where id < $2 and id >= $3 order by id desc limit $4', day.relname) using in_lane.lane, before, lowest, left_;
    get diagnostics found_ = row_count;
    left_ := left_ - found_;
  end loop;
end $$;

revoke execute on function outbox.states, outbox.in_lane from public;
