-- The application as it was: its webhook logs the callback and moves the status itself, never looking at the order.
SELECT check_running();
\set id random(1, :messages)
\set word random(1, 3)
BEGIN;
INSERT INTO message_event (twilio_sid, event)
VALUES ('SM' || md5(:id::text), (ARRAY['sent', 'Delivered', 'undelivered'])[:word]);
UPDATE messages SET status = (ARRAY['sent', 'delivered', 'undelivered'])[:word]::varchar WHERE twilio_sid = 'SM' || md5(:id::text);
COMMIT;
