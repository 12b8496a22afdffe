-- attach: what it refuses, and with which advice; own names, types and keys; several tables on one log.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE SCHEMA attach;
SET search_path = attach;

-- The statement's error, with all that VERBOSITY terse leaves out.
CREATE FUNCTION error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    code text; message text; detail text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
        hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n', code || ' ' || message, nullif(detail, ''), nullif('HINT: ' || hint, 'HINT: '));
END
$$;
\pset format unaligned
\pset tuples_only on

-- Two tables that fit.
CREATE TABLE m (sid text UNIQUE, status msgstatus.delivery_status DEFAULT 'queued', status_at timestamptz, sent_at timestamptz);
CREATE TABLE l (id bigserial, sid text, status text, event_at timestamptz, created_at timestamptz DEFAULT now());
CREATE INDEX ON l (sid);

-- Which tables.
SELECT error_of($$SELECT msgstatus.attach('m', NULL)$$);
SELECT error_of($$SELECT msgstatus.attach(NULL, 'l')$$);
SELECT error_of($$SELECT msgstatus.attach('m', 'm')$$);
SELECT error_of($$SELECT msgstatus.attach('nowhere', 'l')$$);
SELECT split_part(error_of($$SELECT msgstatus.attach(1, 'l')$$), E'\n', 1);
CREATE VIEW v AS SELECT * FROM m;
CREATE MATERIALIZED VIEW mv AS SELECT * FROM l;
CREATE SEQUENCE s;
SELECT error_of($$SELECT msgstatus.attach('v', 'l')$$);
SELECT error_of($$SELECT msgstatus.attach('m', 'mv')$$);
SELECT error_of($$SELECT msgstatus.attach('s', 'l')$$);
SELECT error_of($$SELECT msgstatus.attach('m_sid_key', 'l')$$);
-- A temporary table would be forgotten with its session.
CREATE TEMP TABLE temp_m (sid text UNIQUE, status msgstatus.delivery_status);
CREATE TEMP TABLE temp_l (sid text, status text);
CREATE INDEX ON temp_l (sid);
SELECT left(error_of($$SELECT msgstatus.attach('temp_m', 'temp_l')$$), 5);
SELECT left(error_of($$SELECT msgstatus.attach('m', 'temp_l')$$), 5);
DROP TABLE temp_m, temp_l;

-- Arguments.
SELECT error_of($$SELECT msgstatus.attach('m', 'l', policy => 'no such')$$);
SELECT error_of($$SELECT msgstatus.attach('m', 'l', policy => NULL)$$);
SELECT error_of($$SELECT msgstatus.attach('m', 'l', on_regression => 'panic')$$);
SELECT error_of($$SELECT msgstatus.attach('m', 'l', level => 'table')$$);
SELECT error_of($$SELECT msgstatus.attach('m', 'l', provider => 'pigeon')$$);
SELECT left(error_of($$SELECT msgstatus.attach('m', 'l', poll => 'hourly')$$), 5);
SELECT left(error_of($$SELECT msgstatus.attach('m', 'l', notify => 'sometimes')$$), 5);
SELECT left(error_of($$SELECT msgstatus.attach('m', 'l', columns => '[]')$$), 5);
SELECT left(error_of($$SELECT msgstatus.attach('m', 'l', columns => '"sent_at"')$$), 5);
SELECT left(error_of($$SELECT msgstatus.attach('m', 'l', columns => '{"sent_at": 1}')$$), 5);
SELECT left(error_of($$SELECT msgstatus.attach('m', 'l', columns => '{"copy": "id"}')$$), 5);
SELECT left(error_of($$SELECT msgstatus.attach('m', 'l', columns => '{"copy": {"id": 7}}')$$), 5);
SELECT left(error_of($$SELECT msgstatus.attach('m', 'l', columns => '{"copy": {"id": "no_such_column"}}')$$), 48);
SELECT split_part(error_of($$SELECT msgstatus.attach('m', 'l', columns => '{"send_at": "sent_at"}')$$), E'\n', 1);
SELECT msgstatus.attach('m', 'l', columns => NULL);
SELECT msgstatus.detach('m', 'l');

-- Columns.
SELECT error_of($$SELECT msgstatus.attach('m', 'l', columns => '{"sent_at": "sent_on"}')$$) ~ 'HINT: .*sent_at.*columns' AS the_hint_says_which_role;
SELECT split_part(error_of($$SELECT msgstatus.attach('m', 'l', message_key => 'key')$$), E'\n', 1);
SELECT split_part(error_of($$SELECT msgstatus.attach('m', 'l', log_key => 'key')$$), E'\n', 1);
SELECT split_part(error_of($$SELECT msgstatus.attach('m', 'l', status => 'state')$$), E'\n', 1);
SELECT split_part(error_of($$SELECT msgstatus.attach('m', 'l', log_status => 'state')$$), E'\n', 1);
SELECT split_part(error_of($$SELECT msgstatus.attach('m', 'l', columns => '{"sent_at": "sent_on"}')$$), E'\n', 1);
SELECT split_part(error_of($$SELECT msgstatus.attach('m', 'l', columns => '{"log.event_at": "occurred_at"}')$$), E'\n', 1);
SELECT split_part(error_of($$SELECT msgstatus.attach('m', 'l', columns => '{"body": "text"}')$$), E'\n', 1);
SELECT split_part(error_of($$SELECT msgstatus.attach('m', 'l', columns => '{"copy": ["org_id"]}')$$), E'\n', 1);
SELECT split_part(error_of($$SELECT msgstatus.attach('m', 'l', message_key => 'ctid')$$), E'\n', 1);
-- Their types.
CREATE TABLE m_text (sid text UNIQUE, status text, sent_at date, error_code integer, statuses_seen text, final boolean GENERATED ALWAYS AS (status = 'read') STORED);
SELECT error_of($$SELECT msgstatus.attach('m_text', 'l')$$);
SELECT msgstatus.convert_status('m', 'status');
CREATE TABLE m_types (sid text UNIQUE, status msgstatus.delivery_status, sent_at date, error_code integer, statuses_seen text, status_map json,
    final boolean GENERATED ALWAYS AS (msgstatus.is_final(status)) STORED, read_at timestamptz);
SELECT error_of($$SELECT msgstatus.attach('m_types', 'l', columns => '{"sent_at": "sent_at"}')$$);
SELECT error_of($$SELECT msgstatus.attach('m_types', 'l', columns => '{"error_code": "error_code"}')$$);
SELECT error_of($$SELECT msgstatus.attach('m_types', 'l', columns => '{"statuses_seen": "statuses_seen"}')$$);
SELECT error_of($$SELECT msgstatus.attach('m_types', 'l', columns => '{"status_map": "status_map"}')$$);
SELECT error_of($$SELECT msgstatus.attach('m_types', 'l', columns => '{"final": "final"}')$$);
SELECT error_of($$SELECT msgstatus.attach('m_types', 'l', columns => '{"log.event_at": "sid"}')$$);
-- Columns of these names that nobody named are left alone where their type does not fit.
SELECT msgstatus.attach('m_types', 'l');
INSERT INTO m_types (sid, status) VALUES ('t', 'queued');
INSERT INTO l (sid, status) VALUES ('t', 'read');
SELECT sid, status, sent_at, error_code, final, read_at IS NOT NULL FROM m_types;
SELECT msgstatus.detach('m_types', 'l');
TRUNCATE l;
CREATE TABLE l_status (sid text, status integer);
CREATE INDEX ON l_status (sid);
SELECT error_of($$SELECT msgstatus.attach('m', 'l_status')$$);
CREATE TABLE l_key (sid bigint, status text);
CREATE INDEX ON l_key (sid);
SELECT error_of($$SELECT msgstatus.attach('m', 'l_key')$$);
CREATE TABLE m_json (sid json, status msgstatus.delivery_status);
SELECT error_of($$SELECT msgstatus.attach('m_json', 'l')$$);
-- A generated column can't be written: not used unless named, refused then.
CREATE TABLE m_generated (sid text UNIQUE, status msgstatus.delivery_status DEFAULT 'queued', status_at timestamptz,
    sent_at timestamptz GENERATED ALWAYS AS (status_at) STORED);
SELECT msgstatus.attach('m_generated', 'l');
INSERT INTO m_generated (sid) VALUES ('g');
INSERT INTO l (sid, status, event_at) VALUES ('g', 'sent', '2024-01-01 10:00+00');
SELECT sid, status, sent_at FROM m_generated;
SELECT msgstatus.detach('m_generated', 'l');
SELECT left(error_of($$SELECT msgstatus.attach('m_generated', 'l', columns => '{"sent_at": "sent_at"}')$$), 5);
TRUNCATE l;

-- Indexes: what is missing, with the statement that makes it.
CREATE TABLE m_bare (sid text, status msgstatus.delivery_status);
CREATE TABLE l_bare (sid text, status text);
SELECT error_of($$SELECT msgstatus.attach('m_bare', 'l')$$);
SELECT error_of($$SELECT msgstatus.attach('m', 'l_bare')$$);
SELECT indexrelid::regclass FROM pg_index WHERE indrelid IN ('m_bare'::regclass, 'l_bare'::regclass);
CREATE TABLE "Odd Name" ("the ""key""" text, status msgstatus.delivery_status);
SELECT error_of($$SELECT msgstatus.attach('"Odd Name"', 'l', message_key => 'the "key"')$$);
CREATE TABLE m_parts (sid text, status msgstatus.delivery_status) PARTITION BY HASH (sid);
SELECT error_of($$SELECT msgstatus.attach('m_parts', 'l')$$);
-- Indexes that do not do.
CREATE INDEX m_bare_not_unique ON m_bare (sid);
CREATE UNIQUE INDEX m_bare_two ON m_bare (sid, status);
CREATE UNIQUE INDEX m_bare_lower ON m_bare (lower(sid));
CREATE UNIQUE INDEX m_bare_partial ON m_bare (sid) WHERE status = 'queued';
ALTER TABLE m_bare ADD CONSTRAINT m_bare_deferred UNIQUE (sid) DEFERRABLE;
SELECT split_part(error_of($$SELECT msgstatus.attach('m_bare', 'l')$$), E'\n', 1);
-- Indexes that do.
ALTER TABLE m_bare DROP CONSTRAINT m_bare_deferred;
CREATE UNIQUE INDEX m_bare_where ON m_bare (sid) WHERE sid IS NOT NULL;
CREATE INDEX l_bare_hash ON l_bare USING hash (sid);
SELECT msgstatus.attach('m_bare', 'l_bare');
SELECT msgstatus.detach('m_bare', 'l_bare');
DROP INDEX m_bare_where;
CREATE UNIQUE INDEX m_bare_include ON m_bare (sid) INCLUDE (status);
SELECT msgstatus.attach('m_bare', 'l_bare');
SELECT msgstatus.detach('m_bare', 'l_bare');

-- Twice.
SELECT msgstatus.attach('m', 'l');
SELECT error_of($$SELECT msgstatus.attach('m', 'l')$$);
SELECT error_of($$SELECT msgstatus.attach('m', 'l_bare')$$);
SELECT messages, log, policy, on_regression, level, poll, notify, columns FROM msgstatus.tracked;

-- Only for the owner of both.
CREATE ROLE regress_attach_user;
GRANT USAGE, CREATE ON SCHEMA attach TO regress_attach_user;
GRANT ALL ON m, l, m_bare, l_bare TO regress_attach_user;
SET ROLE regress_attach_user;
SELECT error_of($$SELECT msgstatus.attach('m_bare', 'l_bare')$$);
CREATE TABLE own_m (sid text UNIQUE, status msgstatus.delivery_status DEFAULT 'queued');
SELECT error_of($$SELECT msgstatus.attach('own_m', 'l_bare')$$);
SELECT error_of($$SELECT msgstatus.detach('m', 'l')$$);
SELECT error_of($$INSERT INTO msgstatus.tracked SELECT * FROM msgstatus.tracked$$);
CREATE TABLE own_l (sid text, status text);
CREATE INDEX ON own_l (sid);
SELECT msgstatus.attach('own_m', 'own_l');
INSERT INTO own_m VALUES ('o');
INSERT INTO own_l VALUES ('o', 'delivered');
SELECT * FROM own_m;
SELECT msgstatus.detach('own_m', 'own_l');
RESET ROLE;
DROP TABLE own_m, own_l;
SELECT msgstatus.detach('m', 'l');

-- The smallest pair: a key and a status on both sides.
CREATE TABLE least_m (k integer PRIMARY KEY, s msgstatus.delivery_status);
CREATE TABLE least_l (k integer, w varchar(20));
CREATE INDEX ON least_l (k);
SELECT msgstatus.attach('least_m', 'least_l', message_key => 'k', log_key => 'k', status => 's', log_status => 'w');
INSERT INTO least_m VALUES (1, 'queued'), (2, NULL), (-3, 'sent');
INSERT INTO least_l VALUES (1, 'sent');
INSERT INTO least_l VALUES (2, 'delivered'), (1, 'delivered'), (-3, 'read'), (1, 'failed'), (NULL, 'read'), (4, 'sent'), (1, NULL);
INSERT INTO least_l VALUES (1, 'undelivered');
INSERT INTO least_m VALUES (4, 'accepted');
SELECT * FROM least_m ORDER BY k;
SELECT * FROM msgstatus.verify();
-- A log without a time of arrival has no recent rows: all of it is looked at.
SET session_replication_role = replica;
INSERT INTO least_l VALUES (4, 'read');
RESET session_replication_role;
SELECT msgstatus.settle();
SELECT * FROM least_m WHERE k = 4;
SELECT msgstatus.apply_status('4', 'delivered');
SELECT word, status, verdict FROM msgstatus.history('2');
SELECT msgstatus.detach('least_m', 'least_l');

-- bigint keys, other names, naive and coarse timestamps, short error columns.
CREATE TABLE campaign (message_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, org_id integer, whatsapp_msg_sid text,
    state msgstatus.delivery_status NOT NULL DEFAULT 'queued', changed_on timestamp, sent_on timestamp(0), delivered_at timestamptz(0),
    seen_on timestamptz, failed_reason varchar(10), code varchar(5) NOT NULL DEFAULT '', seen_bits bigint);
CREATE TABLE campaign_log (delivery_id bigserial PRIMARY KEY, org_id integer NOT NULL, message_id bigint REFERENCES campaign, word varchar(30) NOT NULL,
    code text, reason text, provider varchar, happened timestamp, created_at timestamp(0) NOT NULL DEFAULT now());
CREATE INDEX ON campaign_log (message_id);
SELECT msgstatus.attach('campaign', 'campaign_log', 'message_id', 'message_id', 'state', 'word',
    '{"status_at": "changed_on", "sent_at": "sent_on", "read_at": "seen_on", "error_message": "failed_reason", "error_code": "code",
      "statuses_seen": "seen_bits", "sid": "whatsapp_msg_sid", "log.event_at": "happened", "log.error_code": "code", "log.error_message": "reason",
      "copy": ["org_id"]}');
INSERT INTO campaign (org_id) VALUES (7), (8);
SET timezone = 'America/New_York';
INSERT INTO campaign_log (org_id, message_id, word, happened) VALUES (7, 1, 'sent', '2024-01-01 10:00:00.7'), (7, 1, 'delivered', '2024-01-01 10:00:05.2');
INSERT INTO campaign_log (org_id, message_id, word, happened, code, reason) VALUES (7, 1, 'read', '2024-01-01 10:00:09', '1234567', 'longer than the column');
INSERT INTO campaign_log (org_id, message_id, word, happened, code, reason) VALUES (8, 2, 'failed', '2024-01-01 10:00:09', '1234567', 'longer than the column');
SELECT message_id, state, changed_on, sent_on, delivered_at, seen_on, failed_reason, code, seen_bits FROM campaign ORDER BY 1;
-- The same events once more, one by one and together: there is nothing to write.
CREATE TABLE before AS SELECT ctid AS tid, * FROM campaign;
INSERT INTO campaign_log (org_id, message_id, word, happened) VALUES (7, 1, 'sent', '2024-01-01 10:00:00.7');
INSERT INTO campaign_log (org_id, message_id, word, happened, code, reason) SELECT org_id, message_id, word, happened, code, reason FROM campaign_log;
SELECT count(*) FROM before b JOIN campaign c ON c.ctid = b.tid AND c.message_id = b.message_id;
SELECT * FROM msgstatus.verify();
SELECT msgstatus.rebuild();
SELECT msgstatus.apply_status('2', 'delivered', '2024-01-01 11:00+00');
SELECT org_id, message_id, word, happened FROM campaign_log ORDER BY delivery_id DESC LIMIT 1;
SELECT delivery_id, t, word, status, verdict, status_after, error_code FROM msgstatus.history('1') LIMIT 3;
SET timezone = 'UTC';
-- Columns to copy that have another name in the log. A word without a provider is one of the pair's.
CREATE TABLE named (sid text PRIMARY KEY, id integer, tenant text, state msgstatus.delivery_status);
CREATE TABLE named_log (sid text, message_id integer, tenant text, word text, provider text DEFAULT 'twilio');
CREATE INDEX ON named_log (sid);
SELECT msgstatus.attach('named', 'named_log', status => 'state', log_status => 'word', provider => 'whatsapp',
    columns => '{"copy": {"message_id": "id", "tenant": "tenant"}}');
INSERT INTO named VALUES ('a', 7, 'acme', 'sent');
SELECT msgstatus.apply_status('a', 'played', messages => 'named');
SELECT msgstatus.apply_status('a', 'canceled', provider => 'twilio', messages => 'named');
SELECT * FROM named_log;
SELECT msgstatus.detach('named', 'named_log');
-- A direct write keeps to the columns' precision too.
UPDATE campaign SET state = 'read' WHERE message_id = 2;
INSERT INTO campaign (org_id, state) VALUES (9, 'read');
SELECT count(*) FROM campaign WHERE sent_on <> date_trunc('second', sent_on) OR delivered_at <> date_trunc('second', delivered_at);
SELECT msgstatus.detach('campaign', 'campaign_log');

-- uuid keys, a status map and a plain final.
CREATE TABLE um (id uuid PRIMARY KEY, status msgstatus.delivery_status DEFAULT 'queued', whatsapp_status jsonb, done boolean NOT NULL DEFAULT false);
CREATE TABLE ul (id uuid, status text, event_at timestamptz, created_at timestamptz DEFAULT now());
CREATE INDEX ON ul (id);
SELECT msgstatus.attach('um', 'ul', 'id', 'id', columns => '{"status_map": "whatsapp_status", "final": "done"}');
INSERT INTO um (id, whatsapp_status) VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"campaign": 7, "sent": "2024-10-03T12:30:05.25+02:00"}'), ('b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', NULL);
INSERT INTO ul VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'delivered', '2024-10-03 10:31+00', now());
INSERT INTO ul VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'sent', '2024-10-03 10:30+00', now()), ('b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'sent', '2024-10-03 10:30+00', now());
SELECT * FROM um ORDER BY id;
UPDATE um SET status = 'queued', whatsapp_status = NULL, done = false RETURNING status, whatsapp_status, done;
UPDATE um SET whatsapp_status = '{"sent": "2024-10-03T10:29:00Z", "read": "garbage", "x": [1]}' WHERE id = 'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' RETURNING whatsapp_status;
SELECT "column", stored, folded FROM msgstatus.verify();
SELECT msgstatus.apply_status('b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'delivered', '2024-10-03 10:40+00');
SELECT left(error_of($$SELECT msgstatus.apply_status('not a uuid', 'delivered')$$), 5);
SELECT * FROM um ORDER BY id;
-- What is not a milestone in the map is nobody's business here: numbers of any size, any depth.
TRUNCATE um, ul;
CREATE TABLE maps AS SELECT format('00000000-0000-0000-0000-00000000000%s', n)::uuid AS id, map FROM (VALUES
    (1, '{"n": 12345678901234567890123456789, "d": 1.10000}'::jsonb), (2, '{"e": 1e400}'), (3, ('{"deep": ' || repeat('[', 500) || repeat(']', 500) || '}')::jsonb),
    (4, '{"": null, "x": "\ud83d\ude00 \" \\ \u0001", "Sent": 1, "sent ": 2}'), (5, '{}')) v(n, map);
INSERT INTO um (id, whatsapp_status) SELECT * FROM maps;
INSERT INTO ul SELECT id, 'sent', '2024-10-03 10:30+00', now() FROM maps WHERE id::text LIKE '%1';
INSERT INTO ul SELECT id, 'delivered', '2024-10-03 10:31+00', now() FROM maps;
UPDATE um SET status = 'read', whatsapp_status = whatsapp_status || '{"read": "2024-10-03T10:32:00Z"}';
SELECT count(*) FROM um JOIN maps USING (id) WHERE um.whatsapp_status - 'sent' - 'delivered' - 'read' = map;
SELECT whatsapp_status FROM um ORDER BY id LIMIT 1;
SELECT * FROM msgstatus.verify();
SELECT msgstatus.detach('um', 'ul');

-- Keys that are equal in SQL and have other bytes.
CREATE TABLE nm (k numeric PRIMARY KEY, status msgstatus.delivery_status DEFAULT 'queued', sent_at timestamptz);
CREATE TABLE nl (k numeric, status text, event_at timestamptz, created_at timestamptz DEFAULT now());
CREATE INDEX ON nl (k);
SELECT msgstatus.attach('nm', 'nl', 'k', 'k');
INSERT INTO nm VALUES (1), (2), (10);
INSERT INTO nl VALUES (1.0, 'delivered', '2024-01-01 10:01+00'), (1.00, 'sent', '2024-01-01 10:00+00'), (10.000, 'read', '2024-01-01 10:00+00'),
    (3.0, 'sent', '2024-01-01 10:00+00'), (3.00, 'failed', '2024-01-01 10:00+00');
INSERT INTO nl VALUES (2.00, 'sent', '2024-01-01 10:00+00');
INSERT INTO nm VALUES (3);
SELECT * FROM nm ORDER BY k;
SELECT * FROM msgstatus.verify();
SELECT msgstatus.detach('nm', 'nl');
-- char(n), padded differently on the two sides.
CREATE TABLE cm (k char(10) PRIMARY KEY, status msgstatus.delivery_status DEFAULT 'queued');
CREATE TABLE cl (k char(6), status char(12), created_at timestamptz DEFAULT now());
CREATE INDEX ON cl (k);
SELECT split_part(error_of($$SELECT msgstatus.attach('cm', 'cl', 'k', 'k')$$), E'\n', 1);
ALTER TABLE cl ALTER status TYPE varchar(12);
SELECT msgstatus.attach('cm', 'cl', 'k', 'k');
INSERT INTO cm VALUES ('SM1'), ('SM2'), ('S');
INSERT INTO cl VALUES ('SM1', 'delivered'), ('SM3', 'sent');
INSERT INTO cl VALUES ('SM2', 'sent');
INSERT INTO cm VALUES ('SM3');
SELECT msgstatus.apply_status('SM2', 'delivered');
SELECT k, status FROM cm ORDER BY k;
SELECT msgstatus.detach('cm', 'cl');
-- Collations that differ.
CREATE TABLE com (sid text COLLATE "C" PRIMARY KEY, status msgstatus.delivery_status DEFAULT 'queued');
CREATE TABLE col (sid text COLLATE "POSIX", status text, created_at timestamptz DEFAULT now());
CREATE INDEX ON col (sid);
SELECT msgstatus.attach('com', 'col');
INSERT INTO com VALUES ('a');
INSERT INTO col VALUES ('a', 'sent'), ('b', 'delivered');
SELECT message_key, word FROM msgstatus.unmatched();
INSERT INTO com VALUES ('b');
SELECT * FROM com ORDER BY 1;
SELECT msgstatus.detach('com', 'col');

-- A log whose status column holds labels: they are labels, whoever the provider is.
CREATE TABLE label_m (sid text UNIQUE, status msgstatus.delivery_status DEFAULT 'accepted');
CREATE TABLE label_l (sid text, provider text, status msgstatus.delivery_status, created_at timestamptz DEFAULT now());
CREATE INDEX ON label_l (sid);
SELECT msgstatus.attach('label_m', 'label_l', provider => 'whatsapp');
INSERT INTO label_m VALUES ('a'), ('b');
INSERT INTO label_l VALUES ('a', 'whatsapp', 'queued');
INSERT INTO label_l VALUES ('b', 'plivo', 'delivery_unknown'), ('c', 'whatsapp', 'queued'), ('b', NULL, NULL);
SELECT * FROM label_m ORDER BY sid;
SELECT word, status, verdict FROM msgstatus.history('a');
SELECT provider, word, occurrences FROM msgstatus.unrecognized();
SELECT message_key, word FROM msgstatus.unmatched();
SELECT * FROM msgstatus.verify();
-- What is written through apply_status is a provider's word all the same.
SELECT msgstatus.apply_status('a', 'TEXT_SENT', provider => 'aws');
SELECT msgstatus.apply_status('a', 'delivered');
SELECT * FROM label_m ORDER BY sid;
SELECT msgstatus.detach('label_m', 'label_l');

-- The provider whose words the log holds if it does not say so.
CREATE TABLE sinch_m (sid text UNIQUE, status msgstatus.delivery_status DEFAULT 'queued');
CREATE TABLE sinch_l (sid text, status text, created_at timestamptz DEFAULT now());
CREATE INDEX ON sinch_l (sid);
SELECT msgstatus.attach('sinch_m', 'sinch_l', provider => 'sinch');
INSERT INTO sinch_m VALUES ('a'), ('b');
INSERT INTO sinch_l VALUES ('a', 'Dispatched');
INSERT INTO sinch_l VALUES ('b', 'sent'), ('a', 'Aborted');
SELECT * FROM sinch_m ORDER BY sid;
SELECT provider, word, occurrences FROM msgstatus.unrecognized();
SELECT msgstatus.detach('sinch_m', 'sinch_l');

-- One log, two messages tables: each callback finds its message in either, or in both.
CREATE TABLE whatsapp_messages (sid text UNIQUE, status msgstatus.delivery_status DEFAULT 'queued', sent_at timestamptz);
CREATE TABLE campaign_recipients (id bigserial PRIMARY KEY, message_sid varchar(40) UNIQUE, status msgstatus.delivery_status DEFAULT 'queued', error_message text);
CREATE TABLE shared_log (sid text, status text, error_message text, event_at timestamptz, created_at timestamptz DEFAULT now());
CREATE INDEX ON shared_log (sid);
SELECT msgstatus.attach('whatsapp_messages', 'shared_log');
SELECT msgstatus.attach('campaign_recipients', 'shared_log', message_key => 'message_sid', policy => 'failure_wins');
INSERT INTO whatsapp_messages (sid) VALUES ('a'), ('b');
INSERT INTO campaign_recipients (message_sid) VALUES ('b'), ('c');
INSERT INTO shared_log (sid, status) VALUES ('a', 'delivered');
INSERT INTO shared_log (sid, status, error_message) VALUES ('b', 'delivered', NULL), ('c', 'read', NULL), ('b', 'failed', 'blocked'), ('d', 'sent', NULL);
SELECT sid, status FROM whatsapp_messages ORDER BY sid;
SELECT message_sid, status, error_message FROM campaign_recipients ORDER BY 1;
SELECT message_key, word FROM msgstatus.unmatched('whatsapp_messages') ORDER BY 1;
SELECT message_key, word FROM msgstatus.unmatched('campaign_recipients') ORDER BY 1;
SELECT error_of($$SELECT * FROM msgstatus.unmatched()$$);
SELECT error_of($$SELECT msgstatus.apply_status('a', 'read')$$);
SELECT msgstatus.apply_status('b', 'read', messages => 'whatsapp_messages');
SELECT msgstatus.apply_status('c', 'failed', messages => 'campaign_recipients');
SELECT sid, status FROM whatsapp_messages ORDER BY sid;
SELECT message_sid, status, error_message FROM campaign_recipients ORDER BY 1;
INSERT INTO campaign_recipients (message_sid) VALUES ('d');
INSERT INTO whatsapp_messages (sid) VALUES ('d');
SELECT w.status, c.status FROM whatsapp_messages w JOIN campaign_recipients c ON c.message_sid = w.sid WHERE sid = 'd';
SELECT tgname FROM pg_trigger WHERE tgrelid = 'shared_log'::regclass ORDER BY 1;
SELECT * FROM msgstatus.verify(messages => 'whatsapp_messages');
SELECT * FROM msgstatus.verify(messages => 'campaign_recipients');
SELECT msgstatus.detach('whatsapp_messages', 'shared_log');
INSERT INTO shared_log (sid, status) VALUES ('d', 'read');
SELECT w.status, c.status FROM whatsapp_messages w JOIN campaign_recipients c ON c.message_sid = w.sid WHERE sid = 'd';
SELECT msgstatus.detach('campaign_recipients', 'shared_log');

-- Columns that every message fills with something, as some frameworks make them.
CREATE TABLE strict_m (sid text UNIQUE, status msgstatus.delivery_status NOT NULL DEFAULT 'queued', error_code varchar(10) NOT NULL DEFAULT '',
    error_message text NOT NULL DEFAULT '', statuses_seen integer NOT NULL DEFAULT 0);
CREATE TABLE strict_l (sid text NOT NULL, status text NOT NULL DEFAULT '', error_code integer, error_message text NOT NULL DEFAULT '', source text NOT NULL DEFAULT 'web',
    payload text NOT NULL DEFAULT '{}', created_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON strict_l (sid);
SELECT msgstatus.attach('strict_m', 'strict_l');
INSERT INTO strict_m (sid) VALUES ('a'), ('b'), ('c');
INSERT INTO strict_l (sid, status) VALUES ('a', 'delivered');
INSERT INTO strict_l (sid, status, error_code) VALUES ('b', 'sent', 30007), ('a', 'read', NULL);
INSERT INTO strict_l (sid, status) VALUES ('b', 'failed');
INSERT INTO strict_l (sid, status, error_code, error_message) VALUES ('c', 'failed', 30003, 'Unreachable');
SELECT sid, status, error_code, error_message FROM strict_m ORDER BY sid;
SELECT msgstatus.apply_status('a', 'delivered');
SELECT msgstatus.apply_status('b', 'undelivered', error_code => '30005', error_message => 'Unknown handset');
SELECT sid, status, error_code, error_message, source, payload FROM strict_l WHERE status IN ('delivered', 'undelivered') ORDER BY 1, 2, source;
SELECT * FROM msgstatus.verify();
SELECT msgstatus.detach('strict_m', 'strict_l');

-- Inheritance: a message is where it is found, and another row in the same place of another table is another message.
CREATE TABLE parent_m (sid text UNIQUE, status msgstatus.delivery_status DEFAULT 'queued');
CREATE TABLE child_m (UNIQUE (sid)) INHERITS (parent_m);
CREATE TABLE parent_l (sid text, status text, created_at timestamptz DEFAULT now());
CREATE INDEX ON parent_l (sid);
SELECT msgstatus.attach('parent_m', 'parent_l');
BEGIN;
INSERT INTO parent_m VALUES ('a'), ('b');
INSERT INTO child_m VALUES ('c'), ('d');
COMMIT;
INSERT INTO parent_l VALUES ('a', 'sent');
INSERT INTO parent_l VALUES ('a', 'delivered'), ('b', 'sent');
SELECT sid, status FROM parent_m WHERE sid IN ('a', 'b') ORDER BY sid;
SELECT sid, status FROM child_m WHERE status IN ('sent', 'delivered') ORDER BY sid;
SELECT msgstatus.detach('parent_m', 'parent_l');

SELECT * FROM msgstatus.tracked;
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgname ~ 'msgstatus' AND tgrelid <> 'msgstatus.policy'::regclass;
DROP SCHEMA attach CASCADE;
DROP ROLE regress_attach_user;
