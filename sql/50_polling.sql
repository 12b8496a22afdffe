-- Asking the provider: rounds, the worker, and what one can ask by hand.

CREATE TABLE msgstatus.poll_run (
    run bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    trigger text NOT NULL,
    checked bigint NOT NULL DEFAULT 0,
    changed bigint NOT NULL DEFAULT 0,
    api_requests bigint NOT NULL DEFAULT 0,
    throttled bigint NOT NULL DEFAULT 0,
    errors bigint NOT NULL DEFAULT 0,
    message text,
    lease_until timestamptz
);
COMMENT ON TABLE msgstatus.poll_run IS
    'Rounds of asking the provider, of the last 30 days. Written by the worker, poll and check_...; read it, don''t change it.';
COMMENT ON SEQUENCE msgstatus.poll_run_run_seq IS 'numbers of rounds';
COMMENT ON COLUMN msgstatus.poll_run.run IS 'number of the round';
COMMENT ON COLUMN msgstatus.poll_run.started_at IS 'when it began';
COMMENT ON COLUMN msgstatus.poll_run.finished_at IS 'when it ended; NULL while it is under way';
COMMENT ON COLUMN msgstatus.poll_run.trigger IS
    'why: start (of the worker), interval, request (request_check), poll or check (by hand)';
COMMENT ON COLUMN msgstatus.poll_run.checked IS 'messages that the provider said something about';
COMMENT ON COLUMN msgstatus.poll_run.changed IS 'messages whose status is another now, also those that became delivery_unknown';
COMMENT ON COLUMN msgstatus.poll_run.api_requests IS 'requests, repeated ones counted each time';
COMMENT ON COLUMN msgstatus.poll_run.throttled IS 'requests that were answered with 429';
COMMENT ON COLUMN msgstatus.poll_run.errors IS 'messages asked about in vain, and accounts that were given up';
COMMENT ON COLUMN msgstatus.poll_run.message IS 'the first error, or the one that concerns an account';
COMMENT ON COLUMN msgstatus.poll_run.lease_until IS 'until when the round has its messages: their next_check_at meanwhile';

-- Everybody may know that a worker runs; what pg_stat_activity says of it is for some.
CREATE FUNCTION msgstatus.workers(OUT database text, OUT pid integer, OUT state text) RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER ROWS 2 SET search_path = pg_catalog, pg_temp
    AS $function$
SELECT pg_catalog.btrim(d.name), a.pid, coalesce(a.query, 'not running')
  FROM pg_catalog.string_to_table(pg_catalog.current_setting('msgstatus.databases', true), ',') AS d(name)
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.backend_type = 'msgstatus worker' AND a.datname = pg_catalog.btrim(d.name)
 WHERE pg_catalog.btrim(d.name) <> ''
 GROUP BY 1, 2, 3
$function$;
COMMENT ON FUNCTION msgstatus.workers() IS 'The workers that there should be, their process and what it does.';

CREATE VIEW msgstatus.worker AS
SELECT w.database, w.pid, w.state, r.started_at AS last_round, e.message AS last_error,
       CASE WHEN w.pid IS NOT NULL
            THEN coalesce(i.started_at + pg_catalog.current_setting('msgstatus.poll_interval')::interval, pg_catalog.now())
       END AS next_round
  FROM msgstatus.workers() w
  LEFT JOIN LATERAL (
       SELECT p.started_at FROM msgstatus.poll_run p
        WHERE w.database = pg_catalog.current_database() ORDER BY p.run DESC LIMIT 1) r ON true
  LEFT JOIN LATERAL (
       SELECT p.started_at FROM msgstatus.poll_run p
        WHERE w.database = pg_catalog.current_database() AND p.trigger IN ('start', 'interval')
        ORDER BY p.run DESC LIMIT 1) i ON true
  LEFT JOIN LATERAL (
       SELECT p.message FROM msgstatus.poll_run p
        WHERE w.database = pg_catalog.current_database() AND p.errors > 0 ORDER BY p.run DESC LIMIT 1) e ON true;
COMMENT ON VIEW msgstatus.worker IS
    'The workers of msgstatus.databases. Rounds are those of the current database: look from each.';
COMMENT ON COLUMN msgstatus.worker.database IS 'the database';
COMMENT ON COLUMN msgstatus.worker.pid IS 'the worker''s process; NULL if it does not run';
COMMENT ON COLUMN msgstatus.worker.state IS 'what it does, or what it waits for';
COMMENT ON COLUMN msgstatus.worker.last_round IS 'when the last round began, whoever ran it';
COMMENT ON COLUMN msgstatus.worker.last_error IS 'the error of the last round that had one';
COMMENT ON COLUMN msgstatus.worker.next_round IS 'when the next round is to begin';

CREATE FUNCTION msgstatus.poll(
    max_messages integer DEFAULT 100, messages regclass DEFAULT NULL,
    OUT sid text, OUT old_status msgstatus.delivery_status, OUT new_status msgstatus.delivery_status, OUT changed boolean,
    OUT error text
) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 100 AS 'MODULE_PATHNAME', 'msgstatus_poll';
COMMENT ON FUNCTION msgstatus.poll(integer, regclass) IS
    'Asks Twilio about the messages that are due, up to 500, in this session: one round, for pg_cron or by hand. It can be cancelled. Only for roles that are granted EXECUTE.';

CREATE FUNCTION msgstatus.check_status(
    sid text,
    OUT sid text, OUT status msgstatus.delivery_status, OUT to_address text, OUT from_address text, OUT error_code text,
    OUT error_message text, OUT date_sent timestamptz, OUT date_updated timestamptz, OUT price numeric, OUT price_unit text
) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'msgstatus_check_status';
COMMENT ON FUNCTION msgstatus.check_status(text) IS
    'Asks Twilio about one message now, records the answer and shows it. Only for roles that are granted EXECUTE.';

CREATE FUNCTION msgstatus.check_batch(
    batch text,
    OUT sid text, OUT status msgstatus.delivery_status, OUT to_address text, OUT from_address text, OUT error_code text,
    OUT error_message text, OUT date_sent timestamptz, OUT date_updated timestamptz, OUT price numeric, OUT price_unit text
) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 100 AS 'MODULE_PATHNAME', 'msgstatus_check_batch';
COMMENT ON FUNCTION msgstatus.check_batch(text) IS
    'The same for the messages of a batch, up to 100, those under way first. Only for roles that are granted EXECUTE.';

CREATE FUNCTION msgstatus.request_check(sid text) RETURNS void
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'msgstatus_request_check';
COMMENT ON FUNCTION msgstatus.request_check(text) IS
    'Has the worker ask about a message as soon as this is committed, whatever its schedule says. For roles that may update the messages table.';
