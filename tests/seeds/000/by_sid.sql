-- Keyed by SID.
\echo 'A callback of a message that is there, and a repeated one of a message that is not'
PREPARE callback(text, text, text, text, jsonb) AS
INSERT INTO message_delivery_log (whatsapp_msg_sid, org_id, message_id, status, error_code, error_message, provider_payload)
SELECT $1, m.org_id, m.message_id, $2, $3, $4, $5
  FROM (SELECT) AS one LEFT JOIN messages m ON m.whatsapp_msg_sid = $1;
EXECUTE callback('SM0001', 'read', NULL, NULL, '{}');
EXECUTE callback('SM9999', 'sent', NULL, NULL, '{}');
EXECUTE callback('SM9999', 'sent', NULL, NULL, '{}');
SELECT message_id, delivery_status FROM messages WHERE whatsapp_msg_sid IN ('SM0001', 'SM0006') ORDER BY message_id;
SELECT message_key, word FROM msgstatus.unmatched();
\echo 'Every callback of a message that is there has its message_id'
SELECT count(*) FROM message_delivery_log l JOIN messages m USING (whatsapp_msg_sid)
 WHERE l.message_id IS DISTINCT FROM m.message_id OR l.org_id IS DISTINCT FROM m.org_id;
\echo 'A message gets its SID when Twilio has answered, behind its callbacks'
UPDATE messages SET whatsapp_msg_sid = 'SM9999' WHERE message_id = 4;
SELECT delivery_status FROM messages WHERE message_id = 4;
SELECT count(*) AS differences FROM msgstatus.verify();
