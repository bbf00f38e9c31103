-- works with code from 0001
-- Scheduled syncs: their schedules, their runs, and what a run did to which record.

create table outbox.syncs (                       -- what is pulled or compared on a schedule; each dispatcher writes down those it knows
  name        text primary key,                   -- google-contacts:<user> where there is one for each account
  destination text,                               -- whom it asks; NULL: nobody
  types       text[]      not null,               -- the kinds of run there are: incremental, full, ...
  off         text,                               -- why it cannot run (a missing credential); NULL: it can
  watermark   timestamptz,                        -- every change up to then is here; NULL: no run has ended well yet
  kept        jsonb       not null default '{}',  -- what a sync itself remembers between runs: a sync token, say
  may_delete  int,                                -- so many deletions a person has allowed the next sweep; NULL: the usual share
  paused_at   timestamptz,                        -- NULL: its schedule runs
  paused_by   text,
  paused_why  text,
  added_at    timestamptz not null default now(),
  check ((paused_at is null) = (paused_by is null))
);

create table outbox.schedules (                   -- when runs are staged; the code's defaults, until a person edits one
  sync      text not null references outbox.syncs on delete cascade,
  type      text not null,
  cron      text,                                 -- NULL: every so many seconds instead
  zone      text,                                 -- IANA; with a cron expression only
  every_s   int check (every_s between 10 and 31622400),
  catch_up  text not null check (catch_up in ('skip', 'one')),     -- times that nobody was there for: forgotten, or made good by one run
  is_on     boolean not null default true,
  due_at    timestamptz not null,                 -- the next tick
  fired_at  timestamptz,                          -- the tick before; NULL: there was none
  edited_by text,                                 -- NULL: as the code says
  primary key (sync, type),
  check ((cron is null) <> (every_s is null)),
  check ((cron is null) = (zone is null))
);
create index schedules_due on outbox.schedules (due_at) where is_on;

-- One row for each run of a sync; its id is its event's. Undone ones follow their event: what holds the event holds the run.
--   queued ─▶ running ─▶ done | cancelled | braked      waiting: its event waits (destination held, retry), checkpoint kept
--               ▲ ╲─▶ waiting ─╱ ╲─▶ failed (its event is a dead letter; retried, it goes on at its checkpoint)
create table outbox.runs (
  id          bigint primary key,
  sync        text        not null,
  type        text        not null,
  trigger     text        not null check (trigger in ('schedule', 'gap', 'manual', 'cron')),
  by_whom     text,                               -- who asked; NULL: the schedule
  state       text        not null default 'queued' check (state in ('queued', 'running', 'waiting', 'done', 'failed', 'cancelled', 'braked')),
  reason      text,                               -- of waiting, failed, cancelled and braked
  dry_run     boolean     not null default false,
  hours_back  int check (hours_back between 1 and 87600),         -- NULL: since the watermark
  since       timestamptz,                        -- changes from then (NULL: from the beginning or not begun) ...
  until       timestamptz,                        -- ... to then: both fixed when it first begins
  created     int not null default 0,
  updated     int not null default 0,
  unchanged   int not null default 0,
  skipped     int not null default 0,
  deleted     int not null default 0,
  errors      int not null default 0,
  total       int generated always as (created + updated + unchanged + skipped + deleted + errors) stored,
  errors_by   jsonb       not null default '{}',  -- api, network, rate limit, validation, conflict: how many; also those that were tried again
  calls       int         not null default 0,     -- calls of the API
  quota_left  int,                                -- calls left today; NULL: the API does not say
  phase       text,                               -- NULL: the only one
  progress    int         not null default 0,     -- of this phase
  expected    int,                                -- NULL: not known
  pages       int         not null default 0,
  checkpoint  jsonb,                              -- where it goes on; NULL: at its beginning
  worked_ms   bigint      not null default 0,     -- at work, waits not counted
  cancel_by   text,                               -- who asked that it ends; NULL: nobody
  asked_at    timestamptz not null default now(),
  started_at  timestamptz,
  ended_at    timestamptz,
  check ((state in ('done', 'failed', 'cancelled', 'braked')) = (ended_at is not null))
);
create index runs_sync on outbox.runs (sync, id);
create index runs_undone on outbox.runs (id) where ended_at is null;
create unique index runs_next on outbox.runs (sync, type) where state = 'queued' and trigger = 'schedule';   -- ticks do not pile up

create table outbox.run_records (                 -- what a run did to which record: bounded, ids only
  run_id   bigint not null references outbox.runs on delete cascade,
  record   text   not null,                       -- the far side's id; '' where it has none
  what     text   not null check (what in ('created', 'updated', 'skipped', 'deleted', 'error')),
  category text check (category in ('api', 'network', 'rate limit', 'validation', 'conflict')),
  note     text,                                  -- without personal data
  at       timestamptz not null default now(),
  check ((what = 'error') = (category is not null))
);
create index run_records_run on outbox.run_records (run_id);

create table outbox.run_seen (                    -- what a full run has met: what it has not is gone over there; emptied when it ends
  run_id bigint not null references outbox.runs on delete cascade,
  record text   not null,
  primary key (run_id, record)
);
