-- works with code from 0001
-- What calls to each destination took and how they ended, by the quarter of an hour; and the day's quota that a run's calls are a share of.

create table outbox.calls (
  quarter     timestamptz not null,
  destination text        not null,
  bucket      smallint    not null,
  calls       int         not null,
  failed      int         not null,
  primary key (quarter, destination, bucket)
);
alter table outbox.runs add quota int;
