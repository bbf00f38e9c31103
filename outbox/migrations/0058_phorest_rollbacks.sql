-- works with code from 0001
-- A rollback of Phorest has a row: who began it, what there was to delete, and whether somebody stopped it.

create table crm.phorest_rollbacks (
  id         bigint generated always as identity primary key,
  made       jsonb       not null,
  by_whom    text        not null,
  begun_at   timestamptz not null default now(),
  staged_at  timestamptz,
  stopped_at timestamptz,
  stopped_by text,
  check ((stopped_at is null) = (stopped_by is null))
);
create unique index phorest_rollbacks_begun on crm.phorest_rollbacks ((true)) where staged_at is null and stopped_at is null;
