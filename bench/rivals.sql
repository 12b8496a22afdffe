-- The fold as a row trigger in PL/pgSQL: what one would write by hand. One UPDATE, which decides by itself and writes
-- nothing where nothing changes. It leaves out what the extension does besides: callbacks that come before their
-- message, policies, errors of which only the log knows which one is the earlier.
CREATE FUNCTION bench.fold_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    s CONSTANT msgstatus.delivery_status := NEW.delivery_status;
    t CONSTANT timestamptz := least(coalesce(NEW.event_at, NEW.created_at), NEW.created_at);
    -- The events that are evidence of a milestone bring its time.
    sent CONSTANT timestamptz := CASE WHEN s IN ('sent', 'delivered', 'read', 'undelivered', 'partially_delivered') THEN t END;
    delivered CONSTANT timestamptz := CASE WHEN s >= 'delivered' THEN t END;
    read CONSTANT timestamptz := CASE WHEN s = 'read' THEN t END;
    failed CONSTANT timestamptz := CASE WHEN s IN ('undelivered', 'failed') THEN t END;
    canceled CONSTANT timestamptz := CASE WHEN s = 'canceled' THEN t END;
    seen CONSTANT integer := CASE s
        WHEN 'sent' THEN 1 << 6 WHEN 'delivered' THEN 1 << 12 WHEN 'read' THEN 1 << 13 WHEN 'queued' THEN 1 << 4
        WHEN 'sending' THEN 1 << 5 WHEN 'undelivered' THEN 1 << 9 WHEN 'failed' THEN 1 << 10 WHEN 'accepted' THEN 1 << 2
        WHEN 'scheduled' THEN 1 << 3 WHEN 'canceled' THEN 1 << 11 WHEN 'delivery_unknown' THEN 1 << 7
        WHEN 'partially_delivered' THEN 1 << 8 WHEN 'receiving' THEN 1 ELSE 1 << 1 END;
    failures CONSTANT integer := (1 << 9) | (1 << 10);
    carries CONSTANT boolean := NEW.error_code IS NOT NULL OR NEW.error_message IS NOT NULL;
BEGIN
    IF s IS NULL THEN
        RETURN NULL;
    END IF;
    -- Outcomes, undelivered to delivered, are equals: there, and for the same status, the earlier one stands.
    UPDATE messages AS m
       SET status = CASE
               WHEN CASE WHEN s = m.status OR s BETWEEN 'undelivered' AND 'delivered' AND m.status BETWEEN 'undelivered' AND 'delivered'
                         THEN m.status_at IS NULL OR (t, m.status) < (m.status_at, s)
                         ELSE s > m.status END
               THEN s ELSE m.status END,
           status_at = CASE
               WHEN CASE WHEN s = m.status OR s BETWEEN 'undelivered' AND 'delivered' AND m.status BETWEEN 'undelivered' AND 'delivered'
                         THEN m.status_at IS NULL OR (t, m.status) < (m.status_at, s)
                         ELSE s > m.status END
               THEN t ELSE m.status_at END,
           sent_at = least(m.sent_at, sent),
           delivered_at = least(m.delivered_at, delivered),
           read_at = least(m.read_at, read),
           failed_at = least(m.failed_at, failed),
           canceled_at = least(m.canceled_at, canceled),
           statuses_seen = m.statuses_seen | seen,
           error_code = CASE
               WHEN carries AND CASE WHEN failed IS NULL THEN m.error_code IS NULL AND m.error_message IS NULL AND m.statuses_seen & failures = 0
                                     ELSE m.statuses_seen & failures = 0 OR m.error_code IS NULL AND m.error_message IS NULL OR failed < m.failed_at END
               THEN NEW.error_code ELSE m.error_code END,
           error_message = CASE
               WHEN carries AND CASE WHEN failed IS NULL THEN m.error_code IS NULL AND m.error_message IS NULL AND m.statuses_seen & failures = 0
                                     ELSE m.statuses_seen & failures = 0 OR m.error_code IS NULL AND m.error_message IS NULL OR failed < m.failed_at END
               THEN NEW.error_message ELSE m.error_message END
     WHERE m.sid = NEW.sid
       AND (m.statuses_seen & seen = 0
            OR CASE WHEN s = m.status OR s BETWEEN 'undelivered' AND 'delivered' AND m.status BETWEEN 'undelivered' AND 'delivered'
                    THEN m.status_at IS NULL OR (t, m.status) < (m.status_at, s)
                    ELSE s > m.status END
            OR sent < m.sent_at OR sent IS NOT NULL AND m.sent_at IS NULL
            OR delivered < m.delivered_at OR delivered IS NOT NULL AND m.delivered_at IS NULL
            OR read < m.read_at OR read IS NOT NULL AND m.read_at IS NULL
            OR failed < m.failed_at OR failed IS NOT NULL AND m.failed_at IS NULL
            OR canceled < m.canceled_at OR canceled IS NOT NULL AND m.canceled_at IS NULL
            OR carries AND m.error_code IS NULL AND m.error_message IS NULL);
    RETURN NULL;
END
$$;
