\echo 'due gives what get_messages_needing_status_check gave, for messages of every age, status and number of checks'
INSERT INTO sms_message_audit (batch_id, to_phone, from_phone, twilio_message_sid, twilio_status, sent_at, created_at,
                               last_status_check, status_check_count)
SELECT '00000000-0000-0000-0000-0000000000a3', '+15550001000', '+15559876543',
       CASE WHEN c <> 7 THEN concat_ws('-', 'SMd', s, a, c, l) END, s::msgstatus.delivery_status,
       now() - a * interval '1 minute', now() - a * interval '1 minute',
       CASE WHEN l >= 0 THEN now() - l * interval '1 minute' END, c
  FROM unnest('{queued,sending,sent,delivered,undelivered,failed,canceled}'::text[]) AS s,
       unnest('{0,1,4,6,29,31,600}'::integer[]) AS a,
       unnest('{0,1,7,19,20,21}'::integer[]) AS c,
       unnest('{-1,0,1,3,6,20,40}'::integer[]) AS l
 WHERE l <= a;
SELECT count(*) AS messages FROM sms_message_audit WHERE batch_id = '00000000-0000-0000-0000-0000000000a3';
SELECT count(*) AS both FROM msgstatus.due(100000) d JOIN get_messages_needing_status_check(100000) g ON g.twilio_message_sid = d.sid;
SELECT sid FROM msgstatus.due(100000) EXCEPT SELECT twilio_message_sid FROM get_messages_needing_status_check(100000);
SELECT twilio_message_sid FROM get_messages_needing_status_check(100000) EXCEPT SELECT sid FROM msgstatus.due(100000);
SELECT count(*) AS fifty FROM msgstatus.due(50);
\echo 'Those first that were never asked about, then those not for the longest time'
SELECT bool_and(ordered) FROM (
    SELECT coalesce(last_checked_at >= lag(last_checked_at) OVER (ORDER BY n), lag(last_checked_at) OVER (ORDER BY n) IS NULL) AS ordered
      FROM msgstatus.due(100000) WITH ORDINALITY AS d(messages, message_key, sid, status, age, check_count, last_checked_at, schedule, reason, n)) AS o;

\echo 'By the schedule "eager", no message is asked about that the old function would not have asked about after five minutes'
SELECT msgstatus.detach('sms_message_audit', 'sms_status_log');
SELECT msgstatus.attach('sms_message_audit', 'sms_status_log',
    message_key => 'twilio_message_sid', log_key => 'twilio_message_sid', status => 'twilio_status', poll => 'eager',
    columns => '{"final": "final_status", "check_count": "status_check_count", "last_checked_at": "last_status_check", "log.delivery_id": "id"}');
SELECT sid FROM msgstatus.due(100000) WHERE age >= '5 minutes'
EXCEPT SELECT twilio_message_sid FROM get_messages_needing_status_check(100000);
SELECT CASE WHEN age < '5 minutes' THEN 'up to 5 minutes old' WHEN age < '30 minutes' THEN 'up to 30' ELSE 'older' END AS message,
       date_trunc('minute', min(now() - last_checked_at)) AS not_asked_about_for, count(*)
  FROM msgstatus.due(100000) WHERE sid LIKE 'SMd%' GROUP BY 1 ORDER BY min(age);
DELETE FROM sms_message_audit WHERE batch_id = '00000000-0000-0000-0000-0000000000a3';
