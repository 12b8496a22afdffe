\echo 'The queries of the old document, as they were'
SELECT COUNT(*)
FROM sms_message_audit
WHERE twilio_message_sid IS NOT NULL
  AND final_status = false
  AND status_check_count < 20;
SELECT twilio_status, COUNT(*)
FROM sms_message_audit
GROUP BY twilio_status
ORDER BY COUNT(*) DESC;
SELECT *
FROM sms_message_audit
WHERE twilio_message_sid IS NOT NULL
  AND final_status = false
  AND status_check_count >= 10
  AND sent_at < now() - interval '1 hour'
\gset
\echo :twilio_message_sid :twilio_status :status_check_count

\echo 'Batch breakdown, by the function that was there'
SELECT * FROM get_batch_status_breakdown('00000000-0000-0000-0000-00000000000b');

\echo 'Terminal or not, for each status of the old table: final_status says the same'
CREATE TABLE lifecycle (status text, terminal boolean);
INSERT INTO lifecycle VALUES ('queued', false), ('sending', false), ('sent', false), ('delivered', true), ('undelivered', true),
    ('failed', true), ('canceled', true);
INSERT INTO sms_message_audit (batch_id, to_phone, from_phone, twilio_message_sid, twilio_status)
SELECT '00000000-0000-0000-0000-0000000000a1', '+15550001000', '+15559876543', 'SMt' || status, NULL FROM lifecycle;
INSERT INTO sms_status_log (twilio_message_sid, status) SELECT 'SMt' || status, status FROM lifecycle;
SELECT l.status, m.twilio_status, m.final_status, m.status_check_count
  FROM lifecycle l JOIN sms_message_audit m ON m.twilio_message_sid = 'SMt' || l.status
 WHERE m.twilio_status::text <> l.status OR m.final_status <> l.terminal OR m.status_check_count <> 1;

\echo 'Answers and callbacks in every order: one outcome, and as many checks as answers'
CREATE TABLE event (n integer, status text, source text, at interval);
INSERT INTO event VALUES (1, 'queued', 'poll', '1 second'), (2, 'sent', 'callback', '2 seconds'), (3, 'sent', 'poll', '3 seconds'),
    (4, 'delivered', 'callback', '4 seconds'), (5, 'undelivered', 'poll', '5 seconds');
CREATE TABLE ordering AS
WITH RECURSIVE o(seen) AS (
    SELECT ARRAY[]::integer[]
    UNION ALL
    SELECT o.seen || e.n FROM o JOIN event e ON e.n <> ALL (o.seen)
)
SELECT 'SMo' || row_number() OVER (ORDER BY seen) AS sid, seen FROM o WHERE cardinality(seen) = 5;
INSERT INTO sms_message_audit (batch_id, to_phone, from_phone, twilio_message_sid, sent_at)
SELECT '00000000-0000-0000-0000-0000000000a2', '+15550001000', '+15559876543', sid, '2025-10-28 13:00:00+00' FROM ordering;
DO $$
DECLARE
    m record;
    i integer;
BEGIN
    FOR m IN SELECT * FROM ordering ORDER BY sid LOOP
        FOREACH i IN ARRAY m.seen LOOP
            INSERT INTO sms_status_log (twilio_message_sid, status, source, created_at)
            SELECT m.sid, status, source, timestamptz '2025-10-28 13:00:00+00' + at FROM event WHERE n = i;
        END LOOP;
    END LOOP;
END
$$;
SELECT count(*) AS messages, twilio_status, final_status, status_check_count AS checks, last_status_check::time AS last,
       delivered_at::time, failed_at::time
  FROM sms_message_audit WHERE batch_id = '00000000-0000-0000-0000-0000000000a2' GROUP BY 2, 3, 4, 5, 6, 7;
\echo 'All answers of a round in one statement, with two of the same message among them'
INSERT INTO sms_status_log (twilio_message_sid, status, created_at)
SELECT sid, 'delivered', timestamptz '2025-10-28 14:00:00+00' FROM ordering
UNION ALL SELECT 'SMo1', 'sent', '2025-10-28 14:00:01+00';
SELECT twilio_status, status_check_count AS checks, last_status_check::time AS last, count(*)
  FROM sms_message_audit WHERE batch_id = '00000000-0000-0000-0000-0000000000a2' GROUP BY 1, 2, 3 ORDER BY 4;
SELECT count(*) AS differences FROM msgstatus.verify();
SELECT msgstatus.rebuild() AS rewritten;
SELECT sum(status_check_count) AS checks FROM sms_message_audit WHERE batch_id = '00000000-0000-0000-0000-0000000000a2';

\echo 'final_status can not be talked out of it, and is false before there is a status'
UPDATE sms_message_audit SET final_status = false WHERE twilio_message_sid = 'SM0001' RETURNING twilio_status, final_status;
INSERT INTO sms_message_audit (to_phone, from_phone) VALUES ('+15550001000', '+15559876543') RETURNING twilio_status, final_status;

\echo 'After 20 checks, nobody asks any more; an answer that comes all the same counts'
SELECT sid FROM msgstatus.due(1000, 20) WHERE sid = 'SM0051';
SELECT sid FROM msgstatus.due(1000, 21) WHERE sid = 'SM0051';
INSERT INTO sms_status_log (twilio_message_sid, status, created_at) VALUES ('SM0051', 'delivered', '2025-10-28 17:00:00+00');
SELECT twilio_status, final_status, status_check_count FROM sms_message_audit WHERE twilio_message_sid = 'SM0051';

\echo 'No SID, nothing to ask about'
SELECT count(*) FROM msgstatus.due(1000) WHERE sid IS NULL;

\echo 'An answer that Twilio does not have a word for is kept, and no check'
INSERT INTO sms_status_log (twilio_message_sid, status) VALUES ('SM0053', 'Too many requests');
SELECT twilio_status, status_check_count FROM sms_message_audit WHERE twilio_message_sid = 'SM0053';
SELECT word, occurrences FROM msgstatus.unrecognized();
DELETE FROM sms_status_log WHERE status = 'Too many requests';

\echo 'A message that Twilio knows and the table does not'
INSERT INTO sms_status_log (twilio_message_sid, status) VALUES ('SMother', 'sent');
SELECT message_key, word, source FROM msgstatus.unmatched();
DELETE FROM sms_status_log WHERE twilio_message_sid = 'SMother';

DELETE FROM sms_message_audit WHERE batch_id::text LIKE '%a_' OR to_phone = '+15550001000';
DELETE FROM sms_status_log WHERE twilio_message_sid LIKE 'SMo%' OR twilio_message_sid LIKE 'SMt%';
DROP TABLE event, ordering, lifecycle;
