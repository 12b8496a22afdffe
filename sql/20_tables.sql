-- The extension's own tables: policies and what is tracked. Messages and logs belong to the user.

CREATE TABLE msgstatus.policy (
    policy text NOT NULL CHECK (policy OPERATOR(pg_catalog.<>) ''),
    status msgstatus.delivery_status NOT NULL,
    rank smallint NOT NULL,
    PRIMARY KEY (policy, status)
);
COMMENT ON TABLE msgstatus.policy IS
    'Which status replaces which: the higher rank stands, at equal rank the earlier event. Add policies of your own with INSERT; a status that is left out keeps its default rank.';
COMMENT ON COLUMN msgstatus.policy.policy IS 'name, for attach(policy => ...)';
COMMENT ON COLUMN msgstatus.policy.status IS 'the status';
COMMENT ON COLUMN msgstatus.policy.rank IS 'its rank under this policy';

INSERT INTO msgstatus.policy
SELECT p.policy, s.status,
       CASE
           WHEN p.policy = 'delivery_wins' AND s.status = 'delivered' THEN 85
           WHEN p.policy = 'failure_wins' AND s.status IN ('undelivered', 'failed', 'canceled') THEN 99
           ELSE msgstatus.rank(s.status)
       END
  FROM (VALUES ('first_final'), ('delivery_wins'), ('failure_wins')) AS p(policy),
       pg_catalog.unnest(pg_catalog.enum_range(NULL::msgstatus.delivery_status)) AS s(status);

CREATE FUNCTION msgstatus.policy_trigger() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'msgstatus_policy_trigger';
COMMENT ON FUNCTION msgstatus.policy_trigger() IS
    'keeps the built-in policies as they are, and tells other sessions that a policy changed';
CREATE TRIGGER policy_changed AFTER INSERT OR UPDATE OR DELETE ON msgstatus.policy
    FOR EACH ROW EXECUTE FUNCTION msgstatus.policy_trigger();
CREATE TRIGGER policy_emptied BEFORE TRUNCATE ON msgstatus.policy
    FOR EACH STATEMENT EXECUTE FUNCTION msgstatus.policy_trigger();
COMMENT ON TRIGGER policy_emptied ON msgstatus.policy IS 'refuses TRUNCATE: the built-in policies are in this table';
COMMENT ON TRIGGER policy_changed ON msgstatus.policy IS
    'keeps the built-in policies as they are, and tells other sessions that a policy changed';

-- Built-in rows come with the extension; only the user's own go into a dump.
SELECT pg_catalog.pg_extension_config_dump('msgstatus.policy',
    $$WHERE policy NOT IN ('first_final', 'delivery_wins', 'failure_wins')$$);

CREATE TABLE msgstatus.poll_schedule (
    schedule text NOT NULL CHECK (schedule OPERATOR(pg_catalog.<>) '' AND schedule OPERATOR(pg_catalog.<>) 'off'),
    status msgstatus.delivery_status NOT NULL,
    min_age interval NOT NULL CHECK (min_age OPERATOR(pg_catalog.>=) '0'::interval),
    "interval" interval CHECK ("interval" OPERATOR(pg_catalog.>) '0'::interval),
    PRIMARY KEY (schedule, status, min_age)
);
COMMENT ON TABLE msgstatus.poll_schedule IS
    'When to ask the provider about a message: of the rows for its status, the one with the highest min_age that it has reached. Add schedules of your own with INSERT.';
COMMENT ON COLUMN msgstatus.poll_schedule.schedule IS 'name, for attach(poll => ...)';
COMMENT ON COLUMN msgstatus.poll_schedule.status IS 'the status; a message in one that has no row is not asked about';
COMMENT ON COLUMN msgstatus.poll_schedule.min_age IS 'from this age on, since created_at or scheduled_for';
COMMENT ON COLUMN msgstatus.poll_schedule."interval" IS 'ask at once, and again when so much time has passed; NULL: never again';

INSERT INTO msgstatus.poll_schedule
SELECT v.schedule, s.status, v.min_age, v.every
  FROM (VALUES
        -- Twilio keeps a message queued for up to 10 hours; after 72 hours nothing more is likely to come.
        ('stuck', false, interval '1 hour',   interval '1 hour'),
        ('stuck', true,  interval '2 hours',  interval '1 hour'),
        ('stuck', NULL,  interval '6 hours',  interval '3 hours'),
        ('stuck', NULL,  interval '24 hours', interval '12 hours'),
        ('stuck', NULL,  interval '72 hours', NULL),
        ('eager', NULL,  interval '0',          interval '2 minutes'),
        ('eager', NULL,  interval '5 minutes',  interval '5 minutes'),
        ('eager', NULL,  interval '30 minutes', interval '30 minutes')
       ) AS v(schedule, left_twilio, min_age, every),
       (VALUES ('accepted'::msgstatus.delivery_status, false), ('scheduled', false), ('queued', false), ('sending', false),
               ('sent', true), ('delivery_unknown', true), ('partially_delivered', true)) AS s(status, left_twilio)
 WHERE v.left_twilio IS NULL OR v.left_twilio = s.left_twilio;

CREATE FUNCTION msgstatus.poll_schedule_trigger() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    gone text := CASE WHEN TG_OP IN ('UPDATE', 'DELETE') THEN OLD.schedule END;
    come text := CASE WHEN TG_OP IN ('INSERT', 'UPDATE') THEN NEW.schedule END;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        RAISE EXCEPTION 'msgstatus.poll_schedule can''t be truncated: the built-in schedules are in it'
            USING ERRCODE = '42501', HINT = 'Delete the schedules of your own with DELETE.';
    END IF;
    IF gone IN ('stuck', 'eager') OR come IN ('stuck', 'eager') THEN
        RAISE EXCEPTION 'poll schedule "%" is built in and can''t be changed', coalesce(gone, come)
            USING ERRCODE = '42501', HINT = 'Add a schedule of your own with INSERT and attach with it.';
    END IF;
    IF gone IS DISTINCT FROM come AND EXISTS (SELECT FROM msgstatus.tracked t WHERE t.poll = gone)
       AND NOT EXISTS (SELECT FROM msgstatus.poll_schedule s WHERE s.schedule = gone) THEN
        RAISE EXCEPTION 'poll schedule "%" is in use', gone
            USING ERRCODE = '55000',
                  HINT = 'SELECT messages FROM msgstatus.tracked WHERE poll = ... lists the tables: detach them first.';
    END IF;
    RETURN NULL;
END
$function$;
COMMENT ON FUNCTION msgstatus.poll_schedule_trigger() IS
    'keeps the built-in schedules as they are, and those in use from being deleted';
CREATE TRIGGER poll_schedule_changed AFTER INSERT OR UPDATE OR DELETE ON msgstatus.poll_schedule
    FOR EACH ROW EXECUTE FUNCTION msgstatus.poll_schedule_trigger();
CREATE TRIGGER poll_schedule_emptied BEFORE TRUNCATE ON msgstatus.poll_schedule
    FOR EACH STATEMENT EXECUTE FUNCTION msgstatus.poll_schedule_trigger();
COMMENT ON TRIGGER poll_schedule_emptied ON msgstatus.poll_schedule IS
    'refuses TRUNCATE: the built-in schedules are in this table';
COMMENT ON TRIGGER poll_schedule_changed ON msgstatus.poll_schedule IS
    'keeps the built-in schedules as they are, and those in use from being deleted';

SELECT pg_catalog.pg_extension_config_dump('msgstatus.poll_schedule', $$WHERE schedule NOT IN ('stuck', 'eager')$$);

-- A regclass whose input takes the name of a table that is not there, so that in a restore which leaves one out the rows
-- of the others are not lost with it.
CREATE TYPE msgstatus.tracked_table;
CREATE FUNCTION msgstatus.tracked_table_in(cstring) RETURNS msgstatus.tracked_table
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'msgstatus_tracked_table_in';
COMMENT ON FUNCTION msgstatus.tracked_table_in(cstring) IS 'input of tracked_table: as regclass, but a table that is not there is none';
CREATE FUNCTION msgstatus.tracked_table_out(msgstatus.tracked_table) RETURNS cstring
    LANGUAGE internal STABLE STRICT PARALLEL SAFE AS 'regclassout';
COMMENT ON FUNCTION msgstatus.tracked_table_out(msgstatus.tracked_table) IS 'output of tracked_table: that of regclass';
CREATE FUNCTION msgstatus.tracked_table_recv(internal) RETURNS msgstatus.tracked_table
    LANGUAGE internal STABLE STRICT PARALLEL SAFE AS 'regclassrecv';
COMMENT ON FUNCTION msgstatus.tracked_table_recv(internal) IS 'binary input of tracked_table: that of regclass';
CREATE FUNCTION msgstatus.tracked_table_send(msgstatus.tracked_table) RETURNS bytea
    LANGUAGE internal STABLE STRICT PARALLEL SAFE AS 'regclasssend';
COMMENT ON FUNCTION msgstatus.tracked_table_send(msgstatus.tracked_table) IS 'binary output of tracked_table: that of regclass';
CREATE TYPE msgstatus.tracked_table (
    INPUT = msgstatus.tracked_table_in, OUTPUT = msgstatus.tracked_table_out,
    RECEIVE = msgstatus.tracked_table_recv, SEND = msgstatus.tracked_table_send, LIKE = pg_catalog.regclass
);
COMMENT ON TYPE msgstatus.tracked_table IS
    'A table, as regclass, for the extension''s own tables: the name of one that is not there is no error, and the row is left out.';
CREATE CAST (msgstatus.tracked_table AS pg_catalog.regclass) WITHOUT FUNCTION AS IMPLICIT;
COMMENT ON CAST (msgstatus.tracked_table AS pg_catalog.regclass) IS 'they are the same';
CREATE CAST (msgstatus.tracked_table AS pg_catalog.oid) WITHOUT FUNCTION AS IMPLICIT;
COMMENT ON CAST (msgstatus.tracked_table AS pg_catalog.oid) IS 'as that of regclass';
CREATE CAST (pg_catalog.regclass AS msgstatus.tracked_table) WITHOUT FUNCTION AS ASSIGNMENT;
COMMENT ON CAST (pg_catalog.regclass AS msgstatus.tracked_table) IS 'they are the same';
CREATE CAST (pg_catalog.oid AS msgstatus.tracked_table) WITHOUT FUNCTION AS ASSIGNMENT;
COMMENT ON CAST (pg_catalog.oid AS msgstatus.tracked_table) IS 'as that of regclass';

CREATE TABLE msgstatus.tracked (
    pair integer PRIMARY KEY,
    messages msgstatus.tracked_table NOT NULL UNIQUE,
    log msgstatus.tracked_table NOT NULL,
    policy text NOT NULL,
    on_regression text NOT NULL,
    level text NOT NULL,
    poll text NOT NULL,
    notify text NOT NULL,
    columns jsonb NOT NULL,
    mapping jsonb NOT NULL,
    attached_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE msgstatus.tracked IS
    'The messages tables that msgstatus keeps true, and their delivery logs. Written by attach and detach; read it, don''t change it.';
COMMENT ON COLUMN msgstatus.tracked.pair IS 'number of the pair, as in the trigger msgstatus_fold_<pair> on the log';
COMMENT ON COLUMN msgstatus.tracked.messages IS 'the messages table; follows renames';
COMMENT ON COLUMN msgstatus.tracked.log IS 'the delivery log; follows renames';
COMMENT ON COLUMN msgstatus.tracked.policy IS 'the policy that decides which status stands';
COMMENT ON COLUMN msgstatus.tracked.on_regression IS 'what a direct UPDATE that would move a status back gets: absorb or error';
COMMENT ON COLUMN msgstatus.tracked.level IS 'statement or row triggers';
COMMENT ON COLUMN msgstatus.tracked.poll IS 'the schedule on which to ask the provider: off, stuck, eager, or one of your own';
COMMENT ON COLUMN msgstatus.tracked.notify IS 'which changes are sent with NOTIFY: none';
COMMENT ON COLUMN msgstatus.tracked.columns IS 'the columns argument of attach, as it was given';
COMMENT ON COLUMN msgstatus.tracked.mapping IS 'which column plays which role, as attach worked it out; the argument of the triggers';
COMMENT ON COLUMN msgstatus.tracked.attached_at IS 'when it was attached';

SELECT pg_catalog.pg_extension_config_dump('msgstatus.tracked', '');

CREATE SEQUENCE msgstatus.unmatched_commits;
COMMENT ON SEQUENCE msgstatus.unmatched_commits IS
    'Advances when a transaction commits callbacks whose message is not there. A transaction that inserts messages looks at it before it commits, to see whether it has to look at the log again.';

CREATE TABLE msgstatus.prepared_key (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    messages oid NOT NULL,
    key text NOT NULL,
    what text NOT NULL,
    checks integer NOT NULL,
    checked_at timestamptz
);
COMMENT ON TABLE msgstatus.prepared_key IS
    'What a subscription has still to fold: of transactions that it has prepared, until they are committed, and of messages that somebody held. The next transaction of a subscription folds it, or settle().';
COMMENT ON SEQUENCE msgstatus.prepared_key_id_seq IS 'numbers the rows of prepared_key';
COMMENT ON COLUMN msgstatus.prepared_key.id IS 'number of the row';
COMMENT ON COLUMN msgstatus.prepared_key.messages IS 'the messages table';
COMMENT ON COLUMN msgstatus.prepared_key.key IS 'a message''s key or SID, as text';
COMMENT ON COLUMN msgstatus.prepared_key.what IS 'what was written: a callback or a message, by its key or its SID';
COMMENT ON COLUMN msgstatus.prepared_key.checks IS 'how many of the callbacks are answers of the provider that are still to be counted';
COMMENT ON COLUMN msgstatus.prepared_key.checked_at IS 'when the last of these answers came';
