-- name: one
-- read only: a connection with its sealed pair, and the seconds until its access token ends (negative: it did).
select destination, provider, account, company_id, label, state, why, sealed, version, extract(epoch from expires_at - now())::float8 left_s
from outbox.connections where destination = $1

-- name: all
-- read only: every connection, without its tokens; of single users, unless $1, only those that are not in use.
select destination, provider, account, company_id, label, state, why, expires_at, installed_at, refreshed_at, uninstalled_at, updated_at
from outbox.connections where $1 or provider <> 'google' or state <> 'active' order by destination

-- name: due
-- read only: active ones of a provider whose token ends within $2 seconds (a quarter of a short life), or whose refresh was begun and not ended.
select destination, version from outbox.connections
where provider = $1 and state = 'active'
  and (expires_at < now() + least($2 * interval '1 s', (expires_at - refreshed_at) / 4) or refreshing_until < now())
order by refreshing_until nulls last, expires_at

-- name: connect
-- any -> active, with the pair of a consent or of its agency. What was known of it and is not said anew stays. Its events flow again.
with connected as (
  insert into outbox.connections as c
    (destination, provider, account, company_id, label, state, sealed, expires_at, installed_at, refreshed_at)
  values ($1, $2, $3, $4, $5, 'active', $6, now() + $7 * interval '1 s', $8, now())
  on conflict (destination) do update
  set state = 'active', why = null, sealed = excluded.sealed, version = c.version + 1, expires_at = excluded.expires_at,
      company_id = coalesce(excluded.company_id, c.company_id), label = coalesce(excluded.label, c.label), refreshing_until = null,
      installed_at = greatest(c.installed_at, excluded.installed_at), refreshed_at = now(), uninstalled_at = null, updated_at = now()
  returning destination, version),
flows as (                                        -- a token that was just given out is proof enough for one that waits only for a token
  update outbox.destinations d set state = 'flowing', why = null, until = null, probe = null, probe_at = null, opened = 0, since = now(), by_whom = null
  from connected s where d.name = s.destination and d.state = 'unauthorised')
select version from connected

-- name: take
-- the right to refresh pair $2, for $3 seconds; zero rows: another has it, or there is a newer pair.
update outbox.connections set refreshing_until = now() + $3 * interval '1 s'
where destination = $1 and version = $2 and state = 'active' and (refreshing_until is null or refreshing_until < now())
returning destination

-- name: give_back
-- the refresh of pair $2 ended without a new one; $3 says why, and the pair stays. $4: nobody knows whether there is a new one over there.
update outbox.connections set refreshing_until = case when $4 then now() end, why = $3, updated_at = now()
where destination = $1 and version = $2 and state = 'active'
returning destination

-- name: store
-- pair $2 -> the next, whoever refreshed it; also one that was given up meanwhile, for this pair proves that it lives.
with stored as (
  update outbox.connections
  set sealed = $3, version = version + 1, expires_at = now() + $4 * interval '1 s', refreshing_until = null, state = 'active', why = null,
      refreshed_at = now(), updated_at = now()
  where destination = $1 and version = $2 and state <> 'uninstalled'
  returning destination, version),
flows as (                                        -- a token that was just given out is proof enough for one that waits only for a token
  update outbox.destinations d set state = 'flowing', why = null, until = null, probe = null, probe_at = null, opened = 0, since = now(), by_whom = null
  from stored s where d.name = s.destination and d.state = 'unauthorised')
select version from stored

-- name: give_up
-- active -> inactive: pair $2 is refused for good; a newer one stands.
update outbox.connections set state = 'inactive', why = $3, refreshing_until = null, updated_at = now()
where destination = $1 and version = $2 and state = 'active'
returning destination

-- name: install
-- nothing or uninstalled -> inactive, until somebody consents; what is known of the others is filled in. An older message changes no state.
insert into outbox.connections as c (destination, provider, account, company_id, label, state, why, installed_at)
values ($1, $2, $3, $4, $5, 'inactive', $6, $7)
on conflict (destination) do update
set company_id = coalesce(excluded.company_id, c.company_id), label = coalesce(c.label, excluded.label),
    state = case when c.state = 'uninstalled' and c.uninstalled_at < $7 then 'inactive' else c.state end,
    why = case when c.state = 'uninstalled' and c.uninstalled_at < $7 then $6 else c.why end,
    installed_at = greatest(c.installed_at, $7), updated_at = now()
returning state

-- name: uninstall
-- any -> uninstalled, its tokens forgotten, unless it was connected again after $2. $3: why. Its events flow, to be skipped.
with gone as (
  update outbox.connections
  set state = 'uninstalled', why = $3, sealed = null, version = version + 1, expires_at = null, refreshing_until = null,
      uninstalled_at = $2, updated_at = now()
  where destination = $1 and state <> 'uninstalled' and coalesce(installed_at <= $2, true)
  returning destination),
flows as (
  update outbox.destinations d set state = 'flowing', why = null, until = null, probe = null, probe_at = null, opened = 0, since = now(), by_whom = null
  from gone g where d.name = g.destination and d.state in ('open', 'unauthorised'))
select destination from gone

-- name: of_company
-- read only: the connections of an agency at a provider, its own one not among them.
select destination, account, state from outbox.connections where provider = $1 and company_id = $2 and account <> $2 order by destination
