-- Messages of the last 30 days, :rows of them, whose times are in a jsonb map and in columns; and the same queries on
-- both, those on the map word for word as a system had them (doc/adopting/002-whatsapp-jsonb.md).
\set ON_ERROR_STOP on
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS jsonb, native, gin, no_gin CASCADE;
CREATE SCHEMA jsonb;
CREATE SCHEMA native;
CREATE SCHEMA gin;
CREATE SCHEMA no_gin;

-- The map of some times, as the engine writes it.
CREATE OR REPLACE FUNCTION bench.map(sent timestamptz, delivered timestamptz, read timestamptz) RETURNS jsonb
    LANGUAGE sql STABLE AS $$
    SELECT jsonb_object_agg(key, to_jsonb(t AT TIME ZONE 'UTC')#>>'{}' || 'Z')
      FROM (VALUES ('sent', sent), ('delivered', delivered), ('read', read)) AS v(key, t) WHERE t IS NOT NULL
$$;

-- Of a hundred messages, two were not delivered and thirty were not read.
CREATE TABLE jsonb.message_logs AS
SELECT i AS id, 'wamid.' || bench.sid(i) AS bsp_msg_id, '+9198' || lpad(user_no::text, 8, '0') AS to_phone,
       'Your appointment is tomorrow at noon. Reply C to confirm.' AS message,
       bench.map(sent_at, delivered_at, read_at) AS whatsapp_status, sent_at - interval '1 second' AS created_at,
       sent_at, delivered_at, read_at
  FROM generate_series(1, :rows) AS i,
       LATERAL (SELECT i * 7919::bigint % 100 AS percent, hashint8(i) & 1048575 AS noise) AS r,
       LATERAL (SELECT noise % (:rows / 50) AS user_no, now() - (:rows - i + 1) * interval '30 days' / :rows AS sent_at) AS s,
       LATERAL (SELECT CASE WHEN percent >= 2 THEN date_trunc('second', sent_at) + make_interval(secs => 1 + noise % 20) END AS delivered_at) AS d,
       LATERAL (SELECT CASE WHEN percent >= 30 THEN delivered_at + make_interval(secs => noise % 3600) END AS read_at) AS e;
ALTER TABLE jsonb.message_logs ADD PRIMARY KEY (id);
CREATE UNIQUE INDEX ON jsonb.message_logs (bsp_msg_id);
CREATE INDEX ON jsonb.message_logs USING gin (whatsapp_status);
VACUUM (ANALYZE) jsonb.message_logs;

CREATE VIEW jsonb.read AS
SELECT bsp_msg_id, to_phone, whatsapp_status->>'read' as read_at
FROM jsonb.message_logs
WHERE whatsapp_status ? 'read'
ORDER BY (whatsapp_status->>'read')::timestamptz DESC;
CREATE VIEW native.read AS
SELECT bsp_msg_id, to_phone, read_at FROM jsonb.message_logs WHERE read_at IS NOT NULL ORDER BY read_at DESC;

CREATE VIEW jsonb.undelivered AS
SELECT bsp_msg_id, to_phone, whatsapp_status, created_at
FROM jsonb.message_logs
WHERE whatsapp_status->>'sent' IS NOT NULL
  AND whatsapp_status->>'delivered' IS NULL
  AND created_at < NOW() - INTERVAL '5 minutes';
CREATE VIEW native.undelivered AS
SELECT bsp_msg_id, to_phone, sent_at, created_at FROM jsonb.message_logs
 WHERE sent_at IS NOT NULL AND delivered_at IS NULL AND created_at < now() - interval '5 minutes';

CREATE VIEW jsonb.delivery_rate AS
SELECT 
  COUNT(*) FILTER (WHERE whatsapp_status ? 'delivered') * 100.0 / 
  COUNT(*) as delivery_rate_percent
FROM jsonb.message_logs
WHERE created_at > NOW() - INTERVAL '24 hours'
  AND bsp_msg_id IS NOT NULL;
CREATE VIEW native.delivery_rate AS
SELECT count(delivered_at) * 100.0 / count(*) AS delivery_rate_percent FROM jsonb.message_logs
 WHERE created_at > now() - interval '24 hours' AND bsp_msg_id IS NOT NULL;

CREATE VIEW jsonb.read_rate AS
SELECT 
  COUNT(*) FILTER (WHERE whatsapp_status ? 'read') * 100.0 / 
  COUNT(*) FILTER (WHERE whatsapp_status ? 'delivered') as read_rate_percent
FROM jsonb.message_logs
WHERE created_at > NOW() - INTERVAL '24 hours'
  AND bsp_msg_id IS NOT NULL;
CREATE VIEW native.read_rate AS
SELECT count(read_at) * 100.0 / count(delivered_at) AS read_rate_percent FROM jsonb.message_logs
 WHERE created_at > now() - interval '24 hours' AND bsp_msg_id IS NOT NULL;

CREATE VIEW jsonb.delivery_time AS
SELECT 
  AVG(
    EXTRACT(EPOCH FROM (whatsapp_status->>'delivered')::timestamptz) - 
    EXTRACT(EPOCH FROM (whatsapp_status->>'sent')::timestamptz)
  ) as avg_delivery_seconds
FROM jsonb.message_logs
WHERE whatsapp_status ? 'sent' AND whatsapp_status ? 'delivered'
  AND created_at > NOW() - INTERVAL '24 hours';
CREATE VIEW native.delivery_time AS
SELECT avg(extract(epoch FROM delivered_at - sent_at)) AS avg_delivery_seconds FROM jsonb.message_logs
 WHERE created_at > now() - interval '24 hours';

CREATE VIEW jsonb.engaged AS
SELECT 
  to_phone,
  COUNT(*) as total_messages,
  COUNT(*) FILTER (WHERE whatsapp_status ? 'read') as read_messages,
  COUNT(*) FILTER (WHERE whatsapp_status ? 'read') * 100.0 / COUNT(*) as read_rate
FROM jsonb.message_logs
WHERE created_at > NOW() - INTERVAL '7 days'
  AND bsp_msg_id IS NOT NULL
GROUP BY to_phone
HAVING COUNT(*) > 5
ORDER BY read_rate DESC
LIMIT 10;
CREATE VIEW native.engaged AS
SELECT to_phone, count(*) AS total_messages, count(read_at) AS read_messages, count(read_at) * 100.0 / count(*) AS read_rate
  FROM jsonb.message_logs
 WHERE created_at > now() - interval '7 days' AND bsp_msg_id IS NOT NULL
 GROUP BY to_phone HAVING count(*) > 5 ORDER BY read_rate DESC LIMIT 10;

-- How many rows one form of a query gives and the other does not. Of users who are equally engaged, each form may pick
-- others.
CREATE OR REPLACE FUNCTION bench.jsonb_differences(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    columns text := CASE query WHEN 'read' THEN 'bsp_msg_id, to_phone, read_at::timestamptz'
        WHEN 'undelivered' THEN 'bsp_msg_id, to_phone, created_at' WHEN 'engaged' THEN 'read_rate' ELSE '*' END;
    n bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM ((SELECT %2$s FROM jsonb.%1$I EXCEPT ALL SELECT %2$s FROM native.%1$I)
                                UNION ALL (SELECT %2$s FROM native.%1$I EXCEPT ALL SELECT %2$s FROM jsonb.%1$I)) AS d',
                   query, columns) INTO n;
    RETURN n;
END
$$;

-- Tables with room for an update of each row, one of them with the index on the map.
CREATE TABLE gin.message_logs (LIKE jsonb.message_logs INCLUDING INDEXES) WITH (fillfactor = 45);
CREATE TABLE no_gin.message_logs (LIKE jsonb.message_logs INCLUDING INDEXES) WITH (fillfactor = 45);
DROP INDEX no_gin.message_logs_whatsapp_status_idx;

CREATE OR REPLACE FUNCTION bench.fill_gin(side text, n bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('TRUNCATE %I.message_logs', side);
    EXECUTE format('INSERT INTO %I.message_logs SELECT * FROM jsonb.message_logs WHERE id <= %s', side, n);
END
$$;
