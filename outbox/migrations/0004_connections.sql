-- works with code from 0001
-- Accounts at a provider that a person connected by consent, and the consents that are under way.

create table outbox.connections (                 -- accounts at a provider that a person connected by consent (OAuth)
  destination      text primary key,              -- its own name: breaker, pause, budget and alerts go by it; ghl:<location>
  provider         text        not null,
  account          text        not null,          -- as the provider names it: the location
  company_id       text,                          -- the agency that it belongs to; NULL: the provider has not said
  label            text,                          -- for people; NULL: none given
  state            text        not null check (state in ('active', 'inactive', 'uninstalled')),
  why              text,                          -- NULL: all is well
  sealed           bytea,                         -- the token pair; NULL: there is none
  version          bigint      not null default 1,     -- of the pair; whoever stores a new one names the one before
  expires_at       timestamptz,                   -- of the access token
  refreshing_until timestamptz,                   -- the lease of whoever refreshes; past: it was interrupted; NULL: nobody does
  installed_at     timestamptz,
  refreshed_at     timestamptz,
  uninstalled_at   timestamptz,
  updated_at       timestamptz not null default now(),
  check (state <> 'active' or (sealed is not null and expires_at is not null)),
  check (state <> 'uninstalled' or sealed is null)
);
create index connections_account on outbox.connections (provider, account);

create table outbox.consents (                    -- consents under way: the state that goes out with a link and comes back once
  state_digest bytea primary key,                 -- SHA-256: whoever reads this table cannot end somebody's consent
  provider     text        not null,
  redirect_uri text        not null,
  label        text,
  made_by      text        not null,
  made_at      timestamptz not null default now(),
  expires_at   timestamptz not null
);
