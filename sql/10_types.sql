-- The delivery status: its type, its functions, operators, casts and aggregate.

CREATE TYPE msgstatus.delivery_status AS ENUM (
    'receiving', 'received',
    'accepted', 'scheduled', 'queued', 'sending', 'sent',
    'delivery_unknown', 'partially_delivered',
    'undelivered', 'failed', 'canceled', 'delivered',
    'read'
);
COMMENT ON TYPE msgstatus.delivery_status IS
    'Delivery status of a message. Sorts by progress: status >= ''delivered'' reached the handset, status BETWEEN ''undelivered'' AND ''canceled'' will not arrive.';

CREATE TYPE msgstatus.verdict AS ENUM (
    'applied', 'backfilled', 'duplicate', 'stale', 'conflict', 'unmatched', 'unrecognized'
);
COMMENT ON TYPE msgstatus.verdict IS
    'What became of one event: applied, backfilled, duplicate, stale (regression prevented), conflict, unmatched (no message yet), unrecognized (unknown word).';

CREATE FUNCTION msgstatus.rank(status msgstatus.delivery_status) RETURNS smallint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstatus_rank';
COMMENT ON FUNCTION msgstatus.rank(msgstatus.delivery_status) IS
    'Rank of a status under the default policy, first_final. The higher rank stands; final outcomes are equals.';

-- The functions below are inlined into the query that calls them, and stored parsed, so that nothing is looked up or
-- parsed again when they are. PostgreSQL inlines a STRICT function only if its
-- body is strict too, which AND and OR are not. Hence the comparisons of booleans: x > y is "x and not y", and
-- x <> y is "x or y" where both can't hold.

CREATE FUNCTION msgstatus.is_final(status msgstatus.delivery_status) RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ($1 OPERATOR(pg_catalog.>=) 'undelivered'::msgstatus.delivery_status)
            OPERATOR(pg_catalog.<>) ($1 OPERATOR(pg_catalog.=) 'received'::msgstatus.delivery_status);
COMMENT ON FUNCTION msgstatus.is_final(msgstatus.delivery_status) IS
    'Nothing but read is expected after it: received, undelivered, failed, canceled, delivered, read.';

CREATE FUNCTION msgstatus.is_success(status msgstatus.delivery_status) RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN $1 OPERATOR(pg_catalog.>=) 'delivered'::msgstatus.delivery_status;
COMMENT ON FUNCTION msgstatus.is_success(msgstatus.delivery_status) IS
    'The message reached the handset: delivered, read.';

CREATE FUNCTION msgstatus.is_failure(status msgstatus.delivery_status) RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ($1 OPERATOR(pg_catalog.>=) 'undelivered'::msgstatus.delivery_status)
            OPERATOR(pg_catalog.>) ($1 OPERATOR(pg_catalog.>=) 'canceled'::msgstatus.delivery_status);
COMMENT ON FUNCTION msgstatus.is_failure(msgstatus.delivery_status) IS
    'The provider says that the message did not arrive: undelivered, failed.';

-- Equal ranks are the labels from undelivered to delivered. So new supersedes old where it sorts higher, unless both
-- are among those: unless new is below read and old is not below undelivered.
CREATE FUNCTION msgstatus.supersedes(new msgstatus.delivery_status, old msgstatus.delivery_status) RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ($1 OPERATOR(pg_catalog.>) $2) OPERATOR(pg_catalog.>)
               (($1 OPERATOR(pg_catalog.<) 'read'::msgstatus.delivery_status) OPERATOR(pg_catalog.>)
                ($2 OPERATOR(pg_catalog.<) 'undelivered'::msgstatus.delivery_status));
COMMENT ON FUNCTION msgstatus.supersedes(msgstatus.delivery_status, msgstatus.delivery_status) IS
    'May new replace old under the default policy? True if the rank of new is higher.';

CREATE FUNCTION msgstatus.precedes(a msgstatus.delivery_status, b msgstatus.delivery_status) RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ($2 OPERATOR(pg_catalog.>) $1) OPERATOR(pg_catalog.>)
               (($2 OPERATOR(pg_catalog.<) 'read'::msgstatus.delivery_status) OPERATOR(pg_catalog.>)
                ($1 OPERATOR(pg_catalog.<) 'undelivered'::msgstatus.delivery_status));
COMMENT ON FUNCTION msgstatus.precedes(msgstatus.delivery_status, msgstatus.delivery_status) IS
    'Is a an earlier stage than b? supersedes with the arguments the other way round; behind operator <<.';

CREATE OPERATOR msgstatus.>> (
    LEFTARG = msgstatus.delivery_status, RIGHTARG = msgstatus.delivery_status,
    FUNCTION = msgstatus.supersedes, COMMUTATOR = OPERATOR(msgstatus.<<),
    RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);
COMMENT ON OPERATOR msgstatus.>> (msgstatus.delivery_status, msgstatus.delivery_status) IS
    'is a later stage than: the left rank is higher under the default policy';

CREATE OPERATOR msgstatus.<< (
    LEFTARG = msgstatus.delivery_status, RIGHTARG = msgstatus.delivery_status,
    FUNCTION = msgstatus.precedes, COMMUTATOR = OPERATOR(msgstatus.>>),
    RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
COMMENT ON OPERATOR msgstatus.<< (msgstatus.delivery_status, msgstatus.delivery_status) IS
    'is an earlier stage than: the left rank is lower under the default policy';

CREATE FUNCTION msgstatus.parse_status(word text, provider text DEFAULT 'twilio') RETURNS msgstatus.delivery_status
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstatus_parse_status';
COMMENT ON FUNCTION msgstatus.parse_status(text, text) IS
    'The status that a provider''s word means, in any case, blanks trimmed; NULL if the provider has no such word. Providers: twilio, whatsapp, vonage, messagebird, plivo, sinch, telnyx, aws, infobip, smpp; an unknown one is read as twilio.';

-- Drivers bind parameters as text or varchar; these casts let them write the column.
CREATE CAST (text AS msgstatus.delivery_status) WITH INOUT AS ASSIGNMENT;
COMMENT ON CAST (text AS msgstatus.delivery_status) IS 'lets text parameters write the column; an unknown label is an input error';
CREATE CAST (varchar AS msgstatus.delivery_status) WITH INOUT AS ASSIGNMENT;
COMMENT ON CAST (varchar AS msgstatus.delivery_status) IS 'lets varchar parameters write the column; an unknown label is an input error';

CREATE FUNCTION msgstatus.fold_step(internal, msgstatus.delivery_status, timestamptz) RETURNS internal
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'msgstatus_fold_step';
COMMENT ON FUNCTION msgstatus.fold_step(internal, msgstatus.delivery_status, timestamptz) IS 'part of the aggregate msgstatus.fold';
CREATE FUNCTION msgstatus.fold_combine(internal, internal) RETURNS internal
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'msgstatus_fold_combine';
COMMENT ON FUNCTION msgstatus.fold_combine(internal, internal) IS 'part of the aggregate msgstatus.fold';
CREATE FUNCTION msgstatus.fold_send(internal) RETURNS bytea
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'msgstatus_fold_send';
COMMENT ON FUNCTION msgstatus.fold_send(internal) IS 'part of the aggregate msgstatus.fold';
CREATE FUNCTION msgstatus.fold_receive(bytea, internal) RETURNS internal
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'msgstatus_fold_receive';
COMMENT ON FUNCTION msgstatus.fold_receive(bytea, internal) IS 'part of the aggregate msgstatus.fold';
CREATE FUNCTION msgstatus.fold_final(internal) RETURNS msgstatus.delivery_status
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'msgstatus_fold_final';
COMMENT ON FUNCTION msgstatus.fold_final(internal) IS 'part of the aggregate msgstatus.fold';

CREATE AGGREGATE msgstatus.fold(status msgstatus.delivery_status, at timestamptz) (
    SFUNC = msgstatus.fold_step, STYPE = internal, SSPACE = 16,
    FINALFUNC = msgstatus.fold_final, FINALFUNC_MODIFY = READ_ONLY,
    COMBINEFUNC = msgstatus.fold_combine,
    SERIALFUNC = msgstatus.fold_send, DESERIALFUNC = msgstatus.fold_receive,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE msgstatus.fold(msgstatus.delivery_status, timestamptz) IS
    'The status that these events leave a message in, in any order, under the default policy. NULL statuses are ignored; an event without a time counts as the latest.';
