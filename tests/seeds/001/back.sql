\echo 'The status is text again, with its default and its index, and nothing of msgstatus is left'
SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type, pg_get_expr(d.adbin, d.adrelid) AS default
  FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = 'messages'::regclass AND a.attname IN ('status', 'status_at', 'final');
SELECT pg_get_indexdef('messages_stuck_idx'::regclass);
SELECT count(*) AS triggers FROM pg_trigger
 WHERE tgrelid IN ('messages'::regclass, 'message_delivery_status'::regclass) AND NOT tgisinternal;
SELECT count(*) AS extension FROM pg_extension WHERE extname = 'msgstatus';
\echo 'The statuses stayed healed'
SELECT twilio_message_sid AS sid, status, error_code FROM messages WHERE twilio_message_sid <= 'SM09' ORDER BY 1;
\echo 'Their handler works as before, and so does their reconciliation'
INSERT INTO messages (twilio_message_sid, direction) VALUES ('SM60', 'outbound-api');
SELECT status AS inserted FROM messages WHERE twilio_message_sid = 'SM60';
SELECT their_handler('SM60', 'Sent');
SELECT their_handler('SM60', 'undelivered', '30003', 'Unreachable');
SELECT their_handler('SM60', 'sent');
SELECT their_handler('SM61', 'sent');
SELECT status, error_code FROM messages WHERE twilio_message_sid = 'SM60';
SELECT s.status FROM message_delivery_status s JOIN messages m ON m.id = s.message_id
 WHERE m.twilio_message_sid = 'SM60' ORDER BY s.id;
UPDATE messages SET status = 'delivered' WHERE twilio_message_sid = 'SM50' AND status IN ('queued', 'sent')
RETURNING status;
UPDATE messages SET status = 'whatever they like' WHERE twilio_message_sid = 'SM50' RETURNING status;
