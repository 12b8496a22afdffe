-- Who may do what: recording callbacks with INSERT on the log alone, row-level security, hostile names, triggers of
-- others, forged triggers.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE ROLE regress_rights_owner;
CREATE ROLE regress_rights_webhook;
CREATE ROLE regress_rights_app;
CREATE ROLE regress_rights_eve;
CREATE SCHEMA rights AUTHORIZATION regress_rights_owner;
CREATE SCHEMA evil AUTHORIZATION regress_rights_eve;
GRANT USAGE ON SCHEMA rights TO regress_rights_webhook, regress_rights_app, regress_rights_eve;
CREATE SCHEMA helper;
GRANT USAGE ON SCHEMA helper TO PUBLIC;
CREATE FUNCTION helper.error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;

-- An ordinary role makes its tables without anybody's help.
SET ROLE regress_rights_owner;
SELECT msgstatus.create_tables('rights');
SELECT tableowner, tablename FROM pg_tables WHERE schemaname = 'rights' ORDER BY 2;
GRANT INSERT ON rights.delivery_log TO regress_rights_webhook;
GRANT INSERT ON rights.messages TO regress_rights_app;
RESET ROLE;

-- INSERT on the log and nothing else.
INSERT INTO rights.messages (sid) VALUES ('a'), ('b'), ('c'), ('d');
SET ROLE regress_rights_webhook;
INSERT INTO rights.delivery_log (sid, status) VALUES ('a', 'sent');
INSERT INTO rights.delivery_log (sid, status) VALUES ('a', 'sent');
INSERT INTO rights.delivery_log (sid, status, error_code) VALUES ('a', 'delivered', NULL), ('b', 'failed', '30003'), ('early', 'read', NULL), ('b', 'bounced', NULL);
COPY rights.delivery_log (sid, status) FROM stdin;
c	delivered
c	sent
early	delivered
\.
INSERT INTO rights.delivery_log (sid, status) VALUES ('late', 'sent');
SELECT msgstatus.apply_status('d', 'delivered', error_code => '0');
SELECT msgstatus.apply_status('d', 'sent');
SELECT msgstatus.apply_status('none', 'sent');
SELECT helper.error_of('SELECT * FROM rights.messages');
SELECT helper.error_of('SELECT * FROM rights.delivery_log');
SELECT helper.error_of($$UPDATE rights.messages SET status = 'read'$$);
SELECT helper.error_of('SELECT * FROM msgstatus.verify()');
SELECT helper.error_of($$SELECT * FROM msgstatus.history('a')$$);
SELECT helper.error_of('SELECT * FROM msgstatus.unmatched()');
SELECT helper.error_of('SELECT * FROM msgstatus.unrecognized()');
SELECT helper.error_of('SELECT msgstatus.rebuild()');
SELECT msgstatus.settle();
-- Nor can it change what the extension goes by.
SELECT helper.error_of($$INSERT INTO msgstatus.policy VALUES ('mine', 'sent', 1)$$);
SELECT helper.error_of($$UPDATE msgstatus.policy SET rank = 1$$);
SELECT helper.error_of($$DELETE FROM msgstatus.tracked$$);
SELECT helper.error_of($$SELECT nextval('msgstatus.unmatched_commits')$$);
SELECT helper.error_of($$SELECT msgstatus.detach('rights.messages', 'rights.delivery_log')$$);
SELECT count(*) > 0 AS policies FROM msgstatus.policy;
SELECT messages FROM msgstatus.tracked;
-- INSERT on messages and nothing else: callbacks that came before are folded in.
SET ROLE regress_rights_app;
INSERT INTO rights.messages (sid) VALUES ('early'), ('late');
RESET ROLE;
SELECT sid, status, error_code, delivered_at IS NOT NULL AS delivered FROM rights.messages ORDER BY sid;
SELECT * FROM msgstatus.verify();

-- A role that may read sees, and settle mends what the caller may change.
GRANT SELECT ON rights.messages, rights.delivery_log TO regress_rights_app;
SET session_replication_role = replica;
INSERT INTO rights.delivery_log (sid, status, created_at) VALUES ('late', 'delivered', now());
RESET session_replication_role;
SET ROLE regress_rights_app;
SELECT message_key, "column", folded FROM msgstatus.verify() WHERE "column" = 'status';
SELECT word, verdict FROM msgstatus.history('late');
SELECT message_key, word FROM msgstatus.unmatched();
SELECT provider, word, occurrences FROM msgstatus.unrecognized();
SELECT helper.error_of('SELECT msgstatus.rebuild()');
SELECT msgstatus.settle();
RESET ROLE;
GRANT UPDATE ON rights.messages TO regress_rights_app;
SET ROLE regress_rights_app;
SELECT msgstatus.settle();
SELECT * FROM msgstatus.verify();
RESET ROLE;

-- Row-level security. The fold does not mind it; what a role is shown is what it may see.
SET ROLE regress_rights_owner;
TRUNCATE rights.messages, rights.delivery_log;
INSERT INTO rights.messages (sid, tenant) VALUES ('t1', 'regress_rights_app'), ('t2', 'other'), ('t3', 'other');
ALTER TABLE rights.messages ENABLE ROW LEVEL SECURITY;
ALTER TABLE rights.delivery_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON rights.messages FOR SELECT USING (tenant = current_user);
CREATE POLICY own ON rights.delivery_log FOR SELECT USING (sid = 't1');
CREATE POLICY write ON rights.delivery_log FOR INSERT WITH CHECK (source <> 'forbidden');
SET ROLE regress_rights_webhook;
INSERT INTO rights.delivery_log (sid, status) VALUES ('t1', 'sent');
INSERT INTO rights.delivery_log (sid, status) VALUES ('t1', 'delivered'), ('t2', 'delivered'), ('nobody', 'delivered');
SELECT helper.error_of($$INSERT INTO rights.delivery_log (sid, status, source) VALUES ('t1', 'read', 'forbidden')$$);
SELECT msgstatus.apply_status('t3', 'delivered');
RESET ROLE;
SELECT sid, status FROM rights.messages ORDER BY sid;
-- Damage that only the owner is told of.
SET msgstatus.guard = off;
UPDATE rights.messages SET status = 'queued', statuses_seen = 0 WHERE sid IN ('t1', 't2');
RESET msgstatus.guard;
SET ROLE regress_rights_app;
SELECT sid FROM rights.messages;
SELECT message_key, "column", folded FROM msgstatus.verify() WHERE "column" = 'status';
SELECT count(*) FROM msgstatus.history('t1');
SELECT count(*) FROM msgstatus.history('t2');
SELECT message_key FROM msgstatus.unmatched();
RESET ROLE;
SELECT message_key, "column", folded FROM msgstatus.verify() WHERE "column" = 'status' ORDER BY 1;
-- FORCE: not even the owner sees all. The fold still does.
SET ROLE regress_rights_owner;
ALTER TABLE rights.messages FORCE ROW LEVEL SECURITY;
ALTER TABLE rights.delivery_log FORCE ROW LEVEL SECURITY;
SELECT sid FROM rights.messages;
INSERT INTO rights.delivery_log (sid, status) VALUES ('t2', 'read');
INSERT INTO rights.delivery_log (sid, status) VALUES ('t3', 'read'), ('t1', 'delivered');
SET ROLE regress_rights_webhook;
INSERT INTO rights.delivery_log (sid, status, event_at) VALUES ('t2', 'failed', '2024-01-01');
INSERT INTO rights.delivery_log (sid, status) VALUES ('t4', 'delivered'), ('t5', 'read');
SET ROLE regress_rights_owner;
CREATE POLICY add ON rights.messages FOR INSERT WITH CHECK (true);
INSERT INTO rights.messages (sid) VALUES ('t4'), ('t5');
SELECT msgstatus.rebuild();
RESET ROLE;
SET row_security = off;
INSERT INTO rights.delivery_log (sid, status) VALUES ('t3', 'undelivered');
INSERT INTO rights.delivery_log (sid, status) VALUES ('t4', 'read'), ('t5', 'sent');
RESET row_security;
SELECT sid, status FROM rights.messages ORDER BY sid;
SELECT * FROM msgstatus.verify();
SET ROLE regress_rights_owner;
DROP POLICY add ON rights.messages;
ALTER TABLE rights.messages NO FORCE ROW LEVEL SECURITY;
ALTER TABLE rights.messages DISABLE ROW LEVEL SECURITY;
ALTER TABLE rights.delivery_log NO FORCE ROW LEVEL SECURITY;
ALTER TABLE rights.delivery_log DISABLE ROW LEVEL SECURITY;
TRUNCATE rights.messages, rights.delivery_log;

-- A hostile schema in front of everything: operators, functions, types and a collation of the names that are used.
RESET ROLE;
CREATE FUNCTION evil.trap() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'caught in the trap'; END $$;
CREATE FUNCTION evil.eq(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT evil.trap()';
CREATE FUNCTION evil.eq(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT evil.trap()';
CREATE FUNCTION evil.eq(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT evil.trap()';
CREATE FUNCTION evil.eq(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT evil.trap()';
CREATE FUNCTION evil.eq(tid, tid) RETURNS boolean LANGUAGE sql AS 'SELECT evil.trap()';
CREATE FUNCTION evil.eq(xid, xid) RETURNS boolean LANGUAGE sql AS 'SELECT evil.trap()';
CREATE FUNCTION evil.eq(timestamptz, timestamptz) RETURNS boolean LANGUAGE sql AS 'SELECT evil.trap()';
CREATE FUNCTION evil.eq(integer, integer) RETURNS boolean LANGUAGE sql AS 'SELECT evil.trap()';
CREATE FUNCTION evil.eq(msgstatus.delivery_status, msgstatus.delivery_status) RETURNS boolean LANGUAGE sql AS 'SELECT evil.trap()';
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq);
CREATE OPERATOR evil.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.eq);
CREATE OPERATOR evil.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = evil.eq);
CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = name, FUNCTION = evil.eq);
CREATE OPERATOR evil.= (LEFTARG = tid, RIGHTARG = tid, FUNCTION = evil.eq);
CREATE OPERATOR evil.= (LEFTARG = xid, RIGHTARG = xid, FUNCTION = evil.eq);
CREATE OPERATOR evil.= (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = evil.eq);
CREATE OPERATOR evil.= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = evil.eq);
CREATE OPERATOR evil.= (LEFTARG = msgstatus.delivery_status, RIGHTARG = msgstatus.delivery_status, FUNCTION = evil.eq);
CREATE OPERATOR evil.>= (LEFTARG = msgstatus.delivery_status, RIGHTARG = msgstatus.delivery_status, FUNCTION = evil.eq);
CREATE OPERATOR evil.>= (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = evil.eq);
CREATE OPERATOR evil.> (LEFTARG = msgstatus.delivery_status, RIGHTARG = msgstatus.delivery_status, FUNCTION = evil.eq);
CREATE OPERATOR evil.>> (LEFTARG = msgstatus.delivery_status, RIGHTARG = msgstatus.delivery_status, FUNCTION = evil.eq);
CREATE FUNCTION evil.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE sql AS 'SELECT $1[1] WHERE evil.trap()';
CREATE FUNCTION evil.unnest(text[]) RETURNS SETOF text LANGUAGE sql AS 'SELECT $1[1] WHERE evil.trap()';
CREATE FUNCTION evil.parse_status(text, text) RETURNS msgstatus.delivery_status LANGUAGE sql AS $$SELECT 'read'::msgstatus.delivery_status WHERE evil.trap()$$;
CREATE FUNCTION evil.timezone(text, timestamptz) RETURNS timestamp LANGUAGE sql AS 'SELECT NULL::timestamp WHERE evil.trap()';
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT NULL::timestamptz WHERE evil.trap()';
CREATE FUNCTION evil.max(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint WHERE evil.trap()';
CREATE FUNCTION evil.format(text, text, text) RETURNS text LANGUAGE sql AS 'SELECT NULL::text WHERE evil.trap()';
CREATE FUNCTION evil.to_regclass(text) RETURNS regclass LANGUAGE sql AS 'SELECT NULL::regclass WHERE evil.trap()';
CREATE TYPE evil.delivery_status AS ENUM ('evil');
CREATE TYPE evil.verdict AS ENUM ('evil');
CREATE DOMAIN evil.text AS pg_catalog.text CHECK (evil.trap());
CREATE DOMAIN evil.timestamptz AS pg_catalog.timestamptz CHECK (evil.trap());
CREATE DOMAIN evil.jsonb AS pg_catalog.jsonb CHECK (evil.trap());
CREATE DOMAIN evil.regclass AS pg_catalog.regclass CHECK (evil.trap());
CREATE TABLE evil.tracked (pair integer);
CREATE TABLE evil.policy (policy pg_catalog.text, rank integer);
CREATE TABLE evil.messages (sid pg_catalog.text);
CREATE TABLE evil.delivery_log (sid pg_catalog.text);
CREATE SEQUENCE evil.unmatched_commits;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
-- As the owner, as a superuser, as a role that may insert only; statements of one and of many rows.
SET ROLE regress_rights_owner;
SET search_path = evil, pg_catalog;
INSERT INTO rights.messages (sid) VALUES ('a'), ('b'), ('c');
INSERT INTO rights.delivery_log (sid, status) VALUES ('a', 'sent');
INSERT INTO rights.delivery_log (sid, status) VALUES ('a', 'delivered'), ('b', 'failed'), ('early', 'sent');
INSERT INTO rights.messages (sid) VALUES ('early');
UPDATE rights.messages SET status = 'queued', sid = sid || '2' WHERE message_id OPERATOR(pg_catalog.=) 4;
SELECT msgstatus.apply_status('c', 'failed', error_code => '1', payload => '{}');
SELECT msgstatus.apply_status('c', 'failed', error_code => '2');
SELECT count(*) FROM msgstatus.verify();
SELECT count(*) FROM msgstatus.verify('1 day');
SELECT word FROM msgstatus.history('a');
SELECT message_key FROM msgstatus.unmatched();
SELECT * FROM msgstatus.unrecognized();
SELECT msgstatus.settle();
SELECT msgstatus.rebuild('1 day');
SELECT msgstatus.create_tables('rights', 'messages_2', 'log_2');
SELECT msgstatus.detach('rights.messages_2', 'rights.log_2');
SELECT msgstatus.attach('rights.messages_2', 'rights.log_2');
ALTER TABLE rights.messages_2 ALTER final DROP EXPRESSION;
SELECT msgstatus.detach('rights.messages_2', 'rights.log_2');
ALTER TABLE rights.messages_2 ALTER status DROP DEFAULT, ALTER status TYPE pg_catalog.text USING status::pg_catalog.text;
SELECT msgstatus.convert_status('rights.messages_2', 'status');
RESET ROLE;
SET search_path = evil, pg_catalog;
INSERT INTO rights.delivery_log (sid, status) VALUES ('b', 'sent');
INSERT INTO rights.delivery_log (sid, status) VALUES ('b', 'delivered'), ('c', 'delivered');
SELECT msgstatus.settle();
SELECT count(*) FROM msgstatus.verify();
SET ROLE regress_rights_webhook;
INSERT INTO rights.delivery_log (sid, status) VALUES ('b', 'read');
INSERT INTO rights.delivery_log (sid, status) VALUES ('b', 'read'), ('c', 'read');
RESET ROLE;
RESET search_path;
SELECT sid, status, error_code FROM rights.messages ORDER BY sid;
DROP TABLE rights.messages_2, rights.log_2;
TRUNCATE rights.messages, rights.delivery_log;

-- A trigger of the owner on messages runs as the owner, whoever inserts the log row, and can't become anybody else.
SET ROLE regress_rights_owner;
CREATE TABLE rights.diary (n integer GENERATED ALWAYS AS IDENTITY, note text);
CREATE FUNCTION rights.act() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    attempt text;
BEGIN
    INSERT INTO rights.diary (note) VALUES (TG_OP || ' as ' || current_user || ', path ' || current_setting('search_path'));
    FOREACH attempt IN ARRAY ARRAY['SET ROLE regress_rights_app', 'SET SESSION AUTHORIZATION DEFAULT', 'RESET ROLE', 'SET LOCAL ROLE NONE'] LOOP
        BEGIN
            EXECUTE attempt;
            INSERT INTO rights.diary (note) VALUES (attempt || ' worked, now ' || current_user);
        EXCEPTION WHEN OTHERS THEN
            INSERT INTO rights.diary (note) VALUES (attempt || ': ' || SQLSTATE);
        END;
    END LOOP;
    RETURN NULL;
END
$$;
CREATE TRIGGER act AFTER UPDATE ON rights.messages FOR EACH ROW EXECUTE FUNCTION rights.act();
INSERT INTO rights.messages (sid) VALUES ('a');
SET ROLE regress_rights_webhook;
INSERT INTO rights.delivery_log (sid, status) VALUES ('a', 'sent');
RESET ROLE;
SELECT note FROM rights.diary ORDER BY n;
TRUNCATE rights.diary;
INSERT INTO rights.delivery_log (sid, status) VALUES ('a', 'delivered'), ('a', 'sent');
SELECT note FROM rights.diary ORDER BY n;
SELECT current_user = session_user AS still_myself;
SELECT sid, status FROM rights.messages;
DROP TRIGGER act ON rights.messages;
-- An error of that trigger is its own, SQLSTATE and all; the role is restored all the same.
CREATE FUNCTION rights.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not today' USING ERRCODE = 'MY001'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON rights.messages FOR EACH ROW EXECUTE FUNCTION rights.refuse();
SET ROLE regress_rights_webhook;
SELECT helper.error_of($$INSERT INTO rights.delivery_log (sid, status) VALUES ('a', 'read')$$);
SELECT helper.error_of($$INSERT INTO rights.delivery_log (sid, status) VALUES ('a', 'read'), ('b', 'read')$$);
SELECT current_user, current_setting('search_path');
INSERT INTO rights.delivery_log (sid, status) VALUES ('a', 'read');
SELECT current_user, current_setting('search_path');
RESET ROLE;
DROP TRIGGER refuse ON rights.messages;

-- Forged triggers: eve takes the argument of the real ones for her own table. Neither writing nor reading other
-- people's tables comes of it.
CREATE FUNCTION helper.mapping(messages text, log text) RETURNS text LANGUAGE sql AS $$
    SELECT jsonb_build_object('pair', 999, 'messages', messages, 'log', log, 'provider', 'twilio', 'policy', 'first_final', 'on_regression', 'absorb',
        'm', jsonb_build_object('key', 'sid', 'status', 'status', 'error_message', 'error_message'),
        'l', jsonb_build_object('key', 'sid', 'status', 'status', 'error_message', 'error_message'))::text
$$;
TRUNCATE rights.messages, rights.delivery_log;
INSERT INTO rights.messages (sid) VALUES ('a');
INSERT INTO rights.delivery_log (sid, status, error_message) VALUES ('secret', 'failed', 'for my eyes only');
CREATE TABLE rights.super_log (sid text, status text, error_message text);
INSERT INTO rights.super_log VALUES ('secret', 'failed', 'for my eyes only');
CREATE INDEX ON rights.super_log (sid);
CREATE TABLE rights.super_messages (sid text UNIQUE, status msgstatus.delivery_status, error_message text);
INSERT INTO rights.super_messages VALUES ('a', 'queued');
CREATE FUNCTION helper.forge(trigger_function text, "when" text, target text, level text, argument text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    outcome text;
BEGIN
    EXECUTE format('CREATE TRIGGER forged %s ON %s FOR EACH %s EXECUTE FUNCTION msgstatus.%s(%L)', "when", target, level, trigger_function, argument);
    outcome := left(helper.error_of(statement), 5);
    EXECUTE format('DROP TRIGGER forged ON %s', target);
    RETURN outcome;
EXCEPTION WHEN OTHERS THEN
    RETURN 'CREATE TRIGGER: ' || SQLSTATE;
END
$$;
CREATE TABLE evil.l_full (LIKE rights.delivery_log);
ALTER TABLE evil.l_full OWNER TO regress_rights_eve;
SELECT mapping::text AS real FROM msgstatus.tracked \gset
SET ROLE regress_rights_eve;
DROP TABLE IF EXISTS evil.m, evil.l;
CREATE TABLE evil.m (sid pg_catalog.text UNIQUE, status msgstatus.delivery_status, error_message pg_catalog.text);
CREATE TABLE evil.l (sid pg_catalog.text, status pg_catalog.text, error_message pg_catalog.text);
-- Her log moves the messages of the owner, of a superuser.
SELECT helper.forge('log_trigger', 'AFTER INSERT', 'evil.l_full', 'ROW', :'real', $$INSERT INTO evil.l_full (delivery_id, created_at, sid, status, source) VALUES (1, '2024-01-01', 'a', 'read', 'x')$$);
SELECT helper.forge('log_trigger', 'AFTER INSERT', 'evil.l', 'ROW', helper.mapping('rights.messages', 'evil.l'), $$INSERT INTO evil.l VALUES ('a', 'read')$$);
SELECT helper.forge('log_trigger', 'AFTER INSERT', 'evil.l', 'ROW', helper.mapping('rights.super_messages', 'evil.l'), $$INSERT INTO evil.l VALUES ('a', 'read')$$);
SELECT helper.forge('log_trigger', 'AFTER INSERT', 'evil.l', 'ROW', helper.mapping('rights.messages', 'rights.delivery_log'), $$INSERT INTO evil.l VALUES ('a', 'read')$$);
-- The owner's log, a superuser's log, fill her messages.
SELECT helper.forge('replay_trigger', 'AFTER INSERT', 'evil.m', 'ROW', helper.mapping('evil.m', 'rights.delivery_log'), $$INSERT INTO evil.m VALUES ('secret')$$);
SELECT helper.forge('replay_trigger', 'AFTER INSERT', 'evil.m', 'ROW', helper.mapping('evil.m', 'rights.super_log'), $$INSERT INTO evil.m VALUES ('secret')$$);
SELECT helper.forge('replay_trigger', 'AFTER INSERT', 'evil.m', 'ROW', helper.mapping('rights.messages', 'rights.delivery_log'), $$INSERT INTO evil.m VALUES ('secret')$$);
SELECT helper.forge('replay_trigger', 'AFTER INSERT', 'evil.m', 'ROW', helper.mapping('rights.super_messages', 'evil.l'), $$INSERT INTO evil.m VALUES ('a')$$);
SELECT * FROM evil.m;
-- Her own two tables are hers.
SELECT helper.forge('log_trigger', 'AFTER INSERT', 'evil.l', 'ROW', helper.mapping('evil.m', 'evil.l'), $$INSERT INTO evil.l VALUES ('a', 'read')$$);
RESET ROLE;
SELECT sid, status FROM rights.messages;
SELECT sid, status FROM rights.super_messages;

-- A trigger function where it does not belong is an error, not a crash.
SET ROLE regress_rights_eve;
CREATE TABLE evil.numbers (a integer, b pg_catalog.text);
INSERT INTO evil.m VALUES ('x', 'queued');
INSERT INTO evil.l VALUES ('x', 'queued');
SELECT helper.error_of('SELECT msgstatus.log_trigger()') <> 'no error' AS refused;
SELECT helper.error_of('SELECT msgstatus.replay_trigger()') <> 'no error' AS refused;
SELECT helper.error_of('SELECT msgstatus.guard_trigger()') <> 'no error' AS refused;
SELECT helper.error_of('SELECT msgstatus.policy_trigger()') <> 'no error' AS refused;
SELECT helper.error_of('SELECT msgstatus.forget_dropped()') <> 'no error' AS refused;
SELECT helper.forge('policy_trigger', 'AFTER INSERT', 'evil.numbers', 'ROW', '', 'INSERT INTO evil.numbers VALUES (1234567)') <> 'no er' AS refused;
SELECT helper.forge('guard_trigger', 'BEFORE INSERT', 'evil.m', 'ROW', argument, $$INSERT INTO evil.m VALUES ('y')$$)
  FROM (VALUES (''), ('{'), ('{}'), ('[]'), ('null'), (helper.mapping('evil.m', 'evil.nowhere')), (helper.mapping('evil.m', 'evil.numbers')), (helper.mapping('evil.no_m', 'evil.no_l')), (repeat('[', 100000))) v(argument);
SELECT functions.f, levels.l, moments.m, events.e,
       helper.forge(functions.f, moments.m || ' ' || events.e, t.t, levels.l,
           helper.mapping('evil.m', 'evil.l'),
           CASE events.e WHEN 'INSERT' THEN format('INSERT INTO %s VALUES (%L, %L)', t.t, functions.f || levels.l || moments.m, 'queued')
                         WHEN 'UPDATE' THEN format('UPDATE %s SET status = %L', t.t, 'sent')
                         WHEN 'DELETE' THEN format('DELETE FROM %s WHERE sid = %L', t.t, 'x')
                         ELSE format('TRUNCATE %s', t.t) END) IN ('55000', '22023', '0A000', 'CREATE TRIGGER: 0A000', 'CREATE TRIGGER: 42P17') AS refused
  FROM unnest(ARRAY['log_trigger', 'replay_trigger', 'guard_trigger']) AS functions(f), unnest(ARRAY['ROW', 'STATEMENT']) AS levels(l),
       unnest(ARRAY['BEFORE', 'AFTER']) AS moments(m), unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS events(e),
       LATERAL (SELECT CASE functions.f WHEN 'log_trigger' THEN 'evil.l' ELSE 'evil.m' END) AS t(t)
 WHERE NOT (events.e = 'TRUNCATE' AND levels.l = 'ROW')
 ORDER BY 1, 2, 3, 4;
RESET ROLE;

-- Functions that go over all tables run nothing of any owner's with the rights of their caller: no cast, no trigger, no policy.
DROP TABLE evil.m, evil.l CASCADE;
SET ROLE regress_rights_eve;
CREATE TABLE evil.ran (as_whom name, what text);
GRANT USAGE ON SCHEMA evil TO PUBLIC;
GRANT INSERT, SELECT ON evil.ran TO PUBLIC;
CREATE FUNCTION evil.note(what text) RETURNS text LANGUAGE sql AS $$INSERT INTO evil.ran VALUES (current_user, what) RETURNING 'outbound'$$;
CREATE TYPE evil.way AS ENUM ('outbound', 'inbound');
CREATE FUNCTION evil.way_text(evil.way) RETURNS text LANGUAGE sql AS $$SELECT evil.note('cast')$$;
CREATE TABLE evil.m (sid text PRIMARY KEY, direction evil.way, created_at timestamptz DEFAULT now() - interval '1 day',
    next_check_at timestamptz, status msgstatus.delivery_status DEFAULT 'sent');
CREATE TABLE evil.l (sid text, status text, source text);
CREATE INDEX ON evil.l (sid);
SELECT msgstatus.attach('evil.m', 'evil.l', poll => 'stuck');
INSERT INTO evil.m VALUES ('e1', 'outbound');
CREATE CAST (evil.way AS text) WITH FUNCTION evil.way_text(evil.way);
GRANT SELECT, UPDATE ON evil.m TO PUBLIC;
CREATE FUNCTION evil.noting() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM evil.note('trigger'); RETURN NEW; END$$;
CREATE TRIGGER noting BEFORE UPDATE ON evil.m FOR EACH ROW EXECUTE FUNCTION evil.noting();
RESET ROLE;
SELECT sid FROM msgstatus.due() WHERE messages = 'evil.m'::regclass;
SELECT msgstatus.request_check('e1');
SET ROLE regress_rights_app;
SELECT sid FROM msgstatus.due() WHERE messages = 'evil.m'::regclass;
SELECT msgstatus.request_check('e1');
RESET ROLE;
SELECT DISTINCT as_whom, what FROM evil.ran ORDER BY 2;
TRUNCATE evil.ran;
ALTER TABLE evil.m ENABLE ROW LEVEL SECURITY;
CREATE POLICY noting ON evil.m USING (evil.note('policy') <> '');
SET ROLE regress_rights_app;
SELECT sid FROM msgstatus.due() WHERE messages = 'evil.m'::regclass;
SELECT helper.error_of($$SELECT msgstatus.request_check('e1')$$);
RESET ROLE;
TABLE evil.ran;
-- Whoever names the table, or knows that it is the only one, reads no column through a cast of its owner's either.
ALTER TABLE evil.l ALTER source TYPE evil.way USING source::evil.way;
INSERT INTO evil.l VALUES ('nobody', 'sent', 'outbound');
SELECT helper.error_of($$SELECT msgstatus.unmatched('evil.m')$$);
SELECT helper.error_of($$SELECT msgstatus.history('e1', 'evil.m')$$);
TABLE evil.ran;

DROP TABLE evil.m, evil.l CASCADE;

-- Policies of somebody's who is trusted are asked, and show each what is his.
CREATE TABLE rights.tenants (sid text PRIMARY KEY, org text, created_at timestamptz DEFAULT now() - interval '1 day',
    next_check_at timestamptz, status msgstatus.delivery_status DEFAULT 'sent');
CREATE TABLE rights.tenants_log (sid text, status text);
CREATE INDEX ON rights.tenants_log (sid);
SELECT msgstatus.attach('rights.tenants', 'rights.tenants_log', poll => 'stuck');
INSERT INTO rights.tenants VALUES ('ours', 'regress_rights_app'), ('theirs', 'somebody');
ALTER TABLE rights.tenants ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON rights.tenants USING (org = current_user);
GRANT SELECT ON rights.tenants TO regress_rights_app;
SET ROLE regress_rights_app;
SELECT sid FROM msgstatus.due() WHERE messages = 'rights.tenants'::regclass;
SELECT helper.error_of($$SELECT msgstatus.request_check('ours')$$);
RESET ROLE;
GRANT UPDATE (org) ON rights.tenants TO regress_rights_app;
SELECT helper.error_of($$SET ROLE regress_rights_app; SELECT msgstatus.request_check('ours')$$);
RESET ROLE;
GRANT UPDATE (next_check_at) ON rights.tenants TO regress_rights_app;
SET ROLE regress_rights_app;
SELECT helper.error_of($$SELECT msgstatus.request_check('theirs')$$);
SELECT msgstatus.request_check('ours');
RESET ROLE;
-- Without policies the columns count too.
ALTER TABLE rights.tenants DISABLE ROW LEVEL SECURITY;
SET ROLE regress_rights_app;
SELECT msgstatus.request_check('theirs');
RESET ROLE;
SELECT sid, next_check_at FROM rights.tenants ORDER BY sid;
REVOKE UPDATE (next_check_at) ON rights.tenants FROM regress_rights_app;
SELECT helper.error_of($$SET ROLE regress_rights_app; SELECT msgstatus.request_check('theirs')$$);
RESET ROLE;

SET client_min_messages = error;
DROP SCHEMA rights, evil, helper CASCADE;
DROP ROLE regress_rights_owner, regress_rights_webhook, regress_rights_app, regress_rights_eve;
SELECT count(*) FROM msgstatus.tracked;
