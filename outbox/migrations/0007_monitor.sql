-- works with code from 0001
-- Counters a minute, for rates and charts; and what people were last told of the system's state.

create table outbox.arrivals (                    -- accepted events, by the minute of their staging
  minute   timestamptz not null,
  source   text        not null,
  accepted int         not null,
  primary key (minute, source)
);

create table outbox.arrivals_counted (            -- how far they are counted, as one row
  one     bool        primary key default true check (one),
  next_id bigint      not null default 0,         -- every event below it is counted
  upto    bigint      not null default 0,         -- the next ones to be counted end here ...
  horizon xid8        not null default '0',       -- ... once every transaction that began before this one has ended
  at      timestamptz not null default now()      -- when the last two were noted down
);
create table outbox.minutes (                     -- settlements, by the minute in which they counted; what a killed process had not written is missing
  minute    timestamptz not null,
  kind      text        not null,
  done      int         not null default 0,
  skipped   int         not null default 0,
  dead      int         not null default 0,
  failures  int         not null default 0,       -- runs that failed and are tried again
  settled_ms bigint     not null default 0,       -- staged to done, summed up over those that are done
  late      int         not null default 0,       -- of these, how many took longer than the target
  primary key (minute, kind)
);

create table outbox.alerts (                      -- one row for each thing that can be wrong; a change of its state is staged as an event
  name      text        primary key,              -- health, dead-letters, connection:ghl, sync:ghl-contacts
  state     text        not null,                 -- what people were last told
  since     timestamptz not null default now(),
  seen      text        not null,                 -- what it looked like last; told once it has lasted
  seen_at   timestamptz not null default now(),   -- since when it looks like that
  detail    text        not null
);
