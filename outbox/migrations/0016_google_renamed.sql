-- works with code from 0001
-- When a contact came here: a run that reads everything hands on what is ours from one that Google renamed to the one that came in it.

alter table crm.google_contacts add column created_at timestamptz not null default now();
