-- works with code from 0001
-- Dispatchers read each second what changed since they looked, instead of every destination that there is.

alter table outbox.destinations add changed xid8 not null default pg_current_xact_id();
create index destinations_changed on outbox.destinations (changed);

create function outbox.destination_changed() returns trigger language plpgsql as $$
begin
  new.changed := pg_current_xact_id();
  return new;
end $$;
create trigger destinations_changed before update on outbox.destinations for each row execute function outbox.destination_changed();
revoke execute on function outbox.destination_changed from public;
