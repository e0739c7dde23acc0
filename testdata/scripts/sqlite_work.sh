# The sqlite3 shell: tables, transactions, indices, FTS, dump and restore, two processes on one database, WAL off and on.
sqlite3 a.db <<'SQL'
create table t(id integer primary key, name text, v real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000) insert into t select i, 'name ' || (i * 7919 % 1009), i * 0.5 from n;
create index by_name on t(name);
select count(*), sum(v), min(name) from t;
explain query plan select * from t where name = 'name 5';
select name, count(*) from t group by name order by 2 desc, 1 limit 3;
begin; delete from t where id % 2; rollback; select count(*) from t;
pragma integrity_check;
create virtual table f using fts5(x); insert into f values ('the quick brown fox'), ('lazy dog'); select * from f where f match 'quick';
SQL
sqlite3 a.db .dump | sqlite3 b.db; sqlite3 b.db 'select count(*) from t'
sqlite3 a.db 'select * from missing'; echo $?
for i in 1 2 3 4; do sqlite3 a.db ".timeout 5000" "insert into t(name) values ('w$i')" & done; wait
sqlite3 a.db "select count(*) from t where name like 'w%'"; sqlite3 a.db vacuum; rm -f a.db b.db
