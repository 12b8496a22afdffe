-- What src/pair/sql makes for asking the provider, of the mapping in src/in_server.rs (polling_as_text). Blanks and line
-- breaks do not count.

-- take_due
SELECT d.messages::pg_catalog.oid, d.message_key, d.sid, d.status, coalesce(d.account, $4), d.began,
        coalesce(d.sent, d.began OPERATOR(pg_catalog.+) '1 minute'::pg_catalog.interval), d.turn, d.wanted,
        d.last_checked_at
    FROM (SELECT d.*, least(pg_catalog.row_number() OVER (PARTITION BY d.account
    ORDER BY d.wanted DESC, d.last_checked_at NULLS FIRST, d.age DESC NULLS FIRST, d.message_key) OPERATOR(pg_catalog.*)
        2, pg_catalog.row_number() OVER (PARTITION BY d.account
    ORDER BY coalesce(d.last_checked_at, d.began) NULLS FIRST, d.message_key) OPERATOR(pg_catalog.*) 2
        OPERATOR(pg_catalog.+) 1) AS turn
    FROM (SELECT 'app.messages'::pg_catalog.regclass, m.id::pg_catalog.text, m."Sid"::pg_catalog.text, m."State", CASE
    WHEN pg_catalog.isfinite(greatest(m.created, m.not_before)) THEN pg_catalog.now() OPERATOR(pg_catalog.-)
        greatest(m.created, m.not_before) END, (coalesce(m.checks, 0))::integer, m.asked, 'ours'::pg_catalog.text,
        m.account::pg_catalog.text, greatest(m.created, m.not_before), pg_catalog.timezone('UTC', CASE WHEN pg_catalog.isfinite(m.sent_on)
        THEN least(m.sent_on, '294276-12-31 23:59:59.999999'::pg_catalog.timestamp) ELSE m.sent_on END),
        coalesce(pg_catalog.timezone('UTC', m.next) OPERATOR(pg_catalog.=) '-infinity'::pg_catalog.timestamptz, false)
    FROM ONLY app.messages m WHERE m."State" OPERATOR(pg_catalog.>=) 'accepted'::msgstatus.delivery_status
    AND m."State" OPERATOR(pg_catalog.<) 'undelivered'::msgstatus.delivery_status AND NOT m.done AND CASE
    WHEN coalesce(pg_catalog.timezone('UTC', m.next) OPERATOR(pg_catalog.=) '-infinity'::pg_catalog.timestamptz, false)
        THEN m."Sid"::pg_catalog.text IS NOT NULL
    AND (m.provider::pg_catalog.text OPERATOR(pg_catalog.=) 'twilio' OR
        pg_catalog.lower(coalesce(m.provider::pg_catalog.text, 'twilio')) OPERATOR(pg_catalog.=) 'twilio')
    AND NOT coalesce(m.way::pg_catalog.text OPERATOR(pg_catalog.<>) 'outbound'
    AND pg_catalog.starts_with(pg_catalog.lower(m.way::pg_catalog.text), 'in'), false)
    WHEN coalesce(greatest(m.created, m.not_before) OPERATOR(pg_catalog.>) (pg_catalog.now() OPERATOR(pg_catalog.-)
        '01:00:00'::pg_catalog.interval), false) THEN false
    ELSE coalesce(pg_catalog.timezone('UTC', m.next) OPERATOR(pg_catalog.<=) pg_catalog.now(), true)
    AND coalesce(m.checks, 0) OPERATOR(pg_catalog.<) $1
    AND coalesce(coalesce(m.asked, '-infinity'::pg_catalog.timestamptz) OPERATOR(pg_catalog.+) (CASE
    WHEN m."State" OPERATOR(pg_catalog.=) ANY (ARRAY['queued'::msgstatus.delivery_status]) THEN CASE
    WHEN greatest(m.created, m.not_before) IS NULL OR greatest(m.created, m.not_before) OPERATOR(pg_catalog.<=)
        (pg_catalog.now() OPERATOR(pg_catalog.-) '3 days'::pg_catalog.interval) THEN NULL::pg_catalog.interval
    WHEN greatest(m.created, m.not_before) OPERATOR(pg_catalog.<=) (pg_catalog.now() OPERATOR(pg_catalog.-)
        '01:00:00'::pg_catalog.interval) THEN '00:30:00'::pg_catalog.interval END
    WHEN m."State" OPERATOR(pg_catalog.=) ANY (ARRAY['sent'::msgstatus.delivery_status]) THEN CASE
    WHEN greatest(m.created, m.not_before) IS NULL OR greatest(m.created, m.not_before) OPERATOR(pg_catalog.<=)
        (pg_catalog.now() OPERATOR(pg_catalog.-) '02:00:00'::pg_catalog.interval) THEN '01:00:00'::pg_catalog.interval
        END END) OPERATOR(pg_catalog.<=) pg_catalog.now(), false)
    AND NOT (coalesce(greatest(m.created, m.not_before) OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-)
        $3), false)
    AND coalesce(m.asked OPERATOR(pg_catalog.>=) (greatest(m.created, m.not_before) OPERATOR(pg_catalog.+) $3), false))
    AND m."Sid"::pg_catalog.text IS NOT NULL
    AND (m.provider::pg_catalog.text OPERATOR(pg_catalog.=) 'twilio' OR
        pg_catalog.lower(coalesce(m.provider::pg_catalog.text, 'twilio')) OPERATOR(pg_catalog.=) 'twilio')
    AND NOT coalesce(m.way::pg_catalog.text OPERATOR(pg_catalog.<>) 'outbound'
    AND pg_catalog.starts_with(pg_catalog.lower(m.way::pg_catalog.text), 'in'), false) END) AS d(messages, message_key,
        sid, status, age, check_count, last_checked_at, schedule, account, began, sent, wanted)
    WHERE coalesce(d.account, $4) IS NOT NULL
    AND ($5 IS NULL OR coalesce(d.account, $4) OPERATOR(pg_catalog.=) ANY ($5))
    AND coalesce(d.account, $4) OPERATOR(pg_catalog.<>) ALL ($6) AND (d.wanted OR NOT $7)) AS d
    ORDER BY d.turn, d.wanted DESC, d.last_checked_at NULLS FIRST, d.age DESC NULLS FIRST, d.message_key LIMIT $2;

-- list_due
SELECT d.message_key, d.sid, d.status, d.check_count, d.last_checked_at, d.schedule,
        pg_catalog.format('%s, %s, %s', d.status, coalesce(pg_catalog.date_trunc('minute', d.age)::pg_catalog.text
        OPERATOR(pg_catalog.||) ' old', 'of unknown age'), CASE
    WHEN d.last_checked_at IS NOT NULL THEN pg_catalog.format('checks: %s, the last %s ago', d.check_count,
        pg_catalog.date_trunc('minute', pg_catalog.now() OPERATOR(pg_catalog.-) d.last_checked_at))
    WHEN d.check_count OPERATOR(pg_catalog.>) 0 THEN pg_catalog.format('checks: %s', d.check_count)
    ELSE 'never checked' END) OPERATOR(pg_catalog.||) CASE WHEN d.wanted THEN ', asked for' ELSE '' END,
        d.turn, d.wanted, d.began
    FROM (SELECT d.*, least(pg_catalog.row_number() OVER (PARTITION BY d.account
    ORDER BY d.wanted DESC, d.last_checked_at NULLS FIRST, d.age DESC NULLS FIRST, d.message_key) OPERATOR(pg_catalog.*)
        2, pg_catalog.row_number() OVER (PARTITION BY d.account
    ORDER BY coalesce(d.last_checked_at, d.began) NULLS FIRST, d.message_key) OPERATOR(pg_catalog.*) 2
        OPERATOR(pg_catalog.+) 1) AS turn
    FROM (SELECT 'app.messages'::pg_catalog.regclass, m.id::pg_catalog.text, m."Sid"::pg_catalog.text, m."State", CASE
    WHEN pg_catalog.isfinite(greatest(m.created, m.not_before)) THEN pg_catalog.now() OPERATOR(pg_catalog.-)
        greatest(m.created, m.not_before) END, (coalesce(m.checks, 0))::integer, m.asked, ''::pg_catalog.text,
        m.account::pg_catalog.text, greatest(m.created, m.not_before), pg_catalog.timezone('UTC', CASE WHEN pg_catalog.isfinite(m.sent_on)
        THEN least(m.sent_on, '294276-12-31 23:59:59.999999'::pg_catalog.timestamp) ELSE m.sent_on END),
        coalesce(pg_catalog.timezone('UTC', m.next) OPERATOR(pg_catalog.=) '-infinity'::pg_catalog.timestamptz, false)
    FROM ONLY app.messages m WHERE m."State" OPERATOR(pg_catalog.>=) 'accepted'::msgstatus.delivery_status
    AND m."State" OPERATOR(pg_catalog.<) 'undelivered'::msgstatus.delivery_status AND NOT m.done AND CASE
    WHEN coalesce(pg_catalog.timezone('UTC', m.next) OPERATOR(pg_catalog.=) '-infinity'::pg_catalog.timestamptz, false)
        THEN m."Sid"::pg_catalog.text IS NOT NULL
    AND (m.provider::pg_catalog.text OPERATOR(pg_catalog.=) 'twilio' OR
        pg_catalog.lower(coalesce(m.provider::pg_catalog.text, 'twilio')) OPERATOR(pg_catalog.=) 'twilio')
    AND NOT coalesce(m.way::pg_catalog.text OPERATOR(pg_catalog.<>) 'outbound'
    AND pg_catalog.starts_with(pg_catalog.lower(m.way::pg_catalog.text), 'in'), false) WHEN false THEN false
    ELSE coalesce(pg_catalog.timezone('UTC', m.next) OPERATOR(pg_catalog.<=) pg_catalog.now(), true)
    AND coalesce(m.checks, 0) OPERATOR(pg_catalog.<) $1
    AND coalesce(coalesce(m.asked, '-infinity'::pg_catalog.timestamptz) OPERATOR(pg_catalog.+) NULL::pg_catalog.interval
        OPERATOR(pg_catalog.<=) pg_catalog.now(), false)
    AND NOT (coalesce(greatest(m.created, m.not_before) OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-)
        $3), false)
    AND coalesce(m.asked OPERATOR(pg_catalog.>=) (greatest(m.created, m.not_before) OPERATOR(pg_catalog.+) $3), false))
    AND m."Sid"::pg_catalog.text IS NOT NULL
    AND (m.provider::pg_catalog.text OPERATOR(pg_catalog.=) 'twilio' OR
        pg_catalog.lower(coalesce(m.provider::pg_catalog.text, 'twilio')) OPERATOR(pg_catalog.=) 'twilio')
    AND NOT coalesce(m.way::pg_catalog.text OPERATOR(pg_catalog.<>) 'outbound'
    AND pg_catalog.starts_with(pg_catalog.lower(m.way::pg_catalog.text), 'in'), false) END) AS d(messages, message_key,
        sid, status, age, check_count, last_checked_at, schedule, account, began, sent, wanted)
    WHERE true) AS d
    ORDER BY d.turn, d.wanted DESC, d.last_checked_at NULLS FIRST, d.age DESC NULLS FIRST, d.message_key LIMIT $2;

-- lease
UPDATE ONLY app.messages m SET next = CASE
    WHEN pg_catalog.timezone('UTC', m.next) OPERATOR(pg_catalog.=) '-infinity'::pg_catalog.timestamptz THEN
        pg_catalog.timezone('UTC', $3)
    ELSE pg_catalog.timezone('UTC', $2) END FROM (SELECT m.id AS key
    FROM pg_catalog.unnest($1::pg_catalog.text[]) AS k(key)
    JOIN ONLY app.messages m ON m.id OPERATOR(pg_catalog.=) k.key::pg_catalog.int8
    WHERE m."State" OPERATOR(pg_catalog.>=) 'accepted'::msgstatus.delivery_status
    AND m."State" OPERATOR(pg_catalog.<) 'undelivered'::msgstatus.delivery_status AND NOT m.done
    AND coalesce(pg_catalog.timezone('UTC', m.next) OPERATOR(pg_catalog.<=) pg_catalog.now(), true)
    ORDER BY m.id FOR NO KEY UPDATE OF m SKIP LOCKED) AS k WHERE m.id OPERATOR(pg_catalog.=) k.key
    RETURNING m.id::pg_catalog.text;

-- end_leases
UPDATE ONLY app.messages m SET next = CASE
    WHEN pg_catalog.timezone('UTC', m.next) OPERATOR(pg_catalog.=) ANY ($2) THEN pg_catalog.timezone('UTC',
        '-infinity'::pg_catalog.timestamptz) END
    FROM (SELECT m.id AS key FROM ONLY app.messages m
    WHERE m."State" OPERATOR(pg_catalog.>=) 'accepted'::msgstatus.delivery_status
    AND m."State" OPERATOR(pg_catalog.<) 'undelivered'::msgstatus.delivery_status AND NOT m.done
    AND (pg_catalog.timezone('UTC', m.next) OPERATOR(pg_catalog.=) ANY ($1) OR pg_catalog.timezone('UTC', m.next)
        OPERATOR(pg_catalog.=) ANY ($2))
    ORDER BY m.id FOR NO KEY UPDATE OF m SKIP LOCKED) AS k WHERE m.id OPERATOR(pg_catalog.=) k.key;

-- want
UPDATE ONLY app.messages m SET next = pg_catalog.timezone('UTC', '-infinity'::pg_catalog.timestamptz)
    WHERE m."Sid"::pg_catalog.text OPERATOR(pg_catalog.=) $1
    AND m."State" OPERATOR(pg_catalog.>=) 'accepted'::msgstatus.delivery_status
    AND m."State" OPERATOR(pg_catalog.<) 'undelivered'::msgstatus.delivery_status AND NOT m.done
    AND m."Sid"::pg_catalog.text IS NOT NULL
    AND (m.provider::pg_catalog.text OPERATOR(pg_catalog.=) 'twilio' OR
        pg_catalog.lower(coalesce(m.provider::pg_catalog.text, 'twilio')) OPERATOR(pg_catalog.=) 'twilio')
    AND NOT coalesce(m.way::pg_catalog.text OPERATOR(pg_catalog.<>) 'outbound'
    AND pg_catalog.starts_with(pg_catalog.lower(m.way::pg_catalog.text), 'in'), false) RETURNING 1;

-- select_by_sid
SELECT m.id::pg_catalog.text, m."Sid"::pg_catalog.text, m."State" FROM unnest($2, $4) AS k(sid, word)
    JOIN ONLY app.messages m ON m."Sid"::pg_catalog.text OPERATOR(pg_catalog.=) k.sid
    WHERE m."State" OPERATOR(pg_catalog.>=) 'accepted'::msgstatus.delivery_status
    AND m."State" OPERATOR(pg_catalog.<) 'undelivered'::msgstatus.delivery_status AND NOT m.done
    AND m."Sid"::pg_catalog.text IS NOT NULL
    AND (m.provider::pg_catalog.text OPERATOR(pg_catalog.=) 'twilio' OR
        pg_catalog.lower(coalesce(m.provider::pg_catalog.text, 'twilio')) OPERATOR(pg_catalog.=) 'twilio')
    AND NOT coalesce(m.way::pg_catalog.text OPERATOR(pg_catalog.<>) 'outbound'
    AND pg_catalog.starts_with(pg_catalog.lower(m.way::pg_catalog.text), 'in'), false)
    AND (coalesce(msgstatus.supersedes(msgstatus.parse_status(k.word, 'twilio'), m."State"), false) OR CASE
    WHEN coalesce(pg_catalog.timezone('UTC', m.next) OPERATOR(pg_catalog.=) '-infinity'::pg_catalog.timestamptz, false)
        THEN m."Sid"::pg_catalog.text IS NOT NULL
    AND (m.provider::pg_catalog.text OPERATOR(pg_catalog.=) 'twilio' OR
        pg_catalog.lower(coalesce(m.provider::pg_catalog.text, 'twilio')) OPERATOR(pg_catalog.=) 'twilio')
    AND NOT coalesce(m.way::pg_catalog.text OPERATOR(pg_catalog.<>) 'outbound'
    AND pg_catalog.starts_with(pg_catalog.lower(m.way::pg_catalog.text), 'in'), false)
    WHEN coalesce(greatest(m.created, m.not_before) OPERATOR(pg_catalog.>) (pg_catalog.now() OPERATOR(pg_catalog.-)
        '01:00:00'::pg_catalog.interval), false) THEN false
    ELSE coalesce(pg_catalog.timezone('UTC', m.next) OPERATOR(pg_catalog.<=) pg_catalog.now(), true)
    AND coalesce(m.checks, 0) OPERATOR(pg_catalog.<) $1
    AND coalesce(coalesce(m.asked, '-infinity'::pg_catalog.timestamptz) OPERATOR(pg_catalog.+) (CASE
    WHEN m."State" OPERATOR(pg_catalog.=) ANY (ARRAY['queued'::msgstatus.delivery_status]) THEN CASE
    WHEN greatest(m.created, m.not_before) IS NULL OR greatest(m.created, m.not_before) OPERATOR(pg_catalog.<=)
        (pg_catalog.now() OPERATOR(pg_catalog.-) '3 days'::pg_catalog.interval) THEN NULL::pg_catalog.interval
    WHEN greatest(m.created, m.not_before) OPERATOR(pg_catalog.<=) (pg_catalog.now() OPERATOR(pg_catalog.-)
        '01:00:00'::pg_catalog.interval) THEN '00:30:00'::pg_catalog.interval END
    WHEN m."State" OPERATOR(pg_catalog.=) ANY (ARRAY['sent'::msgstatus.delivery_status]) THEN CASE
    WHEN greatest(m.created, m.not_before) IS NULL OR greatest(m.created, m.not_before) OPERATOR(pg_catalog.<=)
        (pg_catalog.now() OPERATOR(pg_catalog.-) '02:00:00'::pg_catalog.interval) THEN '01:00:00'::pg_catalog.interval
        END END) OPERATOR(pg_catalog.<=) pg_catalog.now(), false)
    AND NOT (coalesce(greatest(m.created, m.not_before) OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-)
        $3), false)
    AND coalesce(m.asked OPERATOR(pg_catalog.>=) (greatest(m.created, m.not_before) OPERATOR(pg_catalog.+) $3), false))
    AND m."Sid"::pg_catalog.text IS NOT NULL
    AND (m.provider::pg_catalog.text OPERATOR(pg_catalog.=) 'twilio' OR
        pg_catalog.lower(coalesce(m.provider::pg_catalog.text, 'twilio')) OPERATOR(pg_catalog.=) 'twilio')
    AND NOT coalesce(m.way::pg_catalog.text OPERATOR(pg_catalog.<>) 'outbound'
    AND pg_catalog.starts_with(pg_catalog.lower(m.way::pg_catalog.text), 'in'), false) END);

-- select_asked
SELECT 'app.messages'::pg_catalog.regclass::pg_catalog.oid, m.id::pg_catalog.text, m."Sid"::pg_catalog.text,
        m."State", coalesce(m.account::pg_catalog.text, $3), m.created, m.created OPERATOR(pg_catalog.+) '1
        minute'::pg_catalog.interval, 0::pg_catalog.int8, false, NULL::pg_catalog.timestamptz
    FROM ONLY app.messages m WHERE m.batch::pg_catalog.text OPERATOR(pg_catalog.=) $1
    AND m."Sid"::pg_catalog.text IS NOT NULL ORDER BY msgstatus.is_final(m."State"), m.id LIMIT $2;

-- select_statuses
SELECT m.id::pg_catalog.text, m."State" FROM pg_catalog.unnest($1) AS k(key)
    JOIN ONLY app.messages m ON m.id OPERATOR(pg_catalog.=) k.key::pg_catalog.int8;

-- lock_answered
SELECT m.id::pg_catalog.text FROM pg_catalog.unnest($1::pg_catalog.text[]) AS k(key)
    JOIN ONLY app.messages m ON m.id OPERATOR(pg_catalog.=) k.key::pg_catalog.int8
    ORDER BY m.id FOR NO KEY UPDATE OF m SKIP LOCKED;

-- keep_books
UPDATE ONLY app.messages m SET next = CASE
    WHEN coalesce(pg_catalog.timezone('UTC', m.next) OPERATOR(pg_catalog.=) v.taken_until, false) OR
        coalesce(pg_catalog.timezone('UTC', m.next) OPERATOR(pg_catalog.<=) pg_catalog.now()
    AND (v.taken_until IS NULL OR pg_catalog.isfinite(pg_catalog.timezone('UTC', m.next))), true) THEN
        pg_catalog.timezone('UTC', v.next_check_at)
    ELSE m.next END, price = coalesce(v.price::numeric(10,5), m.price), unit = coalesce(v.price_unit, m.unit), parts =
        coalesce(v.num_segments, m.parts), checks = coalesce(m.checks, 0) OPERATOR(pg_catalog.+) v.checks, asked =
        greatest(m.asked, v.checked_at)
    FROM (SELECT m.id AS key, v.next_check_at, v.price, v.price_unit, v.num_segments, v.checks, v.checked_at,
        v.taken_until
    FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) AS v(key, next_check_at, price, price_unit, num_segments, checks,
        checked_at, taken_until)
    JOIN ONLY app.messages m ON m.id OPERATOR(pg_catalog.=) v.key::pg_catalog.int8
    ORDER BY m.id FOR NO KEY UPDATE OF m) AS v WHERE m.id OPERATOR(pg_catalog.=) v.key
    AND ((coalesce(pg_catalog.timezone('UTC', m.next) OPERATOR(pg_catalog.=) v.taken_until, false) OR
        coalesce(pg_catalog.timezone('UTC', m.next) OPERATOR(pg_catalog.<=) pg_catalog.now()
    AND (v.taken_until IS NULL OR pg_catalog.isfinite(pg_catalog.timezone('UTC', m.next))), true))
    AND coalesce(m.next OPERATOR(pg_catalog.<>) pg_catalog.timezone('UTC', v.next_check_at), m.next IS NOT NULL OR
        pg_catalog.timezone('UTC', v.next_check_at) IS NOT NULL) OR coalesce(v.price::numeric(10,5)
        OPERATOR(pg_catalog.<>) m.price, v.price::numeric(10,5) IS NOT NULL
    AND m.price IS NULL) OR coalesce(v.price_unit OPERATOR(pg_catalog.<>) m.unit, v.price_unit IS NOT NULL
    AND m.unit IS NULL) OR coalesce(v.num_segments OPERATOR(pg_catalog.<>) m.parts, v.num_segments IS NOT NULL
    AND m.parts IS NULL) OR v.checks OPERATOR(pg_catalog.>) 0);

-- insert_events
INSERT INTO app.log (sid, status, at, arrived, code, text, payload, provider, source, org_id)
    SELECT e.key, e.status, e.event_at, e.created_at, coalesce(e.error_code, 'none'::text), e.error_message, e.payload::jsonb, e.provider, e.source,
        m.organisation
    FROM (SELECT k.key::pg_catalog.int8, k.status, k.event_at, k.error_code, k.error_message,
        k.payload::pg_catalog.jsonb, k.provider, k.source, k.created_at
    FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)
        AS k(key, status, event_at, error_code, error_message, payload, provider, source, created_at)) AS
        e(key, status, event_at, error_code, error_message, payload, provider, source, created_at)
    LEFT JOIN ONLY app.messages m ON m.id OPERATOR(pg_catalog.=) e.key;

-- insert_few
INSERT INTO app.log (sid, status, org_id)
    SELECT e.key, e.status, m.organisation
    FROM (SELECT k.key::pg_catalog.int8, k.status, k.event_at, k.error_code, k.error_message,
        k.payload::pg_catalog.jsonb, k.provider, k.source, k.created_at
    FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)
        AS k(key, status, event_at, error_code, error_message, payload, provider, source, created_at)) AS
        e(key, status, event_at, error_code, error_message, payload, provider, source, created_at)
    LEFT JOIN ONLY app.messages m ON m.id OPERATOR(pg_catalog.=) e.key ON CONFLICT (sid, status) DO NOTHING;

-- insert_single
INSERT INTO app.log (sid, status, org_id)
    SELECT e.key, e.status, m.organisation
    FROM (SELECT k.key::pg_catalog.int8, k.status, k.event_at, k.error_code, k.error_message,
        k.payload::pg_catalog.jsonb, k.provider, k.source, k.created_at
    FROM (VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9))
        AS k(key, status, event_at, error_code, error_message, payload, provider, source, created_at)) AS
        e(key, status, event_at, error_code, error_message, payload, provider, source, created_at)
    LEFT JOIN ONLY app.messages m ON m.id OPERATOR(pg_catalog.=) e.key ON CONFLICT (sid, status) DO NOTHING;

-- select_keys_by_sid
SELECT m."Sid"::pg_catalog.text, m.id::pg_catalog.text
    FROM ONLY app.messages m
    WHERE m."Sid"::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1)
    AND m.id IS NOT NULL
    ORDER BY m.id;

-- select_unknown
SELECT m.id::pg_catalog.text FROM ONLY app.messages m
    WHERE m."State" OPERATOR(pg_catalog.>=) 'accepted'::msgstatus.delivery_status
    AND m."State" OPERATOR(pg_catalog.<) 'undelivered'::msgstatus.delivery_status AND NOT m.done
    AND m."State" OPERATOR(pg_catalog.=) 'sent'::msgstatus.delivery_status AND m."Sid"::pg_catalog.text IS NOT NULL
    AND (m.provider::pg_catalog.text OPERATOR(pg_catalog.=) 'twilio' OR
        pg_catalog.lower(coalesce(m.provider::pg_catalog.text, 'twilio')) OPERATOR(pg_catalog.=) 'twilio')
    AND NOT coalesce(m.way::pg_catalog.text OPERATOR(pg_catalog.<>) 'outbound'
    AND pg_catalog.starts_with(pg_catalog.lower(m.way::pg_catalog.text), 'in'), false)
    AND m.state_at OPERATOR(pg_catalog.+) $1 OPERATOR(pg_catalog.<=) pg_catalog.now()
    AND (coalesce(m.asked OPERATOR(pg_catalog.>=) (m.state_at OPERATOR(pg_catalog.+) $1), false) OR coalesce(m.checks,
        0) OPERATOR(pg_catalog.>=) $2 OR coalesce(greatest(m.created, m.not_before) OPERATOR(pg_catalog.<)
        (pg_catalog.now() OPERATOR(pg_catalog.-) $4), false) OR coalesce(pg_catalog.timezone('UTC', m.next)
        OPERATOR(pg_catalog.=) 'infinity'::pg_catalog.timestamptz, false))
    ORDER BY pg_catalog.random() LIMIT $3 FOR NO KEY UPDATE OF m SKIP LOCKED;
