\echo 'The share of HOT updates in 1000 lives of three answers each'
CREATE FUNCTION hot_share() RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    t regclass := 'sms_message_audit';
    updates bigint := pg_stat_get_xact_tuples_updated(t);
    hot bigint := pg_stat_get_xact_tuples_hot_updated(t);
    word text;
BEGIN
    INSERT INTO sms_message_audit (to_phone, from_phone, twilio_message_sid)
    SELECT '+15550001000', '+15559876543', 'SMh' || i FROM generate_series(1, 1000) AS i;
    FOREACH word IN ARRAY '{queued,sent,delivered}'::text[] LOOP
        INSERT INTO sms_status_log (twilio_message_sid, status) SELECT 'SMh' || i, word FROM generate_series(1, 1000) AS i;
    END LOOP;
    RETURN round((pg_stat_get_xact_tuples_hot_updated(t) - hot)::numeric / (pg_stat_get_xact_tuples_updated(t) - updates), 2);
END
$$;
BEGIN;
ALTER TABLE sms_message_audit SET (fillfactor = 25);
SELECT hot_share() AS by_what_does_not_change;
ROLLBACK;
BEGIN;
ALTER TABLE sms_message_audit SET (fillfactor = 25);
CREATE INDEX idx_sms_audit_needs_check
  ON sms_message_audit(final_status, last_status_check)
  WHERE twilio_message_sid IS NOT NULL;
SELECT hot_share() AS by_final_status_and_last_status_check;
ROLLBACK;
