-- works with code from 0001
-- GHL's contacts are one table; leads are those that are no customers yet. The view goes on taking what older code writes.

alter table crm.leads rename to contacts;
alter sequence crm.leads_id_seq rename to contacts_id_seq;
alter table crm.contacts
  add column customer_since timestamptz,           -- when the first appointment took place; NULL: a lead
  add column echo_of        bigint;                -- the event whose own write GHL showed last; NULL: somebody else's

-- xmax: by it, older code tells a row that it made from one that it changed.
create view crm.leads as
select id, ghl_contact_id, location_id, first_name, last_name, email, phone, company, source, tags, custom_fields, added_at, changed_at, content_hash, deleted_at, synced_at, xmax
from crm.contacts where customer_since is null;

do $$
declare
  old record;
begin
  for old in select conname from pg_constraint where conrelid = 'crm.contacts'::regclass and conname like 'leads\_%' loop
    execute format('alter table crm.contacts rename constraint %I to %I', old.conname, regexp_replace(old.conname, '^leads_', 'contacts_'));
  end loop;
  -- Whoever might read or write the leads still may.
  for old in select a.privilege_type as what, case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as whom
             from pg_class c cross join aclexplode(c.relacl) a
             where c.oid = 'crm.contacts'::regclass and a.grantee <> c.relowner and a.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE') loop
    execute format('grant %s on crm.leads to %s', old.what, old.whom);
  end loop;
end $$;

update crm.contacts c set customer_since = least(first.at, now())
from (select contact_id, min(starts_at) at from crm.appointments where status = 'completed' and contact_id is not null group by contact_id) first
where c.ghl_contact_id = first.contact_id;
