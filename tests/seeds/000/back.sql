\echo 'Nothing of msgstatus is left on the tables, and the rows are as they were'
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid IN ('messages'::regclass, 'message_delivery_log'::regclass) AND NOT tgisinternal;
INSERT INTO message_delivery_log (org_id, message_id, status) VALUES (1, 2, 'delivered');
SELECT message_id, delivery_status FROM messages WHERE message_id <= 3 ORDER BY message_id;
ALTER TABLE messages
    DROP COLUMN delivery_status, DROP COLUMN delivery_status_at, DROP COLUMN delivered_at, DROP COLUMN read_at,
    DROP COLUMN failed_at, DROP COLUMN error_code, DROP COLUMN error_message, DROP COLUMN statuses_seen;
DROP EXTENSION msgstatus;
SELECT count(*) AS log_rows FROM message_delivery_log WHERE message_id <= 3;
