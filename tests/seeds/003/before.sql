-- The tables as the system has them, with what its poller has written into them so far.
CREATE TABLE sms_message_audit (
    id                 uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    batch_id           uuid,
    user_id            text,
    to_phone           text NOT NULL,
    from_phone         text NOT NULL,
    message_body       text,
    twilio_message_sid text,
    twilio_status      text,
    error_code         text,
    error_message      text,
    sent_at            timestamptz DEFAULT now(),
    created_at         timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE sms_message_audit
    ADD COLUMN last_status_check  timestamptz,
    ADD COLUMN status_check_count int DEFAULT 0,
    ADD COLUMN final_status       boolean DEFAULT false;
CREATE INDEX idx_sms_audit_needs_check
  ON sms_message_audit(final_status, last_status_check)
  WHERE twilio_message_sid IS NOT NULL;

-- What the poller asks for, and what the dashboard shows.
CREATE FUNCTION get_messages_needing_status_check(p_limit int DEFAULT 100, p_max_checks int DEFAULT 20)
RETURNS SETOF sms_message_audit LANGUAGE sql STABLE AS $$
    SELECT * FROM sms_message_audit
     WHERE twilio_message_sid IS NOT NULL AND final_status = false AND status_check_count < p_max_checks
       AND (last_status_check IS NULL OR last_status_check < now() - interval '5 minutes')
     ORDER BY last_status_check NULLS FIRST LIMIT p_limit
$$;
CREATE FUNCTION get_batch_status_breakdown(p_batch uuid)
RETURNS TABLE (status text, count bigint) LANGUAGE sql STABLE AS $$
    SELECT twilio_status, count(*) FROM sms_message_audit WHERE batch_id = p_batch GROUP BY 1 ORDER BY 2 DESC, 1
$$;

-- A batch of last October: 45 delivered, 3 sent, 2 failed. The poller crashed between the two UPDATEs for some of them:
-- five that are delivered are not final, and so it goes on asking about them.
INSERT INTO sms_message_audit (batch_id, to_phone, from_phone, message_body, twilio_message_sid, twilio_status, error_code,
                               sent_at, created_at, last_status_check, status_check_count, final_status)
SELECT '00000000-0000-0000-0000-00000000000b', '+1555' || lpad(i::text, 7, '0'), '+15559876543', 'Parking is free today',
       'SM' || lpad(i::text, 4, '0'),
       CASE WHEN i <= 45 THEN 'delivered' WHEN i <= 48 THEN 'sent' ELSE 'failed' END, CASE WHEN i > 48 THEN '30007' END,
       '2025-10-28 12:00:00+00', '2025-10-28 12:00:00+00', '2025-10-28 12:10:00+00', 2, i > 5 AND NOT i BETWEEN 46 AND 48
  FROM generate_series(1, 50) AS i;
-- One was asked about 20 times, one has no SID because Twilio refused it, three were never asked about.
INSERT INTO sms_message_audit (to_phone, from_phone, twilio_message_sid, twilio_status, sent_at, created_at, last_status_check,
                               status_check_count, final_status) VALUES
    ('+15550000051', '+15559876543', 'SM0051', 'Sent',   '2025-10-28 12:00:00+00', '2025-10-28 12:00:00+00', '2025-10-28 16:00:00+00', 20, false),
    ('+15550000052', '+15559876543', NULL,     NULL,     '2025-10-28 12:00:00+00', '2025-10-28 12:00:00+00', NULL, 0, false),
    ('+15550000053', '+15559876543', 'SM0053', 'queued', '2025-10-28 12:00:00+00', '2025-10-28 12:00:00+00', NULL, 0, false),
    ('+15550000054', '+15559876543', 'SM0054', 'queued', '2025-10-28 12:00:00+00', '2025-10-28 12:00:00+00', NULL, 0, false),
    ('+15550000055', '+15559876543', 'SM0055', 'queued', '2025-10-28 12:00:00+00', '2025-10-28 12:00:00+00', NULL, 0, false);
