-- Attaching the engine to tables, and the triggers that it consists of.

CREATE FUNCTION msgstatus.log_trigger() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'msgstatus_log_trigger';
COMMENT ON FUNCTION msgstatus.log_trigger() IS
    'on a delivery log: folds new rows into their messages. Made by attach; the argument says which column plays which role.';

CREATE FUNCTION msgstatus.replay_trigger() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'msgstatus_replay_trigger';
COMMENT ON FUNCTION msgstatus.replay_trigger() IS
    'on a messages table: folds in callbacks that came before their message, or before its key.';

CREATE FUNCTION msgstatus.guard_trigger() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'msgstatus_guard_trigger';
COMMENT ON FUNCTION msgstatus.guard_trigger() IS
    'on a messages table: folds direct writes, so that no writer moves a status back. Off while msgstatus.guard is off.';

-- The engine's own UPDATE asks these for the row that it looks at. Each role is only ever asked of the function of its
-- type; outside of that UPDATE they raise 55000.
CREATE FUNCTION msgstatus.decide(
    status msgstatus.delivery_status, status_at timestamptz, sent_at timestamptz, delivered_at timestamptz,
    read_at timestamptz, failed_at timestamptz, canceled_at timestamptz, statuses_seen integer, error_code text,
    error_message text, status_map text, final boolean, place bigint, tableoid oid, ctid tid
) RETURNS boolean LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'msgstatus_decide';
COMMENT ON FUNCTION msgstatus.decide(msgstatus.delivery_status, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz, integer, text, text, text, boolean, bigint, oid, tid) IS
    'part of the engine''s own UPDATE: do the callbacks at this place of it change this row?';
CREATE FUNCTION msgstatus.decided_status(role integer) RETURNS msgstatus.delivery_status
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'msgstatus_decided_status';
COMMENT ON FUNCTION msgstatus.decided_status(integer) IS 'part of the engine''s own UPDATE: a column of the row as decided';
CREATE FUNCTION msgstatus.decided_time(role integer) RETURNS timestamptz
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'msgstatus_decided_time';
COMMENT ON FUNCTION msgstatus.decided_time(integer) IS 'part of the engine''s own UPDATE: a column of the row as decided';
CREATE FUNCTION msgstatus.decided_integer(role integer) RETURNS integer
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'msgstatus_decided_integer';
COMMENT ON FUNCTION msgstatus.decided_integer(integer) IS 'part of the engine''s own UPDATE: a column of the row as decided';
CREATE FUNCTION msgstatus.decided_text(role integer) RETURNS text
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'msgstatus_decided_text';
COMMENT ON FUNCTION msgstatus.decided_text(integer) IS 'part of the engine''s own UPDATE: a column of the row as decided';
CREATE FUNCTION msgstatus.decided_boolean(role integer) RETURNS boolean
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'msgstatus_decided_boolean';
COMMENT ON FUNCTION msgstatus.decided_boolean(integer) IS 'part of the engine''s own UPDATE: a column of the row as decided';
CREATE FUNCTION msgstatus.decided_checks() RETURNS integer
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'msgstatus_decided_checks';
COMMENT ON FUNCTION msgstatus.decided_checks() IS 'part of the engine''s own UPDATE: how many answers of the provider are among the callbacks';
CREATE FUNCTION msgstatus.decided_checked_at() RETURNS timestamptz
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'msgstatus_decided_checked_at';
COMMENT ON FUNCTION msgstatus.decided_checked_at() IS 'part of the engine''s own UPDATE: when the last of these answers came';

CREATE FUNCTION msgstatus.attach(
    messages regclass,
    log regclass,
    message_key text DEFAULT 'sid',
    log_key text DEFAULT 'sid',
    status text DEFAULT 'status',
    log_status text DEFAULT 'status',
    columns jsonb DEFAULT '{}',
    provider text DEFAULT 'twilio',
    policy text DEFAULT 'first_final',
    on_regression text DEFAULT 'absorb',
    level text DEFAULT 'statement',
    poll text DEFAULT 'off',
    notify text DEFAULT 'none'
) RETURNS void
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'msgstatus_attach'
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION msgstatus.attach(regclass, regclass, text, text, text, text, jsonb, text, text, text, text, text, text) IS
    'Tracks a messages table by a delivery log: makes the triggers that keep it true. Needs the ownership of both tables.';

CREATE FUNCTION msgstatus.detach(messages regclass, log regclass) RETURNS void
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'msgstatus_detach'
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION msgstatus.detach(regclass, regclass) IS
    'Takes the triggers of msgstatus away and leaves tables and data as they are.';

CREATE FUNCTION msgstatus.create_tables(
    schema text DEFAULT current_schema(),
    messages text DEFAULT 'messages',
    log text DEFAULT 'delivery_log',
    partition_log boolean DEFAULT false
) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    messages_table text;
    log_table text;
    stem text;
    month date;
BEGIN
    IF schema IS NULL THEN
        RAISE EXCEPTION 'no schema to create the tables in'
            USING ERRCODE = '22023', HINT = 'Say which one: create_tables(schema => ''public''), or set search_path.';
    END IF;
    IF messages IS NULL OR log IS NULL OR messages = '' OR log = '' OR messages = log THEN
        RAISE EXCEPTION 'messages and log need two different names, not "%" and "%"', messages, log
            USING ERRCODE = '22023', HINT = 'Leave the arguments out for messages and delivery_log.';
    END IF;
    messages_table := format('%I.%I', schema, messages);
    log_table := format('%I.%I', schema, log);
    -- What the names of indexes and partitions begin with: identifiers end at 63 bytes.
    stem := CASE WHEN octet_length(log) <= 44 THEN log ELSE 'msgstatus_' || left(md5(log), 16) END;

    -- final is is_final(status), written out: PostgreSQL plans the expression of a generated column anew for every
    -- statement, and inlining the function would add half as much again to an update of one row.
    -- Fixed-length columns first, the ones that scans ask for at the front. No index contains a column that an update
    -- of the status changes, so that updates are HOT, and each page keeps room for them.
    EXECUTE format($$
        CREATE TABLE %s (
            message_id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
            created_at timestamptz NOT NULL DEFAULT now(),
            status msgstatus.delivery_status NOT NULL DEFAULT 'queued',
            statuses_seen integer NOT NULL DEFAULT 0,
            status_at timestamptz,
            scheduled_for timestamptz,
            sent_at timestamptz,
            delivered_at timestamptz,
            read_at timestamptz,
            failed_at timestamptz,
            canceled_at timestamptz,
            last_checked_at timestamptz,
            next_check_at timestamptz,
            check_count integer NOT NULL DEFAULT 0,
            num_segments integer,
            final boolean GENERATED ALWAYS AS (status >= 'undelivered' OR status = 'received') STORED,
            sid text UNIQUE,
            provider text DEFAULT 'twilio',
            account_sid text,
            tenant text,
            batch text,
            direction text DEFAULT 'outbound',
            from_address text,
            to_address text,
            body text,
            error_code text,
            error_message text,
            price numeric,
            price_unit text
        ) WITH (fillfactor = 45)
    $$, messages_table);
    EXECUTE format('COMMENT ON TABLE %s IS %L', messages_table,
        'Messages, with the delivery status that msgstatus keeps true from ' || log_table);

    -- Partitions share the sequence of their parent only through a default, not through an identity.
    EXECUTE format($$
        CREATE TABLE %s (
            delivery_id bigint %s,
            created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            event_at timestamptz,
            delivery_status msgstatus.delivery_status GENERATED ALWAYS AS (msgstatus.parse_status(status, provider)) STORED,
            sid text NOT NULL,
            provider text DEFAULT 'twilio',
            status text NOT NULL,
            error_code text,
            error_message text,
            source text NOT NULL DEFAULT 'callback',
            payload jsonb
        ) %s
    $$, log_table,
        CASE WHEN partition_log THEN 'NOT NULL' ELSE 'GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY' END,
        CASE WHEN partition_log THEN 'PARTITION BY RANGE (created_at)' ELSE '' END);
    EXECUTE format('COMMENT ON TABLE %s IS %L', log_table,
        'What providers said about messages, a row an event, as it came. Insert into it; msgstatus folds it into ' || messages_table);
    IF partition_log THEN
        EXECUTE format('CREATE SEQUENCE %I.%I OWNED BY %s.delivery_id', schema, stem || '_delivery_id_seq', log_table);
        -- A default asks for rights that an identity does not: INSERT on the log is to be enough.
        EXECUTE format('GRANT USAGE ON SEQUENCE %I.%I TO PUBLIC', schema, stem || '_delivery_id_seq');
        EXECUTE format('ALTER TABLE %s ALTER delivery_id SET DEFAULT nextval(%L)', log_table,
            format('%I.%I', schema, stem || '_delivery_id_seq'));
        EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (delivery_id, created_at)', log_table);
        FOR i IN -1 .. 3 LOOP
            month := (date_trunc('month', now()) + make_interval(months => i))::date;
            EXECUTE format('CREATE TABLE %I.%I PARTITION OF %s FOR VALUES FROM (%L) TO (%L)',
                schema, stem || to_char(month, '_YYYYMM'), log_table, month, month + make_interval(months => 1));
        END LOOP;
        EXECUTE format('CREATE TABLE %I.%I PARTITION OF %s DEFAULT', schema, stem || '_default', log_table);
    END IF;
    -- A hash index, because a btree refuses keys above 2700 bytes, and no callback is refused for what it says.
    EXECUTE format('CREATE INDEX %I ON %s USING hash (sid)', stem || '_sid_idx', log_table);
    EXECUTE format('CREATE INDEX %I ON %s USING brin (created_at)', stem || '_created_at_idx', log_table);

    PERFORM msgstatus.attach(messages_table::regclass, log_table::regclass);
END
$function$;
COMMENT ON FUNCTION msgstatus.create_tables(text, text, text, boolean) IS
    'Creates a messages table and its delivery log as ordinary tables of the caller, and attaches them.';

-- A tracked table that is dropped takes its counterpart's triggers and its row in tracked with it.
CREATE FUNCTION msgstatus.forget_dropped() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    gone record;
    doomed record;
BEGIN
    -- Also of a table that was detached before.
    DELETE FROM msgstatus.waiting_callback w USING pg_event_trigger_dropped_objects() d
     WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND w.messages = d.objid;
    IF NOT EXISTS (SELECT FROM msgstatus.tracked t JOIN pg_event_trigger_dropped_objects() d
                      ON d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND d.objid IN (t.messages::oid, t.log::oid)) THEN
        RETURN;
    END IF;
    -- As attach and detach do: one at a time.
    LOCK TABLE msgstatus.tracked IN SHARE ROW EXCLUSIVE MODE;
    FOR gone IN
        SELECT t.pair, t.messages::oid AS messages, t.log::oid AS log
          FROM msgstatus.tracked t
         WHERE EXISTS (SELECT FROM pg_event_trigger_dropped_objects() d
                        WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0
                          AND d.objid IN (t.messages::oid, t.log::oid))
    LOOP
        DELETE FROM msgstatus.tracked t WHERE t.pair = gone.pair;
        FOR doomed IN
            SELECT g.tgname, g.tgrelid::regclass AS relation
              FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid
             WHERE p.pronamespace = 'msgstatus'::regnamespace AND g.tgparentid = 0
               AND (g.tgrelid = gone.messages
                    OR g.tgrelid = gone.log AND g.tgname = 'msgstatus_fold_' || gone.pair)
        LOOP
            EXECUTE format('DROP TRIGGER %I ON %s', doomed.tgname, doomed.relation);
        END LOOP;
    END LOOP;
END
$function$;
COMMENT ON FUNCTION msgstatus.forget_dropped() IS 'forgets tracked tables that were dropped';
CREATE EVENT TRIGGER msgstatus_forget_dropped ON sql_drop
    WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED')
    EXECUTE FUNCTION msgstatus.forget_dropped();
COMMENT ON EVENT TRIGGER msgstatus_forget_dropped IS 'forgets tracked tables that were dropped';
