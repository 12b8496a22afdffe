-- create_tables: the two tables of the contract, under any names, as ordinary tables of the caller.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE SCHEMA create_tables;
SET search_path = create_tables;
CREATE FUNCTION error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    code text; message text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n', code || ' ' || message, nullif('HINT: ' || hint, 'HINT: '));
END
$$;

-- Without arguments: in the current schema.
SELECT msgstatus.create_tables();
SELECT attname AS column, format_type(atttypid, atttypmod) AS type, attnotnull AS not_null, attidentity AS identity, attgenerated AS generated, pg_get_expr(adbin, adrelid) AS default
  FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
 WHERE attrelid = 'messages'::regclass AND attnum > 0 ORDER BY attname COLLATE "C";
SELECT attname AS column, format_type(atttypid, atttypmod) AS type, attnotnull AS not_null, attidentity AS identity, attgenerated AS generated, pg_get_expr(adbin, adrelid) AS default
  FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
 WHERE attrelid = 'delivery_log'::regclass AND attnum > 0 ORDER BY attname COLLATE "C";
SELECT indrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid IN ('messages'::regclass, 'delivery_log'::regclass) ORDER BY pg_get_indexdef(indexrelid) COLLATE "C";
SELECT conrelid::regclass, conname, contype FROM pg_constraint WHERE conrelid IN ('messages'::regclass, 'delivery_log'::regclass) AND contype <> 'n' ORDER BY conrelid::regclass::text, conname;
SELECT obj_description('messages'::regclass) IS NOT NULL AS messages_commented, obj_description('delivery_log'::regclass) IS NOT NULL AS log_commented;
SELECT messages, log, policy, on_regression, level, poll, notify, columns FROM msgstatus.tracked;
-- What they are given by default.
BEGIN;
INSERT INTO messages DEFAULT VALUES;
SELECT message_id, sid, provider, direction, status, created_at = now() AS created_now, statuses_seen, check_count, final FROM messages;
INSERT INTO delivery_log (sid, status) VALUES ('a', 'Delivered');
INSERT INTO delivery_log (sid, status, provider) VALUES ('a', 'TEXT_SENT', 'aws'), ('a', 'TEXT_SENT', NULL);
SELECT delivery_id, sid, provider, status, delivery_status, event_at, source, payload, created_at BETWEEN now() AND clock_timestamp() AS by_the_clock FROM delivery_log ORDER BY 1;
ROLLBACK;
-- No index holds a column that a callback changes: the updates of a whole life are HOT.
INSERT INTO messages (sid) SELECT 's' || g FROM generate_series(1, 100) g;
INSERT INTO delivery_log (sid, status) SELECT 's' || g, w FROM generate_series(1, 100) g, unnest('{sent}'::text[]) w;
INSERT INTO delivery_log (sid, status) SELECT 's' || g, 'delivered' FROM generate_series(1, 100) g;
SELECT count(*) FILTER (WHERE i.indkey::smallint[] && ARRAY(SELECT attnum FROM pg_attribute WHERE attrelid = 'messages'::regclass
           AND attname IN ('status', 'status_at', 'sent_at', 'delivered_at', 'read_at', 'failed_at', 'canceled_at', 'error_code', 'error_message', 'statuses_seen', 'final'))) AS changed_by_callbacks
  FROM pg_index i WHERE indrelid = 'messages'::regclass AND indpred IS NULL;
SELECT error_of('SELECT msgstatus.create_tables()');
DROP TABLE messages, delivery_log;

-- Other names: blanks, quotes, capitals, keywords, dots, percent signs, long ones.
CREATE FUNCTION made_as(schema text, messages text, log text, parts boolean DEFAULT false) RETURNS text LANGUAGE plpgsql SET client_min_messages = error AS $$
DECLARE
    m text := format('%I.%I', schema, messages);
    l text := format('%I.%I', schema, log);
    result text;
BEGIN
    PERFORM msgstatus.create_tables(schema, messages, log, parts);
    EXECUTE format('INSERT INTO %s (sid) VALUES (%L)', m, 'a');
    EXECUTE format('INSERT INTO %s (sid, status) VALUES (%L, %L)', l, 'a', 'delivered');
    EXECUTE format('INSERT INTO %s (sid, status) VALUES (%L, %L), (%L, %L)', l, 'b', 'sent', 'a', 'read');
    EXECUTE format('INSERT INTO %s (sid) VALUES (%L)', m, 'b');
    EXECUTE format('SELECT string_agg(status::text, %L ORDER BY sid) FROM %s', ' ', m) INTO result;
    PERFORM msgstatus.detach(m::regclass, l::regclass);
    EXECUTE format('DROP TABLE %s, %s', m, l);
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
CREATE SCHEMA "Odd ""schema"".%s";
\pset format unaligned
SELECT messages, log, made_as(schema, messages, log), made_as(schema, messages, log, true) AS in_partitions
  FROM (VALUES ('create_tables', 'My Messages', 'My Log'), ('create_tables', 'quo"ted', 'quo''ted'), ('create_tables', 'SELECT', 'user'), ('create_tables', 'a.b', 'a.b.c'),
               ('create_tables', '%s', '%I'), ('create_tables', '\', '$1'), ('create_tables', 'größe', '💬'), ('create_tables', ' ', '  '), ('Odd "schema".%s', 'messages', 'delivery_log'),
               ('create_tables', repeat('m', 63), repeat('l', 63)), ('create_tables', repeat('m', 60), repeat('l', 58))) v(schema, messages, log);
\pset format aligned
-- Names that only differ beyond what an identifier holds.
SELECT left(made_as('create_tables', repeat('x', 63) || 'm', repeat('x', 63) || 'l'), 5) AS refused;

-- What it refuses.
SELECT error_of($$SELECT msgstatus.create_tables('no such schema')$$);
SELECT error_of($$SELECT msgstatus.create_tables(NULL)$$);
SELECT error_of($$SELECT msgstatus.create_tables('create_tables', NULL)$$);
SELECT error_of($$SELECT msgstatus.create_tables('create_tables', 'same', 'same')$$);
SELECT error_of($$SELECT msgstatus.create_tables('create_tables', '')$$);
SELECT error_of($$SELECT msgstatus.create_tables('create_tables', 'm', '')$$);
SELECT count(*) FROM pg_class WHERE relnamespace = 'create_tables'::regnamespace AND relkind IN ('r', 'p');
SET search_path = '';
SELECT create_tables.error_of('SELECT msgstatus.create_tables()');
SET search_path = create_tables;
CREATE ROLE regress_create_user;
SET ROLE regress_create_user;
\set VERBOSITY sqlstate
SELECT msgstatus.create_tables('create_tables');
\set VERBOSITY terse
RESET ROLE;
-- In a transaction that is rolled back.
BEGIN;
SELECT msgstatus.create_tables('create_tables');
ROLLBACK;
SELECT count(*) FROM msgstatus.tracked;
SELECT to_regclass('messages');

-- In partitions by month: of last month, this one and the next three, and one for all else.
SELECT msgstatus.create_tables(partition_log => true);
SELECT relkind, pg_get_partkeydef(oid) FROM pg_class WHERE oid = 'delivery_log'::regclass;
SELECT count(*) AS partitions, count(*) FILTER (WHERE pg_get_expr(relpartbound, oid) = 'DEFAULT') AS default FROM pg_class WHERE oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'delivery_log'::regclass);
SELECT relname = 'delivery_log_' || to_char(now() + m * interval '1 month', 'YYYYMM') AS as_named
  FROM generate_series(-1, 3) m LEFT JOIN pg_class ON relnamespace = 'create_tables'::regnamespace AND relname = 'delivery_log_' || to_char(date_trunc('month', now()) + m * interval '1 month', 'YYYYMM');
INSERT INTO messages (sid) VALUES ('a'), ('b');
INSERT INTO delivery_log (sid, status) VALUES ('a', 'sent'), ('b', 'failed');
INSERT INTO delivery_log (sid, status, created_at) VALUES ('a', 'delivered', now() - interval '1 month'), ('a', 'queued', '2001-01-01'), ('b', 'sent', now() + interval '2 months'), ('early', 'sent', 'infinity');
SELECT sid, status FROM messages ORDER BY 1;
SELECT count(DISTINCT tableoid) AS partitions, count(DISTINCT delivery_id) AS ids FROM delivery_log;
INSERT INTO messages (sid) VALUES ('early');
SELECT * FROM msgstatus.verify();
SELECT delivery_status, count(*) FROM delivery_log GROUP BY 1 ORDER BY 1;
-- A partition that comes later has what the others have.
CREATE TABLE delivery_log_1999 PARTITION OF delivery_log FOR VALUES FROM ('1999-01-01') TO ('2000-01-01');
INSERT INTO delivery_log (sid, status, created_at) VALUES ('early', 'delivered', '1999-05-05');
SELECT sid, status, delivered_at FROM messages WHERE sid = 'early';
SELECT count(*) FROM pg_index WHERE indrelid = 'delivery_log_1999'::regclass;
DROP TABLE delivery_log, messages;
SELECT count(*) FROM pg_class WHERE relnamespace = 'create_tables'::regnamespace AND relkind <> 'v';

DROP SCHEMA create_tables, "Odd ""schema"".%s" CASCADE;
DROP ROLE regress_create_user;
