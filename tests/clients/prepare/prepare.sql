-- PREPARE in plain SQL: what a driver asks of the server that declares the type of its parameters. Run by psql with
--   type=varchar   JDBC (setString), SQLAlchemy (String)
--   type=text      sqlx (str), psycopg (%b), a parameter that is cast to text
--   type=unknown   libpq, psycopg, node-postgres, JDBC with stringtype=unspecified
-- All of them write the log and messages.status as they are. Elsewhere varchar and text need the cast seen here.
\set QUIET on
\set ON_ERROR_STOP on
\pset tuples_only on
\pset format unaligned
SET client_min_messages = warning;
SELECT CASE :'type' WHEN 'unknown' THEN '00000' ELSE '42883' END AS no_operator,
       CASE :'type' WHEN 'unknown' THEN '00000' ELSE '42804' END AS no_match,
       CASE :'type' WHEN 'unknown' THEN 'unknown' ELSE :'type' || '[]' END AS types \gset

DROP TABLE IF EXISTS messages, delivery_log;
SELECT msgstatus.create_tables() AS made \gset
CREATE TEMP TABLE expected (sid text, status text, error_code text, sent_at timestamptz, delivered_at timestamptz,
    read_at timestamptz, failed_at timestamptz);
CREATE TEMP TABLE callbacks (n int GENERATED ALWAYS AS IDENTITY, sid text, status text, error_code text,
    event_at timestamptz);
\copy expected FROM ../messages.csv CSV HEADER
\copy callbacks (sid, status, error_code, event_at) FROM ../callbacks.csv CSV HEADER

\echo # :type
CREATE FUNCTION pg_temp.test(what text, passed boolean) RETURNS text
RETURN CASE WHEN passed THEN 'ok - ' ELSE 'not ok - ' END || what;
-- The SQLSTATE of a command, 00000 if it succeeds.
CREATE FUNCTION pg_temp.try(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN '00000';
EXCEPTION WHEN others THEN
    RETURN sqlstate;
END $$;

-- The callbacks. A late message is inserted behind them.
PREPARE message (:type) AS INSERT INTO messages (sid) VALUES ($1);
PREPARE callback (:type, :type, :type, timestamptz) AS
    INSERT INTO delivery_log (sid, status, error_code, event_at) VALUES ($1, $2, $3, $4);
SELECT format('EXECUTE message (%L)', sid) FROM expected WHERE sid <> 'SMlate' \gexec
SELECT format('EXECUTE callback (%L, %L, %L, %L)', sid, status, error_code, event_at) FROM callbacks ORDER BY n \gexec
EXECUTE message ('SMlate');
CREATE TEMP VIEW stored AS
    SELECT sid, status::text, error_code, sent_at, delivered_at, read_at, failed_at FROM messages;
CREATE TEMP VIEW difference AS
    (SELECT 'expected', * FROM expected EXCEPT SELECT 'expected', * FROM stored) UNION ALL
    (SELECT 'stored', * FROM stored EXCEPT SELECT 'stored', * FROM expected);
TABLE difference;
SELECT pg_temp.test('callbacks', NOT EXISTS (TABLE difference));

-- Writing messages.status.
TRUNCATE messages, delivery_log;
PREPARE put (:type, :type) AS INSERT INTO messages (sid, status) VALUES ($1, $2) RETURNING status;
PREPARE change (:type, :type) AS UPDATE messages SET status = $1, batch = $2 RETURNING status, batch;
PREPARE upsert (:type, :type) AS INSERT INTO messages (sid, status) VALUES ($1, $2)
    ON CONFLICT (sid) DO UPDATE SET status = excluded.status RETURNING status;
PREPARE apply (:type, :type) AS SELECT msgstatus.apply_status($1, $2, messages => 'messages') AS verdict;
EXECUTE put ('SM1', 'sent') \gset
SELECT pg_temp.test('INSERT', :'status' = 'sent');
EXECUTE change ('delivered', 'june') \gset
SELECT pg_temp.test('UPDATE', (:'status', :'batch') = ('delivered', 'june'));
EXECUTE change ('queued', 'july') \gset
SELECT pg_temp.test('UPDATE that would move back', (:'status', :'batch') = ('delivered', 'july'));
EXECUTE upsert ('SM1', 'sent') \gset
SELECT pg_temp.test('ON CONFLICT DO UPDATE that would move back', :'status' = 'delivered');
EXECUTE upsert ('SM1', 'read') \gset
SELECT pg_temp.test('ON CONFLICT DO UPDATE', :'status' = 'read');
EXECUTE apply ('SM1', 'sent') \gset
SELECT pg_temp.test('apply_status', :'verdict' = 'duplicate');
SELECT pg_temp.test('no label of the enum', pg_temp.try($$EXECUTE change ('bounced', 'may')$$) = '22P02');

-- Where the type of an expression is to be found, a declared parameter is no enum.
SELECT pg_temp.test('status = $1: only undeclared', pg_temp.try(format(
    'PREPARE equal (%s) AS SELECT FROM messages WHERE status = $1', :'type')) = :'no_operator');
SELECT pg_temp.test('status = ANY ($1): only undeclared', pg_temp.try(format(
    'PREPARE any_of (%s) AS SELECT FROM messages WHERE status = ANY ($1)', :'types')) = :'no_operator');
SELECT pg_temp.test('COALESCE($1, status): only undeclared', pg_temp.try(format(
    'PREPARE keep (%s) AS UPDATE messages SET status = COALESCE($1, status)', :'type')) = :'no_match');
-- With a cast it is.
PREPARE equal_cast (:type) AS SELECT count(*) FROM messages WHERE status = $1::msgstatus.delivery_status;
PREPARE any_of_cast (:types) AS SELECT count(*) FROM messages WHERE status = ANY ($1::msgstatus.delivery_status[]);
PREPARE keep_cast (:type) AS
    UPDATE messages SET status = COALESCE($1::msgstatus.delivery_status, status) RETURNING status;
EXECUTE equal_cast ('read') \gset
SELECT pg_temp.test('status = $1::msgstatus.delivery_status', :'count' = '1');
EXECUTE any_of_cast ('{read,sent}') \gset
SELECT pg_temp.test('status = ANY ($1::msgstatus.delivery_status[])', :'count' = '1');
EXECUTE keep_cast (NULL) \gset
SELECT pg_temp.test('COALESCE($1::msgstatus.delivery_status, status)', :'status' = 'read');
