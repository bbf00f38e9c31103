-- works with code from 0001
-- What a reconciling run found changed over there, and how much of it nobody had announced.

alter table outbox.runs add column missed jsonb not null default '{}';  -- by what it is: {"contacts": {"changed": 40, "missed": 1}}
