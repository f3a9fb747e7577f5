-- A copy that nobody wishes for any more stays listed until its host says that it is released: the host may be away now.

alter table warm_copy add column releasing boolean not null default false;
