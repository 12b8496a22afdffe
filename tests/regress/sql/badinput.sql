-- Whatever a callback says, its log row is stored and nothing is aborted.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
\pset format unaligned
CREATE SCHEMA badinput;
SET search_path = badinput;
SELECT msgstatus.create_tables('badinput');
CREATE VIEW messages_seen AS
    SELECT CASE WHEN length(sid) > 20 THEN md5(sid) ELSE sid END AS sid, status, status_at, sent_at, delivered_at, statuses_seen,
           CASE WHEN length(error_code) > 20 THEN md5(error_code) ELSE error_code END AS error_code, length(error_message) AS message_length
      FROM messages ORDER BY message_id;
INSERT INTO messages (sid) VALUES ('a'), ('b');

-- Words: unknown, empty, blank, long, in another script, numbers, quotes; one by one and together.
CREATE TABLE words (n integer GENERATED ALWAYS AS IDENTITY, word text);
INSERT INTO words (word) VALUES ('bounced'), (''), ('   '), (E'\n\t'), ('deliveredd'), ('delivere'), ('delivered;'), ('''delivered'''), ('"delivered"'), ('NULL'), ('null'),
    ('0'), ('-1'), ('delivered sent'), ('zugestellt'), ('доставлено'), ('送达'), (U&'\0627\0644'), ('🚀'), ('ＤＥＬＩＶＥＲＥＤ'), ('dèlivered'), (U&'deliver\200Bed'),
    ($$'; DROP TABLE messages; --$$), ('%s%n'), ('\'), (chr(1) || chr(127)), (repeat('delivered', 1000)), (repeat('x', 1000000)), ('delivery_unknown '), (' Sent ');
INSERT INTO delivery_log (sid, status) SELECT 'a', word FROM words;
DO $$
DECLARE
    w text;
BEGIN
    FOR w IN SELECT word FROM words ORDER BY n LOOP
        INSERT INTO delivery_log (sid, status) VALUES ('b', w);
    END LOOP;
END
$$;
SELECT count(*), count(delivery_status) AS understood FROM delivery_log;
SELECT sid, status FROM messages_seen;
SELECT sum(occurrences) FROM msgstatus.unrecognized();
SELECT msgstatus.apply_status('a', 'bounced'), msgstatus.apply_status('a', ''), msgstatus.apply_status('a', repeat('y', 100000));
SELECT msgstatus.apply_status('a', NULL);
SELECT msgstatus.apply_status(NULL, 'sent');
SELECT msgstatus.apply_status('', 'sent');
-- NULL is refused by the columns of create_tables, as any NOT NULL column does.
INSERT INTO delivery_log (sid, status) VALUES ('a', NULL);
INSERT INTO delivery_log (sid, status) VALUES (NULL, 'sent');
-- Own tables may take it.
CREATE TABLE m (sid text UNIQUE, status msgstatus.delivery_status, sent_at timestamptz);
CREATE TABLE l (sid text, provider text, status text, event_at timestamptz, created_at timestamptz DEFAULT now(), error_code text, error_message text, payload jsonb);
CREATE INDEX ON l (sid);
SELECT msgstatus.attach('m', 'l');
INSERT INTO m (sid) VALUES ('a'), (NULL), (NULL);
INSERT INTO l (sid, status) VALUES (NULL, NULL);
INSERT INTO l (sid, status) VALUES (NULL, 'sent');
INSERT INTO l (sid, status) VALUES ('a', NULL);
INSERT INTO l (sid, status, created_at) VALUES ('a', NULL, NULL), (NULL, 'sent', NULL), (NULL, NULL, NULL), ('a', 'sent', NULL);
INSERT INTO l DEFAULT VALUES;
INSERT INTO l (sid, status, event_at, created_at) VALUES ('a', 'sent', '2024-01-01 10:00+00', NULL);
SELECT sid, status, sent_at FROM m ORDER BY sid;
SELECT count(*) FROM l;
SELECT * FROM msgstatus.verify(messages => 'm');
SELECT message_key, word FROM msgstatus.unmatched('m');
SELECT provider, word FROM msgstatus.unrecognized('m');
SELECT msgstatus.detach('m', 'l');
DROP TABLE m, l;
TRUNCATE messages, delivery_log;

-- Providers that nobody knows are read as twilio.
INSERT INTO messages (sid) VALUES ('a'), ('b'), ('c'), ('d'), ('e');
INSERT INTO delivery_log (sid, provider, status) VALUES ('a', '', 'sent'), ('b', 'no such provider', 'sent'), ('c', NULL, 'sent'), ('d', repeat('twilio', 10000), 'delivered'), ('e', ' WhatsApp ', 'played');
INSERT INTO delivery_log (sid, provider, status) VALUES ('a', '💥', 'delivered');
SELECT sid, status FROM messages_seen;
TRUNCATE messages, delivery_log;

-- Times: the future counts as the time of arrival, the past as it is.
INSERT INTO messages (sid) SELECT 't' || g FROM generate_series(1, 7) g;
INSERT INTO delivery_log (sid, status, created_at, event_at) VALUES
    ('t1', 'delivered', '2024-01-01 10:00+00', '2999-12-31 00:00+00'),
    ('t2', 'delivered', '2024-01-01 10:00+00', 'infinity'),
    ('t3', 'delivered', '2024-01-01 10:00+00', '-infinity'),
    ('t4', 'delivered', '2024-01-01 10:00+00', '4713-01-01 00:00+00 BC'),
    ('t5', 'delivered', '2024-01-01 10:00+00', '0044-03-15 12:00+00 BC'),
    ('t6', 'delivered', 'infinity', NULL),
    ('t7', 'delivered', '-infinity', '2024-01-01 10:00+00');
INSERT INTO delivery_log (sid, status, created_at, event_at) VALUES ('t1', 'sent', '294276-12-31 23:59:59.999999+00', '294276-12-31 23:59:59.999999+00');
INSERT INTO delivery_log (sid, status, created_at, event_at) VALUES ('t3', 'failed', 'infinity', '-infinity');
SELECT * FROM messages_seen;
SELECT * FROM msgstatus.verify();
SELECT word, t, verdict FROM msgstatus.history('t3');
SELECT msgstatus.apply_status('t6', 'delivered', 'infinity') AS now_is_earlier, msgstatus.apply_status('t1', 'delivered', '-infinity') AS earlier, msgstatus.apply_status('t2', 'read', '3000-01-01');
SELECT status_at <= now() AS not_in_the_future FROM messages WHERE sid IN ('t2', 't6');
SELECT msgstatus.settle('100 years'), msgstatus.settle('-100 years'), msgstatus.settle('0'), msgstatus.rebuild('-1 day');
SELECT msgstatus.settle('178000000 years');
-- The same in a status map and in coarse columns: what is stored is what is folded, and once is enough.
CREATE TABLE mm (sid text UNIQUE, status msgstatus.delivery_status DEFAULT 'queued', status_at timestamp(0), status_map jsonb);
SELECT msgstatus.attach('mm', 'delivery_log');
INSERT INTO mm (sid) SELECT sid FROM messages;
SELECT count(*) FROM msgstatus.verify(messages => 'mm');
CREATE TABLE tids AS SELECT ctid AS tid, sid FROM mm;
INSERT INTO delivery_log (sid, status, created_at, event_at) SELECT sid, status, created_at, event_at FROM delivery_log;
SELECT count(*) AS rewritten FROM tids t JOIN mm m USING (sid) WHERE m.ctid <> t.tid;
SELECT msgstatus.rebuild(messages => 'mm');
SELECT sid, status, status_at FROM mm WHERE sid IN ('t3', 't4', 't5') ORDER BY sid;
UPDATE mm SET status_map = NULL, status = 'queued';
UPDATE mm SET status_map = '"no object"', status_at = 'infinity' WHERE sid = 't1';
UPDATE mm SET status_map = '{"sent": null, "delivered": 7, "read": {"at": 1}, "failed": "2024-99-99T00:00:00Z", "canceled": "20240101"}' WHERE sid = 't2';
INSERT INTO mm VALUES ('t8', 'read', NULL, '[1, 2]');
SELECT sid, status FROM mm ORDER BY sid;
SELECT msgstatus.detach('mm', 'delivery_log');
DROP TABLE mm;
TRUNCATE messages, delivery_log;

-- Keys: empty, blank, of 8000 random characters (which a btree would refuse in the log), in every script.
CREATE FUNCTION noise(seed integer, length integer) RETURNS text LANGUAGE sql AS $$
    SELECT left(string_agg(md5(seed || ' ' || g), ''), length) FROM generate_series(1, length / 32 + 1) g
$$;
INSERT INTO messages (sid) VALUES (''), (' '), ('🚀'), (E'\\'), (''''), ('"'), (noise(1, 2000));
INSERT INTO delivery_log (sid, status) VALUES ('', 'sent');
INSERT INTO delivery_log (sid, status) VALUES (' ', 'sent'), ('🚀', 'delivered'), (E'\\', 'sent'), ('''', 'sent'), ('"', 'sent'), (noise(1, 2000), 'delivered'),
    (noise(2, 8000), 'delivered'), (noise(3, 8000), 'sent'), ('a' || chr(1), 'sent');
INSERT INTO delivery_log (sid, status) VALUES (noise(4, 8000), 'read');
INSERT INTO delivery_log (sid, status) VALUES (noise(1, 2000), 'read');
SELECT sid, status FROM messages_seen;
SELECT length(message_key), word FROM msgstatus.unmatched() ORDER BY 1, 2;
SELECT * FROM msgstatus.verify();
SELECT count(*) FROM msgstatus.history(noise(4, 8000));
SELECT msgstatus.apply_status(noise(5, 8000), 'sent');
SELECT msgstatus.settle();
TRUNCATE messages, delivery_log;

-- Ten megabytes of payload, of error message, of word; in one row and in several.
INSERT INTO messages (sid) VALUES ('big'), ('big2');
-- Compressing noise takes long and is PostgreSQL's business.
ALTER TABLE messages ALTER error_message SET STORAGE EXTERNAL;
ALTER TABLE delivery_log ALTER error_message SET STORAGE EXTERNAL, ALTER payload SET STORAGE EXTERNAL, ALTER status SET STORAGE EXTERNAL;
CREATE TABLE big AS SELECT left(string_agg(md5(g::text), ''), 10 * 1024 * 1024) AS text FROM generate_series(1, 330000) g;
INSERT INTO delivery_log (sid, status, payload) VALUES ('big', 'sent', jsonb_build_object('x', repeat('x', 10 * 1024 * 1024)));
INSERT INTO delivery_log (sid, status, payload, error_message) SELECT s, 'failed', to_jsonb(text), text FROM big, unnest(ARRAY['big', 'big2']) s;
INSERT INTO delivery_log (sid, status) SELECT 'big2', text FROM big;
SELECT sid, status, md5(error_message) = md5(text) AS whole FROM messages, big ORDER BY sid;
SELECT count(*), min(length(payload::text)) FROM delivery_log;
SELECT length(error_message), verdict FROM msgstatus.history('big');
SELECT * FROM msgstatus.verify();
SELECT msgstatus.apply_status('big', 'failed', error_message => 'x' || text, payload => to_jsonb(text)) FROM big;
TRUNCATE messages, delivery_log;

-- Garbage in every text column, through COPY and INSERT.
INSERT INTO messages (sid) VALUES ('a'), ('b'), ('c');
COPY delivery_log (sid, provider, status, error_code, error_message, event_at, source, payload) FROM stdin (FORMAT csv, NULL 'NULL');
a,twilio,sent,,,2024-01-01 10:00+00,callback,{}
a,,"",,,NULL,"",NULL
b,"'","""","\","

",infinity,"%",[]
b,NULL,delivered,NULL,NULL,-infinity,callback,"""text"""
c,💥,💥,💥,💥,2024-01-01 10:00+00,💥,"{""💥"": ""💥""}"
"",twilio,failed,code,message,NULL,callback,null
c,aws,TEXT_CARRIER_UNREACHABLE,"  30003  ",'; DROP TABLE messages; --,2024-01-01 10:00+00,callback,NULL
nobody,twilio,read,,,NULL,callback,NULL
c,twilio,bounced,9,nine,2023-01-01 10:00+00,callback,NULL
\.
SELECT count(*) FROM delivery_log;
SELECT sid, status, sent_at, error_code, error_message FROM messages ORDER BY sid;
SELECT * FROM msgstatus.verify();
SELECT provider, word, occurrences FROM msgstatus.unrecognized() ORDER BY provider COLLATE "C", word COLLATE "C";
SELECT message_key, word FROM msgstatus.unmatched() ORDER BY 1;
-- What COPY itself can't read is COPY's to refuse, and leaves nothing behind.
COPY delivery_log (sid, status, event_at) FROM stdin;
a	delivered	\N
a	delivered	the day before yesterday
\.
SELECT sid, status FROM messages WHERE sid = 'a';
-- Many at once: random rows of every kind.
TRUNCATE messages, delivery_log;
SELECT setseed(0.5) IS NULL;
INSERT INTO messages (sid) SELECT 'k' || g FROM generate_series(1, 500) g;
CREATE TABLE garbage AS
    SELECT 'k' || (random() * 600)::integer AS sid,
           (ARRAY['twilio', 'whatsapp', 'aws', '', NULL, 'x'])[1 + (random() * 5)::integer] AS provider,
           (ARRAY['sent', 'delivered', 'failed', 'READ', 'text_sent', '', 'x', 'undelivered ', 'played', noise(g, 40)])[1 + (random() * 9)::integer] AS status,
           CASE WHEN random() < 0.3 THEN noise(g + 1, (random() * 100)::integer) END AS error_code,
           CASE WHEN random() < 0.3 THEN noise(g + 2, (random() * 1000)::integer) END AS error_message,
           CASE WHEN random() < 0.5 THEN timestamptz '2024-01-01' + random() * interval '10 days' WHEN random() < 0.1 THEN 'infinity' WHEN random() < 0.1 THEN '-infinity' END AS event_at
      FROM generate_series(1, 5000) g;
INSERT INTO delivery_log (sid, provider, status, error_code, error_message, event_at) TABLE garbage;
SELECT count(*) FROM delivery_log;
SELECT * FROM msgstatus.verify();
SELECT msgstatus.settle(), msgstatus.rebuild();

-- The last moment there is, in columns that round it to one that there is not.
CREATE TABLE last_m (sid text UNIQUE, status msgstatus.delivery_status DEFAULT 'queued', status_at timestamptz(0), sent_at timestamp(0), delivered_at timestamptz);
CREATE TABLE last_l (sid text, status text, event_at timestamp(0), created_at timestamptz(0));
CREATE INDEX ON last_l (sid);
SELECT msgstatus.attach('last_m', 'last_l');
INSERT INTO last_l VALUES ('a', 'sent', '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999999Z'), ('a', 'delivered', NULL, '294276-12-31 23:59:59.999999Z');
INSERT INTO last_m (sid) VALUES ('a'), ('b');
INSERT INTO last_l VALUES ('b', 'sent', '294276-12-31 23:59:59.999999', 'infinity');
INSERT INTO last_l VALUES ('b', 'delivered', 'infinity', '294276-12-31 23:59:59.999999Z');
SELECT * FROM last_m ORDER BY sid;
SELECT * FROM msgstatus.verify(messages => 'last_m');
SELECT msgstatus.settle(NULL);
DROP TABLE last_m, last_l;
DROP SCHEMA badinput CASCADE;
