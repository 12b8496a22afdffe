-- The status type: labels, order, ranks, operators, predicates, casts, providers' words, the aggregate.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE SCHEMA type;
-- << and >> are found by name where the schema is on the path.
SET search_path = type, msgstatus;
CREATE VIEW statuses AS SELECT s, n FROM unnest(enum_range(NULL::msgstatus.delivery_status)) WITH ORDINALITY u(s, n);

-- Labels in order, with everything that is constant about them.
SELECT s AS status, rank(s), is_final(s) AS final, is_success(s) AS success, is_failure(s) AS failure FROM statuses ORDER BY s;
SELECT pg_typeof(rank('sent'::delivery_status)), enum_first(NULL::delivery_status), enum_last(NULL::delivery_status);
SELECT enum_range(NULL::verdict);
SELECT rank(NULL::delivery_status), is_final(NULL), is_success(NULL), is_failure(NULL), supersedes(NULL, 'sent'), supersedes('sent', NULL), NULL::delivery_status << 'sent', 'sent' >> NULL::delivery_status, parse_status(NULL), parse_status('sent', NULL);
-- What the order is good for.
SELECT array_agg(s ORDER BY s) FILTER (WHERE s >= 'delivered') AS reached, array_agg(s ORDER BY s) FILTER (WHERE s BETWEEN 'undelivered' AND 'canceled') AS will_not_arrive, max(s), min(s) FROM statuses;

-- Every pair: supersedes, << and >> say what the ranks say; the enum's order never contradicts them.
SELECT count(*) AS pairs,
       count(*) FILTER (WHERE supersedes(a.s, b.s) IS DISTINCT FROM (rank(a.s) > rank(b.s))) AS supersedes_wrong,
       count(*) FILTER (WHERE (a.s >> b.s) IS DISTINCT FROM (rank(a.s) > rank(b.s))) AS later_wrong,
       count(*) FILTER (WHERE (a.s << b.s) IS DISTINCT FROM (rank(a.s) < rank(b.s))) AS earlier_wrong,
       count(*) FILTER (WHERE (a.s << b.s) <> (b.s >> a.s)) AS not_commutators,
       count(*) FILTER (WHERE a.s << b.s AND NOT a.s < b.s) AS against_the_order
  FROM statuses a, statuses b;
-- A strict partial order.
SELECT count(*) FILTER (WHERE a.s << a.s) AS reflexive, count(*) FILTER (WHERE a.s << b.s AND b.s << a.s) AS symmetric,
       count(*) FILTER (WHERE a.s << b.s AND b.s << c.s AND NOT a.s << c.s) AS not_transitive
  FROM statuses a, statuses b, statuses c;
-- The same pairs as a constant, from a table (not inlined away), through an index and a hash.
CREATE TABLE pairs AS SELECT a.s AS a, b.s AS b, rank(a.s) AS ra, rank(b.s) AS rb FROM statuses a, statuses b;
SELECT count(*) FROM pairs WHERE (ra > rb) <> (a >> b) OR (ra < rb) <> (a << b) OR (ra > rb) <> supersedes(a, b);
SELECT a, count(*) FILTER (WHERE b << a) AS earlier, count(*) FILTER (WHERE b >> a) AS later FROM pairs GROUP BY a ORDER BY a;
CREATE INDEX ON pairs (a);
SELECT count(*) FROM pairs WHERE a = 'sent';
SELECT count(DISTINCT a) FROM pairs;
SELECT count(*) FROM pairs p JOIN pairs q ON p.a >> q.b AND p.b << 'sent' AND q.a = 'read';

-- Casts: text and varchar are assigned, a label that is not there is an input error.
CREATE TABLE cast_to (s delivery_status);
PREPARE put_text(text) AS INSERT INTO cast_to VALUES ($1) RETURNING s;
PREPARE put_varchar(varchar) AS INSERT INTO cast_to VALUES ($1) RETURNING s;
PREPARE put_varchar_n(varchar(9)) AS UPDATE cast_to SET s = $1 RETURNING s;
EXECUTE put_text('sent');
EXECUTE put_varchar('delivered');
EXECUTE put_varchar_n('queued');
EXECUTE put_text(NULL);
\set VERBOSITY sqlstate
EXECUTE put_text('bounced');
EXECUTE put_varchar('Sent');
EXECUTE put_text('');
SELECT 'bounced'::delivery_status;
SELECT 'sent '::text::delivery_status;
-- Not implicit: comparing text with a status is no cast of the text.
SELECT count(*) FROM cast_to WHERE s = 'queued'::text;
\set VERBOSITY terse
SELECT 'sent'::text::delivery_status, 'read'::varchar::delivery_status, 'failed'::delivery_status::text;
COPY cast_to FROM stdin;
read
undelivered
\.
SELECT s FROM cast_to ORDER BY s;

-- parse_status: any case, blanks around, nothing else.
SELECT word, parse_status(word) FROM unnest(ARRAY['delivered', 'DELIVERED', 'DeLiVeReD', ' delivered', E'delivered\n', E'\t\r\n delivered \t', 'deliver ed', 'delivered.', '', ' ', 'delivery-unknown', 'DELIVERY_UNKNOWN', 'partially_delivered', 'no such word', U&'\00A0sent']) word;
SELECT count(*) AS labels_of_twilio FROM statuses WHERE parse_status(s::text) = s AND parse_status(upper(s::text), 'twilio') = s;
SELECT provider, parse_status('sent', provider), parse_status('TEXT_SENT', provider) FROM unnest(ARRAY['twilio', 'TWILIO', ' twilio ', 'aws', 'Aws', E'\taws', 'nobody', '', 'aws2']) provider;
SELECT parse_status(word => 'DELIVRD', provider => 'smpp');

-- The words of each provider, as their documentation lists them.
CREATE TABLE documented (status delivery_status, provider text, words text[]);
INSERT INTO documented VALUES
    ('accepted', 'messagebird', '{accepted,pending}'), ('accepted', 'infobip', '{ACCEPTED}'), ('accepted', 'twilio', '{accepted}'), ('accepted', 'whatsapp', '{accepted}'),
    ('scheduled', 'twilio', '{scheduled}'), ('scheduled', 'messagebird', '{scheduled}'), ('scheduled', 'telnyx', '{scheduled}'), ('scheduled', 'smpp', '{SCHEDULED}'),
    ('queued', 'twilio', '{queued}'), ('queued', 'messagebird', '{processing}'), ('queued', 'plivo', '{queued}'), ('queued', 'sinch', '{Queued}'), ('queued', 'telnyx', '{queued}'), ('queued', 'aws', '{TEXT_QUEUED,TEXT_PENDING}'), ('queued', 'infobip', '{PENDING}'),
    ('sending', 'twilio', '{sending}'), ('sending', 'telnyx', '{sending}'),
    ('sent', 'twilio', '{sent}'), ('sent', 'vonage', '{accepted,buffered,submitted}'), ('sent', 'messagebird', '{sent,buffered}'), ('sent', 'plivo', '{sent}'), ('sent', 'sinch', '{Dispatched}'), ('sent', 'telnyx', '{sent}'), ('sent', 'aws', '{TEXT_SENT}'), ('sent', 'infobip', '{DELIVERED_TO_OPERATOR}'), ('sent', 'smpp', '{ENROUTE,ACCEPTD}'), ('sent', 'whatsapp', '{sent}'),
    ('delivered', 'twilio', '{delivered}'), ('delivered', 'vonage', '{delivered}'), ('delivered', 'messagebird', '{delivered}'), ('delivered', 'plivo', '{delivered}'), ('delivered', 'sinch', '{Delivered}'), ('delivered', 'telnyx', '{delivered}'), ('delivered', 'aws', '{TEXT_DELIVERED,TEXT_SUCCESSFUL}'), ('delivered', 'infobip', '{DELIVERED_TO_HANDSET}'), ('delivered', 'smpp', '{DELIVRD}'), ('delivered', 'whatsapp', '{delivered}'),
    ('read', 'twilio', '{read}'), ('read', 'vonage', '{read}'), ('read', 'plivo', '{read}'), ('read', 'whatsapp', '{read,played}'),
    ('undelivered', 'twilio', '{undelivered}'), ('undelivered', 'vonage', '{expired,failed,undeliverable}'), ('undelivered', 'messagebird', '{delivery_failed,expired,deleted}'), ('undelivered', 'plivo', '{undelivered}'), ('undelivered', 'sinch', '{Expired,Deleted,Failed}'), ('undelivered', 'telnyx', '{delivery_failed,expired}'),
    ('undelivered', 'aws', '{TEXT_UNREACHABLE,TEXT_CARRIER_UNREACHABLE,TEXT_CARRIER_BLOCKED,TEXT_TTL_EXPIRED,TEXT_INVALID}'), ('undelivered', 'infobip', '{UNDELIVERABLE,EXPIRED}'), ('undelivered', 'smpp', '{UNDELIV,EXPIRED,DELETED}'),
    ('failed', 'twilio', '{failed}'), ('failed', 'vonage', '{rejected}'), ('failed', 'messagebird', '{rejected,sending_failed,skipped}'), ('failed', 'plivo', '{failed,rejected}'), ('failed', 'sinch', '{Aborted,Rejected}'), ('failed', 'telnyx', '{sending_failed}'), ('failed', 'aws', '{TEXT_BLOCKED,TEXT_INVALID_MESSAGE,TEXT_SPAM,TEXT_PROTECT_BLOCKED}'), ('failed', 'infobip', '{REJECTED}'), ('failed', 'smpp', '{REJECTD,SKIPPED}'), ('failed', 'whatsapp', '{failed}'),
    ('canceled', 'twilio', '{canceled}'), ('canceled', 'sinch', '{Cancelled}'), ('canceled', 'whatsapp', '{deleted}'),
    ('delivery_unknown', 'twilio', '{delivery_unknown}'), ('delivery_unknown', 'vonage', '{unknown}'), ('delivery_unknown', 'sinch', '{Unknown}'), ('delivery_unknown', 'telnyx', '{delivery_unconfirmed}'), ('delivery_unknown', 'aws', '{TEXT_UNKNOWN}'), ('delivery_unknown', 'infobip', '{EXPIRED_DLR_UNKNOWN}'), ('delivery_unknown', 'smpp', '{UNKNOWN}'),
    ('partially_delivered', 'twilio', '{partially_delivered}'), ('receiving', 'twilio', '{receiving}'), ('received', 'twilio', '{received}');
SELECT provider, word, status AS documented, parse_status(word, provider) AS parsed FROM documented, unnest(words) word WHERE parse_status(word, provider) IS DISTINCT FROM status;
SELECT provider, count(*) AS words, count(DISTINCT status) AS statuses FROM documented, unnest(words) word GROUP BY 1 ORDER BY 1;
-- A word of one provider is not a word of all.
SELECT provider, count(*) FILTER (WHERE parse_status(word, provider) IS NULL) > 0 AS others_unknown FROM (SELECT DISTINCT provider FROM documented) p, (SELECT DISTINCT lower(w) AS word FROM documented, unnest(words) w) v GROUP BY 1 ORDER BY 1;

-- The aggregate: any order, NULLs, no rows.
SELECT fold(s, at) FROM (VALUES ('sent'::delivery_status, '2024-01-01'::timestamptz), ('delivered', '2024-01-03'), ('failed', '2024-01-02')) v(s, at);
SELECT fold(s, at) FROM (VALUES ('failed'::delivery_status, '2024-01-02'::timestamptz), ('sent', '2024-01-01'), ('delivered', '2024-01-03')) v(s, at);
SELECT fold(s, at) AS same_time_later_label FROM (VALUES ('delivered'::delivery_status, '2024-01-02'::timestamptz), ('undelivered', '2024-01-02'), ('failed', '2024-01-02')) v(s, at);
SELECT fold(s, at) AS nothing FROM (VALUES ('sent'::delivery_status, '2024-01-01'::timestamptz)) v(s, at) WHERE false;
SELECT fold(s, at) AS only_nulls FROM (VALUES (NULL::delivery_status, '2024-01-01'::timestamptz), (NULL, NULL)) v(s, at);
SELECT fold(s, at) AS without_a_time_is_latest FROM (VALUES ('failed'::delivery_status, NULL::timestamptz), ('delivered', 'infinity'), ('undelivered', '2024-01-01')) v(s, at);
SELECT fold(s, at) AS nulls_ignored FROM (VALUES (NULL::delivery_status, '2024-01-01'::timestamptz), ('sent', NULL), ('queued', '2024-01-01')) v(s, at);
SELECT fold(s, '2024-01-01') FILTER (WHERE s < 'sent') AS filtered, fold(DISTINCT s, '2024-01-01') AS distinct FROM statuses;
-- Every order of every set of three events gives one result.
CREATE TABLE events AS SELECT s, timestamptz '2024-01-01' + t * interval '1 hour' AS at, row_number() OVER () AS id
  FROM unnest(ARRAY['sent', 'undelivered', 'failed', 'canceled', 'delivered', 'read', 'queued']::delivery_status[]) s, generate_series(0, 1) t;
WITH triples AS (
    SELECT a.id AS a, b.id AS b, c.id AS c FROM events a, events b, events c
), folded AS (
    SELECT ARRAY(SELECT unnest(ARRAY[a, b, c]) ORDER BY 1) AS members, (SELECT fold(e.s, e.at) FROM unnest(ARRAY[a, b, c]) WITH ORDINALITY u(id, n) JOIN events e USING (id)) AS result FROM triples
)
SELECT count(DISTINCT members) AS sets, count(*) FILTER (WHERE results > 1) AS ambiguous FROM (SELECT members, count(DISTINCT result) AS results FROM folded GROUP BY 1) f;
-- It is the status that stands by the rule: highest rank, then earliest, then latest label.
SELECT count(*) FROM events a, events b, LATERAL (SELECT fold(e.s, e.at) AS result FROM events e WHERE e.id IN (a.id, b.id)) f
 WHERE f.result <> (SELECT e.s FROM events e WHERE e.id IN (a.id, b.id) ORDER BY rank(e.s) DESC, e.at, e.s DESC LIMIT 1);
-- As a window aggregate, with moving frames, and grouped.
SELECT n, s, fold(s, at) OVER (ORDER BY n) AS so_far, fold(s, at) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS around, fold(s, at) OVER (PARTITION BY n % 2 ORDER BY n DESC) AS parity
  FROM (VALUES (1, 'queued'::delivery_status, '2024-01-01'::timestamptz), (2, 'delivered', '2024-01-05'), (3, NULL, NULL), (4, 'failed', '2024-01-04'), (5, 'sent', '2024-01-02'), (6, 'read', '2024-01-06'), (7, 'undelivered', '2024-01-03')) v(n, s, at) ORDER BY n;
CREATE TABLE many AS SELECT 'm' || g % 997 AS sid, (enum_range(NULL::delivery_status))[1 + (g * 7919 % 14)] AS s, timestamptz '2024-01-01' + (g * 104729 % 1000) * interval '1 minute' AS at FROM generate_series(1::bigint, 100000) g;
INSERT INTO many SELECT 'm' || g, NULL, NULL FROM generate_series(1, 100) g;
CREATE TABLE by_rule AS SELECT DISTINCT ON (sid) sid, s FROM many WHERE s IS NOT NULL ORDER BY sid, rank(s) DESC, at, s DESC;
SET max_parallel_workers_per_gather = 0;
SELECT count(*) AS wrong FROM (SELECT sid, fold(s, at) AS f FROM many GROUP BY sid) x JOIN by_rule USING (sid) WHERE f <> s;
-- In parallel, hashed and sorted, the same.
CREATE FUNCTION parallel(statement text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN ' || statement LOOP
        IF line LIKE '%Partial%Aggregate%' THEN RETURN true; END IF;
    END LOOP;
    RETURN false;
END
$$;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 4;
ANALYZE many;
SELECT parallel('SELECT sid, fold(s, at) FROM type.many GROUP BY sid') AS in_parallel;
SELECT count(*) AS wrong FROM (SELECT sid, fold(s, at) AS f FROM many GROUP BY sid) x JOIN by_rule USING (sid) WHERE f <> s;
SET enable_hashagg = off;
SELECT parallel('SELECT sid, fold(s, at) FROM type.many GROUP BY sid') AS in_parallel;
SELECT count(*) AS wrong FROM (SELECT sid, fold(s, at) AS f FROM many GROUP BY sid) x JOIN by_rule USING (sid) WHERE f <> s;
SELECT parallel('SELECT fold(s, at) FROM type.many') AS in_parallel, (SELECT fold(s, at) FROM many) = (SELECT s FROM many WHERE s IS NOT NULL ORDER BY rank(s) DESC, at, s DESC LIMIT 1) AS same;
SELECT parallel('SELECT fold(s, at) FROM type.many WHERE s IS NULL') AS in_parallel, (SELECT fold(s, at) FROM many WHERE s IS NULL) IS NULL AS nothing;
-- The predicates in parallel workers.
SELECT count(*) FILTER (WHERE is_final(s)) = count(*) FILTER (WHERE s IN ('received', 'undelivered', 'failed', 'canceled', 'delivered', 'read')) AS final,
       count(*) FILTER (WHERE is_failure(s)) = count(*) FILTER (WHERE s IN ('undelivered', 'failed')) AS failure,
       count(*) FILTER (WHERE parse_status(s::text) = s) = count(s) AS parsed, sum(rank(s)) IS NOT NULL AS ranked FROM many;
RESET ALL;
SET search_path = type, msgstatus;
SET client_min_messages = warning;
DROP SCHEMA type CASCADE;
