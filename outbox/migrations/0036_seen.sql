-- works with code from 0001
-- What came in by the quarter of an hour and by what became of it, which key matched when, and of what version each dispatcher is.

create table outbox.source_counts (
  quarter timestamptz not null,
  source  text        not null,
  outcome text        not null,
  seen    bigint      not null,
  primary key (quarter, source, outcome)
);
create table outbox.source_keys (
  source      text        not null,
  fingerprint text        not null,
  first_at    timestamptz not null,
  last_at     timestamptz not null,
  primary key (source, fingerprint)
);
alter table outbox.workers add version text, add renewed_at timestamptz not null default now();
