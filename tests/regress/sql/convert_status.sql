-- convert_status: a text column becomes delivery_status in place, or nothing changes.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE SCHEMA convert_status;
SET search_path = convert_status;
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
CREATE FUNCTION type_of(name text, col text) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'NOT NULL' END, 'DEFAULT ' || pg_get_expr(adbin, adrelid))
      FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = name::regclass AND attname = col
$$;

-- attach names it.
CREATE TABLE m (sid text UNIQUE, status text NOT NULL DEFAULT 'queued', n integer);
CREATE TABLE l (sid text, status text);
CREATE INDEX ON l (sid);
SELECT error_of($$SELECT msgstatus.attach('m', 'l')$$);
INSERT INTO m (sid, status) VALUES ('a', 'sent'), ('b', ' DELIVERED '), ('c', 'queued');
SELECT msgstatus.convert_status('convert_status.m', 'status');
SELECT * FROM m ORDER BY sid;
SELECT type_of('m', 'status');
INSERT INTO m (sid) VALUES ('d');
SELECT msgstatus.attach('m', 'l');
SELECT msgstatus.convert_status('m', 'status');
SELECT msgstatus.detach('m', 'l');

-- Unknown words are listed with how often they occur, and nothing changes.
CREATE TABLE words (id integer PRIMARY KEY, "The ""Status""" varchar(30) DEFAULT 'sent');
INSERT INTO words SELECT g, CASE WHEN g % 10 < 5 THEN 'sent' WHEN g % 10 < 8 THEN 'bounced' WHEN g % 10 < 9 THEN '' ELSE 'O''Hara' END FROM generate_series(1, 40) g;
INSERT INTO words VALUES (50, NULL);
SELECT error_of($$SELECT msgstatus.convert_status('words', 'The "Status"')$$);
SELECT type_of('words', 'The "Status"');
SELECT "The ""Status""", count(*) FROM words GROUP BY 1 ORDER BY "The ""Status"""::text COLLATE "C";
UPDATE words SET "The ""Status""" = 'failed' WHERE "The ""Status""" = 'bounced';
UPDATE words SET "The ""Status""" = NULL WHERE "The ""Status""" IN ('', 'O''Hara');
SELECT msgstatus.convert_status('words', 'The "Status"');
SELECT type_of('words', 'The "Status"');
SELECT "The ""Status""", count(*) FROM words GROUP BY 1 ORDER BY "The ""Status"""::text COLLATE "C";
-- More unknown words than anybody wants to read, one of them long.
CREATE TABLE many (status text);
INSERT INTO many SELECT 'word ' || g FROM generate_series(1, 1000) g;
INSERT INTO many SELECT repeat('long', 100) FROM generate_series(1, 3);
SELECT length(error_of($$SELECT msgstatus.convert_status('many', 'status')$$)) < 2000 AS short, error_of($$SELECT msgstatus.convert_status('many', 'status')$$) ~ 'longlong' AS most_frequent_first;

-- Another provider's words.
CREATE TABLE sinch (status text DEFAULT 'Queued');
INSERT INTO sinch VALUES ('Dispatched'), ('Aborted'), ('Unknown'), (DEFAULT);
SELECT left(error_of($$SELECT msgstatus.convert_status('sinch', 'status')$$), 5);
SELECT msgstatus.convert_status('sinch', 'status', 'sinch');
SELECT * FROM sinch ORDER BY 1;
SELECT type_of('sinch', 'status');
SELECT msgstatus.convert_status('sinch', 'status', 'no such provider');

-- Defaults: converted, dropped if NULL, refused if they mean nothing; types of text.
CREATE TABLE defaults (a text DEFAULT 'SENT', b varchar(20) DEFAULT 'read'::text, c char(20) DEFAULT 'queued', d text DEFAULT NULL, e text DEFAULT 'new', f text, g text DEFAULT upper('sent'));
INSERT INTO defaults DEFAULT VALUES;
UPDATE defaults SET e = 'queued';
SELECT msgstatus.convert_status('defaults', 'a'), msgstatus.convert_status('defaults', 'b'), msgstatus.convert_status('defaults', 'c'), msgstatus.convert_status('defaults', 'd'),
       msgstatus.convert_status('defaults', 'f'), msgstatus.convert_status('defaults', 'g');
SELECT error_of($$SELECT msgstatus.convert_status('defaults', 'e')$$);
SELECT c, type_of('defaults', c) FROM unnest('{a,b,c,d,e,f,g}'::text[]) c;
INSERT INTO defaults (e) VALUES ('queued');
SELECT * FROM defaults;

-- What can't be converted.
CREATE TABLE odd (n integer, b boolean, o oid, gen text GENERATED ALWAYS AS ('sent') STORED, checked text CHECK (checked IN ('sent', 'queued')), viewed text);
CREATE VIEW over AS SELECT viewed FROM odd;
SELECT error_of($$SELECT msgstatus.convert_status('odd', 'n')$$);
SELECT error_of($$SELECT msgstatus.convert_status('odd', 'nothing')$$);
SELECT error_of($$SELECT msgstatus.convert_status('odd', 'ctid')$$);
SELECT error_of($$SELECT msgstatus.convert_status('nowhere', 'status')$$);
SELECT error_of($$SELECT msgstatus.convert_status(NULL, 'status')$$);
SELECT error_of($$SELECT msgstatus.convert_status('odd', NULL)$$);
SELECT error_of($$SELECT msgstatus.convert_status('odd', 'viewed', NULL)$$);
-- PostgreSQL's own refusals come through.
SELECT left(error_of($$SELECT msgstatus.convert_status('odd', 'viewed')$$), 5);
SELECT left(error_of($$SELECT msgstatus.convert_status('over', 'viewed')$$), 5) <> 'no er' AS refused;
SELECT left(error_of($$SELECT msgstatus.convert_status('odd', 'checked')$$), 5) <> 'no er' AS refused;
SELECT type_of('odd', c) FROM unnest('{viewed,checked}'::text[]) c;

-- For the owner.
CREATE ROLE regress_convert_user;
GRANT USAGE ON SCHEMA convert_status TO regress_convert_user;
GRANT ALL ON many TO regress_convert_user;
TRUNCATE many;
SET ROLE regress_convert_user;
SELECT left(error_of($$SELECT msgstatus.convert_status('many', 'status')$$), 5);
RESET ROLE;
SELECT msgstatus.convert_status('many', 'status');

-- Partitions and children come along.
CREATE TABLE parts (id integer, status text DEFAULT 'queued') PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
INSERT INTO parts VALUES (1, 'Sent'), (2, DEFAULT);
SELECT msgstatus.convert_status('parts', 'status');
SELECT type_of('parts_1', 'status'), type_of('parts', 'status');
SELECT * FROM parts_1 ORDER BY 1;

-- Words of one's own, an empty text among them, also in the default.
CREATE TABLE own (id integer PRIMARY KEY, status varchar(20) DEFAULT 'Pending');
INSERT INTO own SELECT g, (ARRAY['Pending', '', 'sent', 'bounced', NULL])[g] FROM generate_series(1, 5) g;
SELECT error_of($$SELECT msgstatus.convert_status('own', 'status', words => '{"Pending": "queued"}')$$);
SELECT error_of($$SELECT msgstatus.convert_status('own', 'status', words => '{"Pending": "waiting"}')$$);
SELECT error_of($$SELECT msgstatus.convert_status('own', 'status', words => '{"Pending": 7}')$$);
SELECT error_of($$SELECT msgstatus.convert_status('own', 'status', words => '["queued"]')$$);
SELECT error_of($$SELECT msgstatus.convert_status('own', 'status', words => NULL)$$);
SELECT msgstatus.convert_status('own', 'status', words => '{"Pending": "queued", "": null, "bounced": "undelivered", "sent": "delivered", "unused": "read"}');
SELECT * FROM own ORDER BY id;
SELECT type_of('own', 'status');
-- What compares the column with text is named, with what it was, and not what is beside it.
CREATE TABLE bound (id integer PRIMARY KEY, other text CHECK (other <> ''), status text CONSTRAINT known CHECK (status IN ('queued', 'sent')));
CREATE INDEX bound_stuck ON bound (id) WHERE status = 'queued';
CREATE INDEX bound_lower ON bound (lower(status));
CREATE INDEX bound_plain ON bound (status);
CREATE INDEX bound_other ON bound (id) WHERE other = 'x';
INSERT INTO bound VALUES (1, 'x', 'sent');
SELECT error_of($$SELECT msgstatus.convert_status('bound', 'status')$$);
DROP INDEX bound_lower, bound_stuck;
ALTER TABLE bound DROP CONSTRAINT known;
SELECT msgstatus.convert_status('bound', 'status');
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'bound'::regclass ORDER BY indexrelid::regclass::text;

DROP SCHEMA convert_status CASCADE;
DROP ROLE regress_convert_user;
