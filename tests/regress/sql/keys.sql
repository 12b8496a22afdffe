-- Keys of every type: whatever has a btree, equal as SQL says.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
CREATE SCHEMA keys;
SET search_path = keys;
CREATE TYPE color AS ENUM ('red', 'green', 'blue');
CREATE DOMAIN sid AS text CHECK (value <> 'bad');
CREATE DOMAIN number AS integer CHECK (value > 0);
CREATE TYPE pair AS (a integer, b text);
-- A pair of tables with this key, three keys and the other way to write the first: callbacks one by one and together, before and after
-- their messages, verdicts; then what is stored.
CREATE FUNCTION try(type text, one text, two text, three text, again text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    stored text; differences bigint; waiting bigint; verdict text; events bigint;
BEGIN
    EXECUTE format('CREATE TABLE m (k %s PRIMARY KEY, status msgstatus.delivery_status DEFAULT ''queued'', sent_at timestamptz)', type);
    EXECUTE format('CREATE TABLE l (k %s, status text, event_at timestamptz, created_at timestamptz DEFAULT now())', type);
    CREATE INDEX ON l (k);
    PERFORM msgstatus.attach('m', 'l', 'k', 'k');
    EXECUTE format('INSERT INTO m (k) VALUES (%L), (%L)', one, two);
    EXECUTE format('INSERT INTO l (k, status, event_at) VALUES (%L, ''queued'', ''2024-01-01'')', again);
    EXECUTE format('INSERT INTO l (k, status, event_at) VALUES (%L, ''delivered'', ''2024-01-02''), (%L, ''failed'', ''2024-01-03''), (%L, ''sent'', ''2024-01-01''), (%L, ''read'', ''2024-01-05''), (NULL, ''sent'', NULL)', one, two, again, three);
    EXECUTE format('INSERT INTO l (k, status, event_at) VALUES (%L, ''sent'', ''2024-01-04'')', three);
    EXECUTE 'SELECT count(*) FROM msgstatus.unmatched()' INTO waiting;
    EXECUTE format('INSERT INTO m (k) VALUES (%L)', three);
    EXECUTE format('SELECT msgstatus.apply_status(%L, ''read'', ''2024-01-06'')', again) INTO verdict;
    EXECUTE format('SELECT count(*) FROM msgstatus.history(%L)', two) INTO events;
    EXECUTE 'SELECT count(*) FROM msgstatus.verify()' INTO differences;
    EXECUTE 'SELECT string_agg(concat_ws('' '', k::text, status, sent_at::date), '', '' ORDER BY k) FROM m' INTO stored;
    DROP TABLE m, l;
    RETURN concat_ws(' | ', stored, waiting || ' waited', verdict, events || ' events', nullif(differences, 0) || ' differ');
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || CASE WHEN SQLSTATE <> '42804' THEN ' ' || SQLERRM ELSE '' END;
END
$$;
\pset format unaligned
\pset tuples_only on
SELECT type, try(type, one, two, three, coalesce(again, one)) FROM (VALUES
    ('smallint', '-5', '7', '0', NULL), ('integer', '-5', '7', '2147483647', NULL), ('bigint', '-9223372036854775808', '7', '9223372036854775807', NULL),
    ('numeric', '1', '2.50', '-3e30', '1.000'), ('float8', '-0', 'NaN', 'Infinity', '0'), ('float4', '1.5', 'NaN', '-1', NULL),
    ('text', 'a', 'b', 'c', NULL), ('text COLLATE "C"', 'a', 'B', 'c', NULL), ('varchar(5)', 'a', 'b', 'c', NULL), ('varchar', 'a', '', ' ', NULL), ('char(5)', 'SM1', 'SM2', 'S', 'SM1  '), ('name', 'a', 'b', 'c', NULL),
    ('"char"', 'a', 'b', 'c', NULL), ('bytea', '\x00', '\x0001', '\xff', NULL), ('uuid', '00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{00000000000000000000000000000000}'),
    ('date', '2024-01-01', 'infinity', '-infinity', NULL), ('timestamptz', '2024-01-01 00:00+00', 'infinity', '-infinity', '2024-01-01 02:00+02'), ('timestamp', '2024-01-01', 'infinity', '-infinity', NULL),
    ('time', '10:00', '11:00', '24:00', NULL), ('timetz', '10:00+01', '11:00+00', '09:30+00', NULL), ('interval', '1 day', '25 hours', '1 mon', '24 hours'),
    ('oid', '1', '4294967295', '2', NULL), ('inet', '10.0.0.1', '::1', '10.0.0.0/8', NULL), ('cidr', '10.0.0.0/8', '::/0', '10.0.0.0/24', NULL), ('macaddr', '08:00:2b:01:02:03', '08:00:2b:01:02:04', 'ff:ff:ff:ff:ff:ff', NULL),
    ('color', 'red', 'green', 'blue', NULL), ('sid', 'a', 'b', 'c', NULL), ('number', '1', '2', '3', NULL), ('int4range', '[1,2)', '[1,5)', 'empty', '[1,1]'), ('jsonb', '1', '{"a":1}', '[]', '1.0'),
    ('bit(3)', '101', '000', '111', NULL), ('varbit', '1', '11', '0', NULL), ('pg_lsn', '0/1', '1/1', '0/2', NULL), ('xid8', '1', '2', '3', NULL), ('tsvector', 'a', 'b', 'c', NULL)) v(type, one, two, three, again);
-- A collation that ignores case, where there is one.
SELECT EXISTS (SELECT FROM pg_collation WHERE collprovider = 'i') AS icu \gset
\if :icu
CREATE COLLATION ignore_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
SELECT try('text COLLATE ignore_case', 'a', 'b', 'c', 'A');
\else
\echo 'a read 2024-01-01, b failed, c read 2024-01-04 | 2 waited | applied | 1 events'
\endif
-- What can't be a key: no btree, or nothing that an array could be made of.
CREATE FUNCTION refused(type text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE m (k %s, status msgstatus.delivery_status)', type);
    EXECUTE format('CREATE TABLE l (k %s, status text)', type);
    BEGIN
        EXECUTE 'CREATE UNIQUE INDEX ON m (k); CREATE INDEX ON l (k)';
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    PERFORM msgstatus.attach('m', 'l', 'k', 'k');
    DROP TABLE m, l;
    RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END
$$;
SELECT type, refused(type) FROM unnest(ARRAY['json', 'point', 'xid', 'integer[]', 'text[]', 'pair']) type;
-- Two types that are nearly the same are not.
CREATE TABLE m (k bigint UNIQUE, status msgstatus.delivery_status);
CREATE TABLE l (k integer, status text);
CREATE INDEX ON l (k);
\set VERBOSITY sqlstate
SELECT msgstatus.attach('m', 'l', 'k', 'k');
\set VERBOSITY terse
-- varchar and text, and a domain and its base, are.
CREATE TABLE m2 (k varchar(40) UNIQUE, status msgstatus.delivery_status DEFAULT 'queued');
CREATE TABLE l2 (k text, status text, created_at timestamptz DEFAULT now());
CREATE INDEX ON l2 (k);
SELECT msgstatus.attach('m2', 'l2', 'k', 'k');
INSERT INTO m2 VALUES ('a');
INSERT INTO l2 VALUES ('a', 'sent'), (repeat('x', 50), 'sent');
CREATE TABLE m3 (k number UNIQUE, status msgstatus.delivery_status DEFAULT 'queued');
CREATE TABLE l3 (k integer, status text, created_at timestamptz DEFAULT now());
CREATE INDEX ON l3 (k);
SELECT msgstatus.attach('m3', 'l3', 'k', 'k');
INSERT INTO m3 VALUES (1);
INSERT INTO l3 VALUES (1, 'sent'), (-1, 'sent');
INSERT INTO l3 VALUES (-1, 'sent');
SELECT m2.*, m3.* FROM m2, m3;
SELECT length(message_key), word FROM msgstatus.unmatched('m2');
SELECT message_key, word FROM msgstatus.unmatched('m3');

DROP SCHEMA keys CASCADE;
