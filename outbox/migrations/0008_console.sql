-- The console: sessions, one-use links to sign in, and forms that were sent.

create table outbox.sessions (                    -- who is signed in to the console
  digest     bytea primary key,                   -- SHA-256 of the id in the cookie
  token      bytea       not null,                -- HMAC, under that id, of the access token's digest: says nothing without the cookie
  name       text        not null,
  started_at timestamptz not null default now(),
  seen_at    timestamptz not null default now(),
  until      timestamptz not null,                -- slides with each visit
  network    text,                                -- the browser's network (/24 or /48); NULL: not known
  notice     jsonb                                -- what the last act has to say, until dismissed; NULL: nothing
);

create table outbox.sign_in_links (               -- links that sign in once
  digest bytea primary key,                       -- SHA-256 of the secret in the link
  token  bytea       not null,                    -- HMAC, under that secret, of the access token's digest
  until  timestamptz not null
);

create table outbox.sent_forms (                  -- forms of the console that were sent: each acts once
  id uuid primary key,
  at timestamptz not null default now()
);
