-- What one asks of a tracked pair. messages => NULL means the only tracked messages table.

CREATE FUNCTION msgstatus.apply_status(
    sid text,
    status text,
    event_at timestamptz DEFAULT NULL,
    error_code text DEFAULT NULL,
    error_message text DEFAULT NULL,
    payload jsonb DEFAULT NULL,
    provider text DEFAULT NULL,
    source text DEFAULT 'api',
    messages regclass DEFAULT NULL
) RETURNS msgstatus.verdict
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'msgstatus_apply_status';
COMMENT ON FUNCTION msgstatus.apply_status(text, text, timestamptz, text, text, jsonb, text, text, regclass) IS
    'Writes an event into the delivery log and gives the verdict on it. sid is the message''s key as text; provider, whose word status is, is that of attach unless given.';

CREATE FUNCTION msgstatus.history(
    sid text, messages regclass DEFAULT NULL,
    OUT delivery_id bigint, OUT created_at timestamptz, OUT t timestamptz, OUT word text,
    OUT status msgstatus.delivery_status, OUT verdict msgstatus.verdict, OUT status_after msgstatus.delivery_status,
    OUT error_code text, OUT error_message text, OUT source text
) RETURNS SETOF record
    LANGUAGE c STABLE ROWS 5 AS 'MODULE_PATHNAME', 'msgstatus_history';
COMMENT ON FUNCTION msgstatus.history(text, regclass) IS
    'The life of one message: its events in the order they arrived, what became of each, and the status after it. t is the time that the fold goes by.';

CREATE FUNCTION msgstatus.verify(
    since interval DEFAULT NULL, messages regclass DEFAULT NULL,
    OUT message_key text, OUT "column" text, OUT stored text, OUT folded text
) RETURNS SETOF record
    LANGUAGE c STABLE ROWS 10 AS 'MODULE_PATHNAME', 'msgstatus_verify';
COMMENT ON FUNCTION msgstatus.verify(interval, regclass) IS
    'Every difference between the messages table and a fold of its log (since: of messages with log rows that recent). Empty when all is well.';

CREATE FUNCTION msgstatus.rebuild(since interval DEFAULT NULL, messages regclass DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'msgstatus_rebuild';
COMMENT ON FUNCTION msgstatus.rebuild(interval, regclass) IS
    'Rewrites what verify lists, in batches, with progress notices; gives the number of messages rewritten. For the owner of the messages table.';

CREATE FUNCTION msgstatus.rebuild_part(
    messages regclass, after text, part integer, OUT last text, OUT looked bigint, OUT rewritten bigint
) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'msgstatus_rebuild_part';
COMMENT ON FUNCTION msgstatus.rebuild_part(regclass, text, integer) IS
    'Rewrites what verify would list of the next messages by key: the last of these keys, how many there were and how many were rewritten. No row at the end. For scripts of your own; rebuild_in_parts calls it.';

-- Without SET search_path, with which a procedure could not commit: everything in it is qualified.
CREATE PROCEDURE msgstatus.rebuild_in_parts(
    messages regclass DEFAULT NULL, part integer DEFAULT 10000, INOUT rewritten bigint DEFAULT 0
)
    LANGUAGE plpgsql
AS $procedure$
DECLARE
    step record;
    place pg_catalog.text;
    looked bigint := 0;
    told bigint := 0;
BEGIN
    rewritten := 0;
    LOOP
        SELECT p.last, p.looked, p.rewritten INTO step FROM msgstatus.rebuild_part(messages, place, part) p;
        COMMIT;
        EXIT WHEN step.last IS NULL;
        place := step.last;
        looked := looked OPERATOR(pg_catalog.+) step.looked;
        rewritten := rewritten OPERATOR(pg_catalog.+) step.rewritten;
        IF looked OPERATOR(pg_catalog.-) told OPERATOR(pg_catalog.>=) 100000 THEN
            told := looked;
            RAISE NOTICE 'rebuild: % messages looked at, % rewritten, up to key %', looked, rewritten, place;
        END IF;
    END LOOP;
END
$procedure$;
COMMENT ON PROCEDURE msgstatus.rebuild_in_parts(regclass, integer, bigint) IS
    'The same as rebuild, committed every so many messages, for large tables in use: it holds the locks of one part at a time.';

CREATE FUNCTION msgstatus.settle(since interval DEFAULT '1 hour') RETURNS bigint
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'msgstatus_settle';
COMMENT ON FUNCTION msgstatus.settle(interval) IS
    'Folds whatever a disabled trigger or replication left behind in recent log rows of the tables that the caller may change; gives the number of messages mended. For pg_cron and the like.';

CREATE FUNCTION msgstatus.unmatched(
    messages regclass DEFAULT NULL,
    OUT delivery_id bigint, OUT created_at timestamptz, OUT message_key text, OUT provider text, OUT word text,
    OUT event_at timestamptz, OUT error_code text, OUT error_message text, OUT source text
) RETURNS SETOF record
    LANGUAGE c STABLE ROWS 100 AS 'MODULE_PATHNAME', 'msgstatus_unmatched';
COMMENT ON FUNCTION msgstatus.unmatched(regclass) IS
    'Log rows that wait for a message with their key; and callbacks that wait for one with their SID, where the log goes by another key, with the SID in place of the key.';

CREATE FUNCTION msgstatus.unrecognized(
    messages regclass DEFAULT NULL,
    OUT provider text, OUT word text, OUT occurrences bigint, OUT first_seen timestamptz, OUT last_seen timestamptz
) RETURNS SETOF record
    LANGUAGE c STABLE ROWS 20 AS 'MODULE_PATHNAME', 'msgstatus_unrecognized';
COMMENT ON FUNCTION msgstatus.unrecognized(regclass) IS
    'Words in the log that mean nothing for their provider, with how often and when they came.';

CREATE FUNCTION msgstatus.due(
    max_messages integer DEFAULT 100, max_checks integer DEFAULT 20,
    OUT messages regclass, OUT message_key text, OUT sid text, OUT status msgstatus.delivery_status, OUT age interval,
    OUT check_count integer, OUT last_checked_at timestamptz, OUT schedule text, OUT reason text
) RETURNS SETOF record
    LANGUAGE c STABLE ROWS 100 AS 'MODULE_PATHNAME', 'msgstatus_due';
COMMENT ON FUNCTION msgstatus.due(integer, integer) IS
    'Messages that it is time to ask Twilio about, by the schedule of their table, and why: never asked about first, then those not for the longest time. An answer that is written into the log with source ''poll'' counts as a check.';
