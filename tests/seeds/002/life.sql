-- The life of the adopted tables. Every callback comes by the webhook's statement, in its wrapper.
PREPARE statuses(jsonb) AS
INSERT INTO message_status_log (bsp_msg_id, status, event_at, error_code, error_message, payload)
SELECT s->>'id', s->>'status',
       CASE WHEN s->>'timestamp' ~ '^\d{1,11}(\.\d+)?$' THEN to_timestamp((s->>'timestamp')::double precision) END,
       s->'errors'->0->>'code',
       nullif(concat_ws(': ', s->'errors'->0->>'title', s->'errors'->0->'error_data'->>'details'), ''),
       s
  FROM jsonb_path_query(convert_from(decode($1->'message'->>'data', 'base64'), 'UTF8')::jsonb,
                        '$.entry[*].changes[*].value.statuses[*]') AS s;

\echo 'The manual test of the old document, in a session of another zone'
SET timezone = 'Asia/Kolkata';
SET datestyle = 'SQL, DMY';
INSERT INTO message_logs (bsp_msg_id, to_phone, created_at) VALUES ('test_message_001', '+919876543210', '2023-10-03T10:39:50Z');
EXECUTE statuses('{"message": {"data": "'
'ewogICAgICAgICJvYmplY3QiOiAid2hhdHNhcHBfYnVzaW5lc3NfYWNjb3VudCIsCiAgICAgICAgImVudHJ5IjogW3sKICAgICAg'
'ICAgICJpZCI6ICJ5b3VyX2J1c2luZXNzX2FjY291bnRfaWQiLAogICAgICAgICAgImNoYW5nZXMiOiBbewogICAgICAgICAgICAi'
'ZmllbGQiOiAibWVzc2FnZXMiLAogICAgICAgICAgICAidmFsdWUiOiB7CiAgICAgICAgICAgICAgInN0YXR1c2VzIjogW3sKICAg'
'ICAgICAgICAgICAgICJpZCI6ICJ0ZXN0X21lc3NhZ2VfMDAxIiwKICAgICAgICAgICAgICAgICJzdGF0dXMiOiAiZGVsaXZlcmVk'
'IiwKICAgICAgICAgICAgICAgICJ0aW1lc3RhbXAiOiAiMTY5NjMyOTYwMCIsCiAgICAgICAgICAgICAgICAicmVjaXBpZW50X2lk'
'IjogIjkxOTg3NjU0MzIxMCIKICAgICAgICAgICAgICB9XQogICAgICAgICAgICB9CiAgICAgICAgICB9XQogICAgICAgIH1dCiAg'
'ICAgIH0K"}}');
SELECT * FROM broadcasts_messages WHERE message_id = 'test_message_001';
RESET timezone;
RESET datestyle;

-- A post as Meta makes it, in the push wrapper: the statuses, as [id, status, seconds after a start] or whole.
CREATE FUNCTION post(statuses jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('message', jsonb_build_object('data', encode(convert_to(jsonb_build_object(
               'object', 'whatsapp_business_account', 'entry', jsonb_build_array(jsonb_build_object(
               'id', 'a', 'changes', jsonb_build_array(jsonb_build_object('field', 'messages', 'value', jsonb_build_object(
               'messaging_product', 'whatsapp', 'statuses', jsonb_agg(CASE jsonb_typeof(s) WHEN 'array' THEN
                   jsonb_build_object('id', s->0, 'status', s->1, 'timestamp', (1730000000 + (s->>2)::integer)::text,
                                      'recipient_id', '919876543210') ELSE s END)))))))::text, 'UTF8'), 'base64')))
      FROM jsonb_array_elements(statuses) AS s
$$;

\echo 'The late "sent" of the same message, whose time the document has: UTC, and no fraction'
EXECUTE statuses(post('[{"id": "test_message_001", "status": "sent", "timestamp": "1696329595"}]'));
SELECT whatsapp_status = '{"sent": "2023-10-03T10:39:55Z", "delivered": "2023-10-03T10:40:00Z"}' AS as_expected
  FROM message_logs WHERE bsp_msg_id = 'test_message_001';

\echo 'Step 4 of the document: sent, delivered, read, each in a post of its own'
INSERT INTO message_logs (bsp_msg_id, to_phone, created_at) VALUES ('wamid.HBgMOTE4...', '+919876543210', '2024-10-03T10:29:58Z');
EXECUTE statuses(post('[{"id": "wamid.HBgMOTE4...", "status": "sent", "timestamp": "1727951400"}]'));
SELECT status, whatsapp_status FROM message_logs WHERE bsp_msg_id = 'wamid.HBgMOTE4...';
EXECUTE statuses(post('[{"id": "wamid.HBgMOTE4...", "status": "delivered", "timestamp": "1727951405"}]'));
SELECT status, whatsapp_status FROM message_logs WHERE bsp_msg_id = 'wamid.HBgMOTE4...';
EXECUTE statuses(post('[{"id": "wamid.HBgMOTE4...", "status": "read", "timestamp": "1727951460"}]'));
SELECT to_jsonb(x) = '{
     "bsp_msg_id": "wamid.HBgMOTE4...",
     "to_phone": "+919876543210",
     "whatsapp_status": {
       "sent": "2024-10-03T10:30:00Z",
       "delivered": "2024-10-03T10:30:05Z",
       "read": "2024-10-03T10:31:00Z"
     }
   }' AS as_expected
  FROM (SELECT bsp_msg_id, to_phone, whatsapp_status FROM message_logs WHERE bsp_msg_id = 'wamid.HBgMOTE4...') AS x;

\echo '"read" without "delivered" implies it; the real one, when it comes late, corrects it'
INSERT INTO message_logs (bsp_msg_id, to_phone) VALUES ('wamid.10', '+919876543210');
EXECUTE statuses(post('[["wamid.10", "sent", 0], ["wamid.10", "read", 60]]'));
SELECT whatsapp_status FROM message_logs WHERE bsp_msg_id = 'wamid.10';
EXECUTE statuses(post('[["wamid.10", "delivered", 5]]'));
SELECT whatsapp_status FROM message_logs WHERE bsp_msg_id = 'wamid.10';

\echo 'Callbacks in every order, each in a post of its own: every message ends up the same'
CREATE TABLE event (n integer, status jsonb);
INSERT INTO event VALUES (1, '{"status": "sent", "timestamp": "1730000001"}'), (2, '{"status": "delivered", "timestamp": "1730000002"}'),
    (3, '{"status": "read", "timestamp": "1730000003"}'), (5, '{"status": "deleted", "timestamp": "1730000005"}'),
    (4, '{"status": "failed", "timestamp": "1730000004", "errors": [{"code": 131047, "title": "Re-engagement message",
         "error_data": {"details": "More than 24 hours have passed"}}]}');
CREATE TABLE ordering AS
WITH RECURSIVE o(seen) AS (
    SELECT ARRAY[]::integer[]
    UNION ALL
    SELECT o.seen || e.n FROM o JOIN event e ON e.n <> ALL (o.seen)
)
SELECT array_to_string(seen, '') AS id, seen FROM o WHERE cardinality(seen) = 5;
INSERT INTO message_logs (bsp_msg_id, message) SELECT kind || id, kind FROM ordering, unnest('{one,all,half}'::text[]) AS kind;
DO $$
DECLARE
    m record;
BEGIN
    FOR m IN SELECT o.id, e.status FROM ordering o, unnest(o.seen) WITH ORDINALITY AS u(n, place) JOIN event e USING (n) ORDER BY id, place LOOP
        EXECUTE format('EXECUTE statuses(%L)', post(jsonb_build_array(m.status || jsonb_build_object('id', 'one' || m.id))));
    END LOOP;
    -- For others, all of a message in one post,
    FOR m IN SELECT o.id, jsonb_agg(e.status || jsonb_build_object('id', 'all' || o.id) ORDER BY place) AS statuses
               FROM ordering o, unnest(o.seen) WITH ORDINALITY AS u(n, place) JOIN event e USING (n) GROUP BY o.id ORDER BY o.id LOOP
        EXECUTE format('EXECUTE statuses(%L)', post(m.statuses));
    END LOOP;
    -- and for others, the first two of every message in one post and the rest in another.
    FOR m IN SELECT jsonb_agg(e.status || jsonb_build_object('id', 'half' || o.id) ORDER BY o.id, place) AS statuses
               FROM ordering o, unnest(o.seen) WITH ORDINALITY AS u(n, place) JOIN event e USING (n) GROUP BY place > 2 ORDER BY place > 2 LOOP
        EXECUTE format('EXECUTE statuses(%L)', post(m.statuses));
    END LOOP;
END
$$;
\x on
SELECT count(*), message, status, status_at, sent_at, delivered_at, read_at, failed_at, error_code, error_message, whatsapp_status
  FROM message_logs WHERE message IN ('one', 'all', 'half') GROUP BY 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 ORDER BY message;
\x off

\echo 'All of them once more, and later: every repeated status is kept, and nothing moves'
CREATE TABLE was AS SELECT * FROM message_logs;
INSERT INTO message_status_log (bsp_msg_id, status, event_at, payload)
SELECT bsp_msg_id, status, event_at + interval '1 minute', payload FROM message_status_log
 WHERE bsp_msg_id IN (SELECT bsp_msg_id FROM message_logs WHERE message IN ('one', 'all', 'half'));
SELECT count(*) AS log_rows FROM message_status_log WHERE bsp_msg_id ~ '^(one|all|half)';
SELECT count(*) AS rows_changed FROM (TABLE message_logs EXCEPT TABLE was) AS changed;
SELECT count(*) AS differences FROM msgstatus.verify();
DELETE FROM message_logs WHERE message IN ('one', 'all', 'half');
DELETE FROM message_status_log WHERE bsp_msg_id ~ '^(one|all|half)';
DROP TABLE was, event, ordering;

\echo 'One post, one statement: several messages, several entries and changes, several statuses of one message'
INSERT INTO message_logs (bsp_msg_id, to_phone) VALUES ('wamid.11', '+919876543211'), ('wamid.12', '+919876543212'), ('wamid.13', '+919876543213');
EXECUTE statuses(jsonb_build_object('message', jsonb_build_object('data', encode(convert_to('{
    "entry": [{"changes": [{"value": {"statuses": [{"id": "wamid.11", "status": "delivered", "timestamp": 1730000011},
                                                   {"id": "wamid.12", "status": "sent", "timestamp": "1730000012.5"}]}},
                           {"value": {"messages": [{"from": "919876543210", "text": {"body": "Thanks!"}}]}},
                           {"value": {"statuses": [{"id": "wamid.11", "status": "sent", "timestamp": "1730000010"}]}}]},
              {"changes": [{"value": {"statuses": [{"id": "wamid.13", "status": "played", "timestamp": "1730000013"}]}}]}]}',
    'UTF8'), 'base64'))));
SELECT bsp_msg_id, status, whatsapp_status FROM message_logs WHERE bsp_msg_id IN ('wamid.11', 'wamid.12', 'wamid.13') ORDER BY 1;

\echo 'Posts without statuses write nothing: a message of a user, an empty list, another object'
SELECT count(*) AS log_rows FROM message_status_log \gset before_
EXECUTE statuses(jsonb_build_object('message', jsonb_build_object('data', encode('{"entry": [{"changes": [{"value": {"messages": []}}]}]}', 'base64'))));
EXECUTE statuses(jsonb_build_object('message', jsonb_build_object('data', encode('{"entry": [{"changes": [{"value": {"statuses": []}}]}]}', 'base64'))));
EXECUTE statuses(jsonb_build_object('message', jsonb_build_object('data', encode('{"entry": 7}', 'base64'))));
EXECUTE statuses('{"ping": true}');
SELECT count(*) - :before_log_rows AS written FROM message_status_log;

\echo 'Invalid statuses are kept for whoever looks, change nothing, and do not harm those beside them'
EXECUTE statuses(post('[{"id": "wamid.11", "timestamp": "1730000020"}, {"status": "read", "timestamp": "1730000020"}, "nonsense", null,
    {"id": "wamid.11", "status": "warning", "timestamp": "1730000020"}, {"id": "wamid.11", "status": 3, "timestamp": "1730000020"},
    {"id": "wamid.12", "status": "delivered", "timestamp": "1730000020"}]'));
SELECT bsp_msg_id, status, event_at FROM message_status_log
 WHERE bsp_msg_id IS NULL OR status IS NULL OR msgstatus.parse_status(status, 'whatsapp') IS NULL ORDER BY id;
SELECT word, occurrences FROM msgstatus.unrecognized() ORDER BY word;
SELECT bsp_msg_id, status, whatsapp_status FROM message_logs WHERE bsp_msg_id IN ('wamid.11', 'wamid.12') ORDER BY 1;
\echo 'A time that is none: the time of arrival counts'
EXECUTE statuses(post('[{"id": "wamid.11", "status": "read", "timestamp": "soon"}]'));
SELECT m.status, m.read_at = l.created_at AS at_arrival, (whatsapp_status->>'read')::timestamptz = read_at AS in_the_map
  FROM message_logs m JOIN message_status_log l USING (bsp_msg_id) WHERE bsp_msg_id = 'wamid.11' AND l.status = 'read';
\echo 'What is no JSON is refused, for the handler to answer with an error: it is posted again'
DO $$
BEGIN
    EXECUTE format('EXECUTE statuses(%L)', '{"message": {"data": "bm8ganNvbg=="}}');
EXCEPTION WHEN invalid_text_representation THEN
    RAISE NOTICE 'refused';
END
$$;

\echo 'Callbacks before their message: of one that is inserted later, and of one that gets its id later'
EXECUTE statuses(post('[["wamid.20", "delivered", 2], ["wamid.20", "sent", 1], ["wamid.21", "read", 3]]'));
SELECT message_key, word, event_at FROM msgstatus.unmatched() ORDER BY event_at;
INSERT INTO message_logs (bsp_msg_id, to_phone) VALUES ('wamid.20', '+919876543210'), (NULL, '+919876543219');
UPDATE message_logs SET bsp_msg_id = 'wamid.21' WHERE to_phone = '+919876543219';
SELECT bsp_msg_id, status, whatsapp_status FROM message_logs WHERE bsp_msg_id IN ('wamid.20', 'wamid.21') ORDER BY 1;
SELECT count(*) AS waiting FROM msgstatus.unmatched();

\echo 'Failures: alone, behind a delivery, and a message that was deleted; other keys of the map are yours'
INSERT INTO message_logs (bsp_msg_id, to_phone, whatsapp_status) VALUES ('wamid.30', '+911234567890', NULL),
    ('wamid.31', '+919876543210', '{"campaign": "diwali", "retries": 2}'), ('wamid.32', '+919876543211', '{}');
EXECUTE statuses(post('[{"id": "wamid.30", "status": "failed", "timestamp": "1730000030", "errors": [{"code": 131026, "title": "Message undeliverable"}]},
    ["wamid.31", "delivered", 31], ["wamid.32", "sent", 32]]'));
EXECUTE statuses(post('[{"id": "wamid.31", "status": "failed", "timestamp": "1730000033", "errors": [{"code": 131049, "title": "Healthy ecosystem"}]},
    ["wamid.32", "deleted", 34]]'));
\x on
SELECT bsp_msg_id, status, failed_at, error_code, error_message, whatsapp_status
  FROM message_logs WHERE bsp_msg_id IN ('wamid.30', 'wamid.31', 'wamid.32') ORDER BY 1;
\x off
SELECT word, verdict, status_after, error_code FROM msgstatus.history('wamid.31');

\echo 'The old worker still runs for a while: it writes a map that it read before, with a local time. Nothing is lost'
UPDATE message_logs SET whatsapp_status = '{"sent": "2024-10-27T09:03:30Z"}' WHERE bsp_msg_id = 'wamid.10' RETURNING status, whatsapp_status;
UPDATE message_logs SET whatsapp_status = NULL WHERE bsp_msg_id = 'wamid.10' RETURNING status, whatsapp_status;

\echo 'What it adds to a map is seen in the columns, and moves the status when it is fetched into the log'
EXECUTE statuses(post('[["wamid.40", "sent", 40]]'));
INSERT INTO message_logs (bsp_msg_id, to_phone) VALUES ('wamid.40', '+919876543211');
UPDATE message_logs SET whatsapp_status = '{"sent": "2024-10-27T03:34:00Z", "read": "2024-10-27T03:35:00Z"}'
 WHERE bsp_msg_id = 'wamid.40' RETURNING status, sent_at, read_at, whatsapp_status;
INSERT INTO message_status_log (bsp_msg_id, status, event_at, source)
SELECT bsp_msg_id, key, value::timestamptz, 'manual'
  FROM message_logs m, jsonb_each_text(whatsapp_status)
 WHERE bsp_msg_id IS NOT NULL
   AND msgstatus.rank(msgstatus.parse_status(key, 'whatsapp')) > coalesce(msgstatus.rank(status), 0);
SELECT status, sent_at, delivered_at, read_at, whatsapp_status FROM message_logs WHERE bsp_msg_id = 'wamid.40';
SELECT bsp_msg_id, status FROM message_status_log WHERE source = 'manual' AND created_at > '2024-11-01';

\echo 'When nothing reads the map any more: the columns alone do'
BEGIN;
SELECT msgstatus.detach('message_logs', 'message_status_log') \g /dev/null
DROP VIEW broadcasts_messages;
ALTER TABLE message_logs DROP COLUMN whatsapp_status;
SELECT msgstatus.attach('message_logs', 'message_status_log', message_key => 'bsp_msg_id', log_key => 'bsp_msg_id',
                        provider => 'whatsapp', columns => '{"log.delivery_id": "id"}') \g /dev/null
EXECUTE statuses(post('[["wamid.12", "read", 50]]'));
SELECT status, sent_at, delivered_at, read_at FROM message_logs WHERE bsp_msg_id = 'wamid.12';
SELECT count(*) AS differences FROM msgstatus.verify();
ROLLBACK;

\echo 'What has to hold of every message: map and columns agree, all times are UTC with a Z, and the log says the same'
SELECT count(*) AS messages,
       count(*) FILTER (WHERE ((whatsapp_status->>'sent')::timestamptz, (whatsapp_status->>'delivered')::timestamptz,
                               (whatsapp_status->>'read')::timestamptz, (whatsapp_status->>'failed')::timestamptz)
                       IS DISTINCT FROM (sent_at, delivered_at, read_at, failed_at)) AS disagree,
       count(*) FILTER (WHERE whatsapp_status ? 'read' AND NOT whatsapp_status ? 'delivered') AS read_and_not_delivered,
       count(*) FILTER (WHERE (whatsapp_status ? 'read') <> coalesce(status = 'read', false)) AS read_by_one_form_only
  FROM message_logs;
SELECT count(*) AS not_in_utc FROM message_logs, jsonb_each_text(whatsapp_status)
 WHERE key IN ('sent', 'delivered', 'read', 'failed', 'canceled') AND value !~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$';
SELECT count(*) AS differences FROM msgstatus.verify();
DROP FUNCTION post(jsonb);
