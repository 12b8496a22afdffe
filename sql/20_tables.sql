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

CREATE TABLE msgstatus.tracked (
    pair integer PRIMARY KEY,
    messages regclass NOT NULL UNIQUE,
    log regclass NOT NULL,
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
COMMENT ON COLUMN msgstatus.tracked.poll IS 'the schedule on which the worker asks the provider: off';
COMMENT ON COLUMN msgstatus.tracked.notify IS 'which changes are sent with NOTIFY: none';
COMMENT ON COLUMN msgstatus.tracked.columns IS 'the columns argument of attach, as it was given';
COMMENT ON COLUMN msgstatus.tracked.mapping IS 'which column plays which role, as attach worked it out; the argument of the triggers';
COMMENT ON COLUMN msgstatus.tracked.attached_at IS 'when it was attached';

SELECT pg_catalog.pg_extension_config_dump('msgstatus.tracked', '');

CREATE SEQUENCE msgstatus.unmatched_commits;
COMMENT ON SEQUENCE msgstatus.unmatched_commits IS
    'Advances when a transaction commits callbacks whose message is not there. A transaction that inserts messages looks at it before it commits, to see whether it has to look at the log again.';
