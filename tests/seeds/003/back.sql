\echo 'The old way works again'
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid IN ('sms_message_audit'::regclass, 'sms_status_log'::regclass) AND NOT tgisinternal;
UPDATE sms_message_audit SET twilio_status = 'delivered', final_status = true, status_check_count = status_check_count + 1
 WHERE id IN (SELECT id FROM get_messages_needing_status_check(100));
SELECT twilio_status, final_status, count(*) FROM sms_message_audit GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*) FROM get_messages_needing_status_check();
