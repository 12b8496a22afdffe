-- The webhook functions: requests that are vouched for go into the log; and callbacks by SID, where the log goes by another
-- key, wait for their message. The server has the app secret 'hush' (scripts/installcheck sets it).
CREATE SCHEMA webhook;
SET search_path = webhook, public;

\getenv here PG_ABS_SRCDIR
\set signed :here '/include/signed.sql'
\i :signed

-- A log that goes by the provider's id.
SELECT msgstatus.create_tables('webhook');
INSERT INTO messages (sid, provider) VALUES ('wamid.1', 'whatsapp'), ('wamid.2', 'whatsapp');
SELECT called_back(said('wamid.1', 'delivered', 1750030005) || ',' || said('wamid.1', 'sent') || ',' || said('wamid.3', 'read'));
SELECT called_back('{"id": "wamid.2", "status": "failed", "timestamp": "1750030009", "recipient_id": "1", "own": {"thing": [1]}, "errors":
    [{"code": 131049, "title": "Held back", "message": "Not sent", "error_data": {"details": "Too many"}}]}');
SELECT sid, provider, status, error_code, error_message, event_at, source, payload ->> 'own' AS own FROM delivery_log ORDER BY delivery_id;
SELECT sid, status, sent_at::time, delivered_at::time, failed_at::time, error_code FROM messages ORDER BY sid;
SELECT message_key, word FROM msgstatus.unmatched();
-- Nothing about a message's status is nothing to store.
SELECT msgstatus.whatsapp_callback(b, signature(b)) FROM (VALUES (body('')), ('{"entry": []}'::bytea),
    ('{"entry": [{"changes": [{"field": "messages", "value": {"messages": [{"id": "wamid.9", "type": "text"}]}}]}]}')) AS v(b);

-- Who is not Meta stores nothing, and is told so before anything else.
TRUNCATE delivery_log;
\set VERBOSITY default
SELECT msgstatus.whatsapp_callback(body(said('wamid.1', 'read')), signature(body(said('wamid.1', 'read')), 'rush'));
SELECT msgstatus.whatsapp_callback(body(said('wamid.1', 'read')), signature(body(said('wamid.1', 'sent'))));
SELECT msgstatus.whatsapp_callback('no JSON', 'sha256=');
SELECT msgstatus.whatsapp_callback('no JSON', NULL);
\set VERBOSITY sqlstate
SELECT msgstatus.whatsapp_callback(body(said('wamid.1', 'read')), upper(signature(body(said('wamid.1', 'read')), 'rush')), 'pg_class');
SELECT msgstatus.whatsapp_callback(NULL, 'sha256=00');
\set VERBOSITY default
-- What Meta signs and is no webhook of WhatsApp's.
SELECT msgstatus.whatsapp_callback('no JSON', signature('no JSON'));
SELECT msgstatus.whatsapp_callback('{"object": "page"}', signature('{"object": "page"}'));
SELECT called_back(said('wamid.1', 'read'), 'pg_class');
-- Twilio's needs credentials, which this server has none of.
SELECT msgstatus.twilio_callback('https://example.com', 'MessageSid=SM1&MessageStatus=sent&AccountSid=AC1', 'AAAA');
SELECT msgstatus.twilio_callback('https://example.com', 'MessageSid=SM1&MessageStatus=sent&AccountSid=AC1', NULL);
\set VERBOSITY terse
SELECT count(*) FROM delivery_log;

-- Whoever calls needs EXECUTE and nothing else: what is stored is stored with the rights of the log's owner.
CREATE ROLE regress_msgstatus_web;
GRANT USAGE ON SCHEMA webhook TO regress_msgstatus_web;
SET ROLE regress_msgstatus_web;
SELECT msgstatus.whatsapp_callback('', '');
SELECT msgstatus.twilio_callback('', '', '');
RESET ROLE;
GRANT EXECUTE ON FUNCTION msgstatus.whatsapp_callback(bytea, text, regclass) TO regress_msgstatus_web;
SET ROLE regress_msgstatus_web;
SELECT called_back(said('wamid.1', 'read'));
SELECT * FROM delivery_log;
RESET ROLE;
SELECT sid, status, source FROM delivery_log;

-- As PostgREST calls it: the body as the one unnamed argument, the headers in a setting.
CREATE FUNCTION whatsapp(bytea) RETURNS void LANGUAGE sql AS $$
SELECT msgstatus.whatsapp_callback($1, current_setting('request.headers', true)::json ->> 'x-hub-signature-256')
$$;
BEGIN;
SET LOCAL ROLE regress_msgstatus_web;
SELECT set_config('request.headers', json_build_object('host', 'example.com', 'x-hub-signature-256',
                  signature(body(said('wamid.2', 'sent'))))::text, true) <> '' AS headers;
PREPARE call AS SELECT whatsapp($1);
EXECUTE call (body(said('wamid.2', 'sent')));
COMMIT;
SELECT sid, status FROM delivery_log ORDER BY delivery_id;
BEGIN;
SET LOCAL ROLE regress_msgstatus_web;
SELECT set_config('request.headers', '{"host": "example.com"}', true);
EXECUTE call (body(said('wamid.2', 'sent')));
ROLLBACK;
DEALLOCATE call;
SELECT msgstatus.detach('messages', 'delivery_log');
DROP TABLE messages, delivery_log;

-- A log that goes by another key than the provider's id: the message is found by its SID.
CREATE TABLE messages (id bigint PRIMARY KEY, wamid varchar(100) UNIQUE, status msgstatus.delivery_status NOT NULL DEFAULT 'queued',
    sent_at timestamptz, delivered_at timestamptz, error_code text);
CREATE DOMAIN known AS text NOT NULL DEFAULT '';
CREATE TABLE log (log_id bigint GENERATED ALWAYS AS IDENTITY, message bigint NOT NULL REFERENCES messages, word text NOT NULL,
    code text NOT NULL DEFAULT '', error_message known, source text, said jsonb, event_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE INDEX ON log (message);
SELECT msgstatus.attach('messages', 'log', 'id', 'message', log_status => 'word', provider => 'whatsapp',
    columns => '{"sid": "wamid", "log.error_code": "code", "log.payload": "said", "log.delivery_id": "log_id"}');
INSERT INTO messages (id, wamid) VALUES (1, 'wamid.1'), (2, NULL);
SELECT called_back(said('wamid.1', 'sent') || ',' || said('wamid.1', 'delivered', 1750030005));
SELECT message, word, code, source, event_at FROM log ORDER BY log_id;
SELECT id, status, sent_at::time, delivered_at::time FROM messages ORDER BY id;

-- Before its message it waits, and goes into the log when a message is inserted, or gets its SID.
SELECT called_back(said('wamid.2', 'sent') || ',' || said('wamid.2', 'delivered', 1750030005) || ',' || said('wamid.3', 'read', 1750030007));
-- (Of these one has an error and one has none, for a column that is NOT NULL.)
SELECT called_back('{"id": "wamid.4", "status": "failed", "timestamp": "1", "errors": [{"code": 131049}]},' || said('wamid.1', 'read', 1750030008));
SELECT delivery_id, message_key, provider, word, event_at, error_code, error_message, source, created_at <= now() AS came FROM msgstatus.unmatched();
SELECT called_back('{"id": "wamid.1", "status": "failed", "timestamp": "1", "errors": [{"code": 131049}]},' || said('wamid.1', 'read', 1750030008));
SELECT count(*) FILTER (WHERE message = 1) AS found, count(*) FILTER (WHERE message <> 1) AS others FROM log;
UPDATE messages SET wamid = 'wamid.2' WHERE id = 2;
INSERT INTO messages (id, wamid) SELECT i, 'wamid.' || i FROM generate_series(3, 5) i;
SELECT id, status, sent_at::time, delivered_at::time, error_code FROM messages ORDER BY id;
SELECT message, word, code, source, said -> 'id' AS id, created_at < now() AS came_before FROM log WHERE message <> 1 ORDER BY log_id;
SELECT * FROM msgstatus.unmatched();
SELECT count(*) FROM msgstatus.waiting_callback;
SELECT * FROM msgstatus.verify();
-- A SID that stays as it is, or goes, brings nothing.
UPDATE messages SET wamid = wamid, status = status;
UPDATE messages SET wamid = NULL WHERE id = 5;
SELECT count(*) FROM log;

-- Both in one transaction, in either order, and a part of it that is undone.
BEGIN;
INSERT INTO messages (id, wamid) VALUES (6, 'wamid.6');
SELECT called_back(said('wamid.6', 'sent') || ',' || said('wamid.7', 'sent'));
INSERT INTO messages (id, wamid) VALUES (7, 'wamid.7');
SAVEPOINT part;
SELECT called_back(said('wamid.8', 'sent'));
ROLLBACK TO part;
INSERT INTO messages (id, wamid) VALUES (8, 'wamid.8');
COMMIT;
SELECT id, status FROM messages WHERE id > 5 ORDER BY id;

-- With the triggers off nothing is placed, until settle.
SELECT called_back(said('wamid.9', 'sent') || ',' || said('wamid.99', 'sent'));
ALTER TABLE messages DISABLE TRIGGER USER;
INSERT INTO messages (id, wamid) VALUES (9, 'wamid.9');
ALTER TABLE messages ENABLE TRIGGER USER;
SELECT status FROM messages WHERE id = 9;
SELECT msgstatus.settle();
SELECT status FROM messages WHERE id = 9;
SELECT message_key FROM msgstatus.unmatched();

-- What the log does not take goes on waiting; the message is stored all the same.
ALTER TABLE log ADD CONSTRAINT known CHECK (word <> 'warning');
SELECT called_back(said('wamid.10', 'warning') || ',' || said('wamid.11', 'delivered'));
INSERT INTO messages (id, wamid) VALUES (10, 'wamid.10'), (11, 'wamid.11');
SELECT id, status FROM messages WHERE id IN (10, 11) ORDER BY id;
SELECT message_key, word FROM msgstatus.unmatched();
SELECT msgstatus.settle();
ALTER TABLE log DROP CONSTRAINT known;
SELECT msgstatus.settle();
SELECT word FROM log WHERE message = 10;

-- Who may not read the log sees nothing that waits; nor who may see only some of its rows.
SET ROLE regress_msgstatus_web;
SELECT * FROM msgstatus.unmatched();
SELECT * FROM msgstatus.waiting_callback;
RESET ROLE;
GRANT SELECT ON messages, log TO regress_msgstatus_web;
SET ROLE regress_msgstatus_web;
SELECT message_key, word FROM msgstatus.unmatched();
RESET ROLE;
ALTER TABLE log ENABLE ROW LEVEL SECURITY;
SET ROLE regress_msgstatus_web;
SELECT message_key, word FROM msgstatus.unmatched();
RESET ROLE;
ALTER TABLE log DISABLE ROW LEVEL SECURITY;

-- It waits through a detach; a table that is dropped takes along what waits for it.
SELECT msgstatus.detach('messages', 'log');
SELECT msgstatus.attach('messages', 'log', 'id', 'message', log_status => 'word', provider => 'whatsapp',
    columns => '{"sid": "wamid", "log.error_code": "code", "log.payload": "said", "log.delivery_id": "log_id"}');
INSERT INTO messages (id, wamid) VALUES (99, 'wamid.99');
SELECT status FROM messages WHERE id = 99;
SELECT called_back(said('wamid.12', 'sent'));
DROP TABLE messages, log;
SELECT count(*) FROM msgstatus.waiting_callback;

-- Messages that are partitioned, and triggers on rows.
CREATE TABLE messages (id integer, wamid text, day integer NOT NULL, status msgstatus.delivery_status NOT NULL DEFAULT 'queued', PRIMARY KEY (id, day))
    PARTITION BY RANGE (day);
CREATE TABLE messages_1 PARTITION OF messages FOR VALUES FROM (1) TO (2);
CREATE TABLE messages_2 (wamid text, gone integer, id integer NOT NULL, day integer NOT NULL, status msgstatus.delivery_status NOT NULL DEFAULT 'queued');
ALTER TABLE messages_2 DROP COLUMN gone;
ALTER TABLE messages ATTACH PARTITION messages_2 FOR VALUES FROM (2) TO (3);
CREATE INDEX ON messages (wamid);
CREATE TABLE log (message integer NOT NULL, status msgstatus.delivery_status NOT NULL);
CREATE INDEX ON log (message);
SELECT msgstatus.attach('messages', 'log', 'id', 'message', provider => 'whatsapp', level => 'row', columns => '{"sid": "wamid"}');
SELECT called_back(said('a', 'sent') || ',' || said('b', 'read') || ',' || said('b', 'nonsense') || ',' || said('c', 'sent'));
INSERT INTO messages_2 (id, wamid, day) VALUES (1, 'a', 2);
INSERT INTO messages (id, wamid, day) VALUES (2, NULL, 1), (3, 'c', 1);
UPDATE messages SET wamid = 'b', day = 2 WHERE id = 2;
SELECT * FROM messages ORDER BY id;
SELECT * FROM log ORDER BY message;
-- A word that such a log can't hold is stored nowhere.
SELECT called_back(said('a', 'nonsense') || ',' || said('a', 'delivered'));
SELECT msgstatus.detach('messages', 'log');
DROP TABLE messages, log;

-- A SID that a collation takes for another is another. A column that is renamed is missed by callbacks, and by nothing else.
SELECT EXISTS (SELECT FROM pg_collation WHERE collname = 'und-x-icu') AS icu \gset
\if :icu
CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
\set any_case 'COLLATE any_case'
\else
\set any_case ''
\endif
CREATE TABLE messages (id bigint PRIMARY KEY, wamid text :any_case UNIQUE, status msgstatus.delivery_status NOT NULL DEFAULT 'queued');
CREATE TABLE log (id bigint, status text, note text UNIQUE DEFAULT 'once');
CREATE INDEX ON log (id);
SELECT msgstatus.attach('messages', 'log', 'id', 'id', provider => 'whatsapp', columns => '{"sid": "wamid"}');
INSERT INTO messages (id, wamid) VALUES (1, 'abc');
BEGIN;
SELECT called_back(said('ABC', 'sent') || ',' || said('abc', 'sent'));
COMMIT;
SELECT id, status FROM messages;
SELECT message_key FROM msgstatus.unmatched();
ALTER TABLE messages RENAME wamid TO whatsapp_id;
SELECT called_back(said('abc', 'read'));
INSERT INTO messages (id, whatsapp_id) VALUES (2, 'def');
-- Attached by the column itself: what waited goes into the log, as far as that takes it; here not two rows.
SELECT msgstatus.detach('messages', 'log');
SELECT called_back(said('abc', 'read'));
TRUNCATE log;
ALTER TABLE log ADD sid text :any_case;
CREATE INDEX ON log (sid);
INSERT INTO msgstatus.waiting_callback (messages, sid, provider, status) VALUES ('messages', 'def', 'whatsapp', 'delivered');
SELECT msgstatus.attach('messages', 'log', 'whatsapp_id', 'sid', provider => 'whatsapp', columns => '{"sid": null}');
SELECT sid, status FROM log;
SELECT count(*) FROM msgstatus.waiting_callback;
TRUNCATE log;
SELECT msgstatus.settle();
SELECT id, status FROM messages ORDER BY id;
SELECT message_key FROM msgstatus.unmatched();
-- Detached, and dropped.
INSERT INTO msgstatus.waiting_callback (messages, sid, provider, status) VALUES ('messages', 'ghi', 'whatsapp', 'delivered');
SELECT msgstatus.detach('messages', 'log');
DROP TABLE messages, log;
SELECT count(*) FROM msgstatus.waiting_callback;

-- Whose words a log holds that does not say so.
CREATE TABLE messages (sid text PRIMARY KEY, status msgstatus.delivery_status NOT NULL DEFAULT 'queued');
CREATE TABLE log (sid text, status text);
CREATE INDEX ON log (sid);
SELECT msgstatus.attach('messages', 'log');
\set VERBOSITY default
SELECT called_back(said('wamid.1', 'sent'));
-- Nobody said which of several tables: that is no fault of the request's.
SELECT msgstatus.create_tables('webhook', 'others', 'others_log');
\set VERBOSITY sqlstate
SELECT called_back(said('wamid.1', 'sent'));
SELECT called_back(said('wamid.1', 'sent'), 'others');
\set VERBOSITY terse
SELECT msgstatus.whatsapp_callback(convert_to(repeat(' ', 17000000), 'UTF8'), 'sha256=00');
DROP TABLE messages, log, others, others_log;

-- Without a column for the SID there is no way from a callback to its message.
CREATE TABLE messages (id bigint PRIMARY KEY, status msgstatus.delivery_status NOT NULL DEFAULT 'queued');
CREATE TABLE log (id bigint, status text);
CREATE INDEX ON log (id);
SELECT msgstatus.attach('messages', 'log', 'id', 'id', provider => 'whatsapp');
\set VERBOSITY default
SELECT called_back(said('wamid.1', 'sent'));
\set VERBOSITY terse

SET client_min_messages = warning;
DROP SCHEMA webhook CASCADE;
DROP OWNED BY regress_msgstatus_web;
DROP ROLE regress_msgstatus_web;
SELECT c.condition FROM pg_extension, unnest(extconfig, extcondition) AS c(t, condition)
 WHERE extname = 'msgstatus' AND t = 'msgstatus.waiting_callback'::regclass;
