-- works with code from 0001
-- What is imported from Phorest, the repairs that wait for a client, and links that know what was written and what we made.

create table crm.phorest_records (                -- what Phorest showed, as it came; a table of its own for each kind
  kind         text not null,
  id           text not null,
  branch_id    text,                              -- NULL: of the whole business
  client_id    text,                              -- whom it is about
  booking_id   text,
  merged_to    text,                              -- a client that was merged into this one; NULL: it stands for itself
  version      bigint,                            -- Phorest's own, and the next: the version guard
  changed_at   timestamptz,
  original     jsonb       not null,
  content_hash bytea       not null,
  deleted      boolean     not null default false,
  warning      text,                              -- what GHL would not take of it; NULL: nothing to say
  created_at   timestamptz not null default now(),
  imported_at  timestamptz not null default now(),
  seen_at      timestamptz not null default now(),   -- when a walk over everything last met it
  primary key (kind, id)
) partition by list (kind);
create table crm.phorest_clients      partition of crm.phorest_records for values in ('client');
create table crm.phorest_appointments partition of crm.phorest_records for values in ('appointment');
create table crm.phorest_bookings     partition of crm.phorest_records for values in ('booking');
create table crm.phorest_checkins     partition of crm.phorest_records for values in ('checkin');
create table crm.phorest_loyalty      partition of crm.phorest_records for values in ('loyalty');
create table crm.phorest_staff        partition of crm.phorest_records for values in ('staff');
create table crm.phorest_products     partition of crm.phorest_records for values in ('product');
create index phorest_records_client on crm.phorest_records (client_id);
create index phorest_records_booking on crm.phorest_records (booking_id) where booking_id is not null;
create index phorest_records_merged on crm.phorest_records (merged_to) where merged_to is not null;

create table crm.phorest_repairs (                -- clients that something waits for: one repair each, however many ask
  client_id text primary key,
  event_id  bigint,                               -- the event that repairs; NULL: it is being staged
  refused   text,                                 -- why it cannot be in GHL; NULL: the repair is under way
  asked_at  timestamptz not null default now()
);

create table crm.audits (                         -- both sides compared, one row for each run of an audit
  id         bigint primary key,                  -- the run's
  system     text        not null,                -- phorest
  started_at timestamptz not null,
  ended_at   timestamptz,                         -- NULL: under way, or it never ended
  counts     jsonb       not null default '{}'    -- by kind: how many there are there, here, linked, at GHL
);
create index audits_system on crm.audits (system, id);

create table crm.audit_gaps (                     -- what one side has and the other lacks
  audit_id bigint not null references crm.audits on delete cascade,
  kind     text   not null,
  id       text   not null,
  gap      text   not null check (gap in ('not here', 'not in phorest', 'not in ghl', 'not sent', 'out of date')),
  repair   bigint,                                -- the event that mends it; NULL: a person decides
  at       timestamptz not null default now(),
  primary key (audit_id, kind, id, gap)
);

alter table crm.links
  add column our_hash   bytea,                    -- of what we wrote last; NULL: not kept
  add column their_hash bytea,                    -- of what was shown there after it; NULL: not kept
  add column made       boolean     not null default false,   -- we created the other one: a rollback deletes it
  add column shared     boolean     not null default false,   -- the other one is another's of ours, too: a family with one telephone
  add column event_id   bigint,                   -- whose event wrote last; NULL: not kept
  add column seen_at    timestamptz;              -- when a walk over the far side last met it; NULL: never
alter table crm.links drop constraint links_destination_kind_theirs_key;
create unique index links_theirs on crm.links (destination, kind, theirs) where not shared;
create index links_made on crm.links (kind, ours) where made;
