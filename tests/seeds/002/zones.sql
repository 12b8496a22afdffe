-- What becomes of wrong times that nobody put right before attach: the log has the true ones. Then back to the state before.
BEGIN;
SET LOCAL client_min_messages = warning;
SELECT msgstatus.detach('message_logs', 'message_status_log') \g /dev/null
INSERT INTO message_logs (bsp_msg_id, message, whatsapp_status, created_at) VALUES
    ('ahead',  'by 5:30, a server in India',  '{"sent": "2024-10-02T15:30:00Z", "read": "2024-10-02T15:31:00Z"}', '2024-10-02 10:00:00+00'),
    ('behind', 'by 4:00, one in New York',    '{"sent": "2024-10-02T06:00:00Z", "read": "2024-10-02T06:01:00Z"}', '2024-10-02 10:00:00+00');
INSERT INTO message_status_log (bsp_msg_id, status, event_at, source, created_at)
SELECT bsp_msg_id, key, value::timestamp AT TIME ZONE CASE bsp_msg_id WHEN 'ahead' THEN 'Asia/Kolkata' ELSE 'America/New_York' END,
       'manual', '2024-10-03'
  FROM message_logs, jsonb_each_text(whatsapp_status) WHERE bsp_msg_id IN ('ahead', 'behind');
SELECT msgstatus.attach('message_logs', 'message_status_log',
    message_key => 'bsp_msg_id', log_key => 'bsp_msg_id', provider => 'whatsapp',
    columns => '{"status_map": "whatsapp_status", "log.delivery_id": "id"}') \g /dev/null
\echo 'Times that are ahead heal; those behind stay, as earlier ones win'
SELECT msgstatus.rebuild() AS rebuilt;
SELECT bsp_msg_id, whatsapp_status, sent_at, read_at FROM message_logs WHERE bsp_msg_id IN ('ahead', 'behind') ORDER BY 1;
\echo 'They are put right by hand, with the guard off: all that the log has better'
SET LOCAL msgstatus.guard = off;
UPDATE message_logs SET status = NULL, status_at = NULL, sent_at = NULL, delivered_at = NULL, read_at = NULL, whatsapp_status = NULL
 WHERE bsp_msg_id = 'behind';
SELECT msgstatus.rebuild() AS rebuilt;
SELECT bsp_msg_id, status, whatsapp_status, sent_at, read_at FROM message_logs WHERE bsp_msg_id = 'behind';
SELECT count(*) AS differences FROM msgstatus.verify();
ROLLBACK;
SELECT count(*) AS differences FROM msgstatus.verify();
