-- works with code from 0001
-- How fast each credential may call is told to people, who do not see a dispatcher's settings.

alter table outbox.budgets add burst int, add per_s double precision;
