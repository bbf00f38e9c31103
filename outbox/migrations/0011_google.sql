-- works with code from 0001
-- Google contacts for each user: what of them is imported, the contacts themselves, and consents with PKCE.

alter table outbox.consents
  add column account  text,                       -- whose consent it will be, as we name them; NULL: the provider says
  add column verifier bytea;                      -- PKCE: sealed, for the code's exchange; NULL: the provider asks for none

create table crm.google_users (                   -- whose Google contacts are kept in step; when is in outbox.schedules, for sync google-contacts:<user>
  user_id    text primary key check (user_id ~ '^[A-Za-z0-9_-]{1,64}$'),    -- the app's own id of them
  imports    text not null default 'all' check (imports in ('all', 'chosen')),
  label      text check (length(label) between 1 and 100),     -- for what is imported by itself; NULL: none
  updated_at timestamptz not null default now()
);

create table crm.google_contacts (
  id            bigint generated always as identity primary key,
  user_id       text not null references crm.google_users on delete cascade,
  resource_name text not null,                    -- Google's, which it may change
  display_name  text, given_name text, family_name text, company text, title text,
  emails        text[] not null default '{}',     -- in lower case
  phones        text[] not null default '{}',     -- E.164 where Google made that of them
  groups        text[] not null default '{}',     -- of the owner's own, at Google
  labels        text[] not null default '{}',     -- ours; Google never sees them
  changed_at    timestamptz,                      -- Google's updateTime; NULL: it did not say
  content_hash  bytea not null,
  imported_at   timestamptz,                      -- NULL: known, but not chosen
  deleted_at    timestamptz,                      -- NULL: it is at Google, with an e-mail address or a phone number
  synced_at     timestamptz not null default now(),
  unique (user_id, resource_name)
);

-- Whoever is not the owner of these tables sees what belongs to the user that postroom.user_id names, and nothing when it names none.
alter table crm.google_users enable row level security;
alter table crm.google_contacts enable row level security;
create policy own_settings on crm.google_users using (user_id = current_setting('postroom.user_id', true));
create policy own_contacts on crm.google_contacts using (user_id = current_setting('postroom.user_id', true));
