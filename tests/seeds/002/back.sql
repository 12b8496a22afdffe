\echo 'Nothing of msgstatus is left on the tables, and the map is what the worker expects'
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid IN ('message_logs'::regclass, 'message_status_log'::regclass) AND NOT tgisinternal;
INSERT INTO message_status_log (bsp_msg_id, status) VALUES ('wamid.05', 'read');
SELECT id, whatsapp_status FROM message_logs WHERE id <= 9 ORDER BY id;
UPDATE message_logs SET whatsapp_status = '{"sent": "2024-10-02T08:30:00Z"}' WHERE id = 6 RETURNING id, whatsapp_status;
ALTER TABLE message_logs
    DROP COLUMN status, DROP COLUMN status_at, DROP COLUMN sent_at, DROP COLUMN delivered_at, DROP COLUMN read_at,
    DROP COLUMN failed_at, DROP COLUMN error_code, DROP COLUMN error_message, DROP COLUMN statuses_seen;
DROP EXTENSION msgstatus;
SELECT count(*) FROM broadcasts_messages WHERE whatsapp_status ? 'delivered' AND phone_number = '+919876543210';
SELECT count(*) > 0 AS log_is_there FROM message_status_log;
