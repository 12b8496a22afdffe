-- What every measurement needs: pairs of tables that differ in their engine alone, and how to fill them.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS bench CASCADE;
CREATE SCHEMA bench;
CREATE EXTENSION IF NOT EXISTS msgstatus;

-- What was measured: a rate for pgbench, milliseconds for statements, and the processor time of the backends.
CREATE TABLE bench.run (
    bench text NOT NULL,
    side text NOT NULL,
    run integer NOT NULL,
    value double precision NOT NULL,
    cpu_seconds double precision
);

-- A provider's identifier: as long as a real one, and as random.
CREATE FUNCTION bench.sid(i bigint) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT 'SM' || md5(i::text) $$;

-- A schema with the two tables as create_tables makes them, kept by an engine: msgstatus, plpgsql or none. All sides
-- come from the same create_tables, so that columns, indexes and storage parameters are the same.
CREATE FUNCTION bench.make(side text, engine text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', side);
    EXECUTE format('CREATE SCHEMA %I', side);
    PERFORM msgstatus.create_tables(side);
    IF engine <> 'msgstatus' THEN
        PERFORM msgstatus.detach(format('%I.messages', side)::regclass, format('%I.delivery_log', side)::regclass);
    END IF;
    IF engine = 'plpgsql' THEN
        EXECUTE format('CREATE TRIGGER fold AFTER INSERT ON %I.delivery_log FOR EACH ROW EXECUTE FUNCTION bench.fold_row()',
            side);
    END IF;
END
$$;

-- Fills messages anew with numbers 1 to n, all queued, and empties the log. No trigger fires. The index on sid is made
-- afterwards, as inserting random keys into it would take most of the time.
CREATE FUNCTION bench.fill(side text, n bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    SET LOCAL session_replication_role = replica;
    EXECUTE format('TRUNCATE %1$I.messages, %1$I.delivery_log RESTART IDENTITY', side);
    EXECUTE format('ALTER TABLE %I.messages DROP CONSTRAINT messages_sid_key', side);
    EXECUTE format($sql$
        INSERT INTO %I.messages (message_id, sid, from_address, to_address, body)
        SELECT i, bench.sid(i), '+15550100', '+1555' || lpad((i %% 10000000)::text, 7, '0'),
               'Your appointment is tomorrow at noon. Reply C to confirm.'
          FROM generate_series(1, %s) AS i
        $sql$, side, n);
    EXECUTE format('ALTER TABLE %I.messages ADD CONSTRAINT messages_sid_key UNIQUE (sid)', side);
    SET LOCAL session_replication_role = origin;
END
$$;

-- What became of the messages, as one number: two sides that did the same work agree. Times are compared where the
-- callbacks bring them, and only whether there is one where they depend on the clock.
CREATE FUNCTION bench.digest(side text, with_times boolean) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    result numeric;
BEGIN
    EXECUTE format($sql$
        SELECT sum(hashtextextended(concat_ws('|', sid, status, statuses_seen, coalesce(error_code, '-'),
                   coalesce(error_message, '-'), %s), 0)::numeric)
          FROM %I.messages
        $sql$,
        (SELECT string_agg(format(CASE WHEN with_times THEN 'coalesce(%I, ''-infinity'')' ELSE '%I IS NULL' END, c), ', ')
           FROM unnest(ARRAY['status_at', 'sent_at', 'delivered_at', 'read_at', 'failed_at', 'canceled_at']) AS c),
        side) INTO result;
    RETURN result;
END
$$;

-- Statements of 1000 callbacks: `batches` for each of the clients and each of sent, delivered and read. A statement's
-- messages are distinct and in random order, and no two clients share a message, so that plain SQL does not deadlock.
-- Messages are those numbered first, first + step, first + 2 * step and so on. Both as arrays, for a client that
-- prepares its statements, and as the text of an INSERT and an UPDATE with lists of VALUES, for one that does not.
CREATE TABLE bench.batch (batch integer PRIMARY KEY, sids text[], words text[], statuses msgstatus.delivery_status[],
    bits integer[], insert_text text, update_text text);
ALTER TABLE bench.batch ALTER sids SET STORAGE EXTERNAL, ALTER words SET STORAGE EXTERNAL,
    ALTER statuses SET STORAGE EXTERNAL, ALTER bits SET STORAGE EXTERNAL,
    ALTER insert_text SET STORAGE EXTERNAL, ALTER update_text SET STORAGE EXTERNAL;

CREATE FUNCTION bench.stage(clients integer, batches integer, first bigint DEFAULT 1, step bigint DEFAULT 1)
    RETURNS void LANGUAGE sql AS $$
    TRUNCATE bench.batch;
    INSERT INTO bench.batch
    SELECT client * 3 * batches + stage * batches + batch,
           array_agg(sid), array_agg(word), array_agg(word::msgstatus.delivery_status), array_agg(bit),
           'INSERT INTO delivery_log (sid, status) VALUES ' || string_agg(format('(%L, %L)', sid, word), ', '),
           'UPDATE messages AS m
               SET status = s,
                   status_at = now(),
                   sent_at = CASE WHEN s IN (''sent'', ''delivered'', ''read'', ''undelivered'') THEN least(m.sent_at, now()) ELSE m.sent_at END,
                   delivered_at = CASE WHEN s IN (''delivered'', ''read'') THEN least(m.delivered_at, now()) ELSE m.delivered_at END,
                   read_at = CASE WHEN s = ''read'' THEN least(m.read_at, now()) ELSE m.read_at END,
                   failed_at = CASE WHEN s IN (''undelivered'', ''failed'') THEN least(m.failed_at, now()) ELSE m.failed_at END,
                   canceled_at = CASE WHEN s = ''canceled'' THEN least(m.canceled_at, now()) ELSE m.canceled_at END,
                   statuses_seen = m.statuses_seen | c.bit
              FROM (VALUES ' || string_agg(format('(%L, %L::msgstatus.delivery_status, %s)', sid, word, bit), ', ') || ') AS c(sid, s, bit)
             WHERE m.sid = c.sid AND supersedes(s, m.status)'
      FROM (SELECT bench.sid(first + step * i) AS sid, stage, word, bit, i / (1000 * batches) AS client,
                   row_number() OVER (PARTITION BY stage, i / (1000 * batches) ORDER BY hashint8(i * 3 + stage)) - 1 AS place
              FROM generate_series(0, clients * batches * 1000 - 1) AS i,
                   (VALUES (0, 'sent', 1 << 6), (1, 'delivered', 1 << 12), (2, 'read', 1 << 13)) AS life(stage, word, bit)
           ) AS callback,
           LATERAL (SELECT place / 1000 AS batch) AS b
     GROUP BY client, stage, batch;
    $$;

-- Runs the texts of a batch in one transaction. They are parsed and planned each time, as a client's would be.
CREATE FUNCTION bench.run_batch(number integer, peer boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    texts record;
BEGIN
    SELECT insert_text, update_text INTO STRICT texts FROM bench.batch WHERE batch = number;
    EXECUTE texts.insert_text;
    IF peer THEN
        EXECUTE texts.update_text;
    END IF;
END
$$;

-- A file for COPY: four callbacks for each of n messages, in random order. Nine messages in ten are read, some fail
-- after they were sent; some callbacks come twice.
CREATE FUNCTION bench.write_callbacks(n bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    file text := current_setting('data_directory') || '/bench.callbacks';
BEGIN
    EXECUTE format($sql$
        COPY (SELECT bench.sid(i), 'twilio', word, code, message,
                     timestamptz '2026-01-01' + make_interval(secs => i * 0.01 + place * 60)
                FROM generate_series(1, %s) AS i,
                     (VALUES (0, 90, 1, 'sending', NULL, NULL), (0, 90, 2, 'sent', NULL, NULL), (0, 90, 3, 'delivered', NULL, NULL),
                             (0, 90, 4, 'read', NULL, NULL),
                             (90, 97, 1, 'sent', NULL, NULL), (90, 97, 2, 'sent', NULL, NULL), (90, 97, 3, 'delivered', NULL, NULL),
                             (90, 97, 4, 'delivered', NULL, NULL),
                             (97, 100, 1, 'sending', NULL, NULL), (97, 100, 2, 'sent', NULL, NULL),
                             (97, 100, 3, 'undelivered', '30003', 'Unreachable destination handset'),
                             (97, 100, 4, 'undelivered', '30003', 'Unreachable destination handset'))
                          AS life(low, high, place, word, code, message)
               WHERE i %% 100 >= low AND i %% 100 < high
               ORDER BY hashint8(i * 4 + place)) TO %L
        $sql$, n, file);
    RETURN file;
END
$$;
