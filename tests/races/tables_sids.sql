-- psql: a pair of tables in a schema of its own, :schema, whose log goes by another key than the provider's id; and webhooks
-- of Meta's, signed with 'hush'.
CREATE SCHEMA :schema;
CREATE TABLE messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sid text UNIQUE, body text,
    status msgstatus.delivery_status NOT NULL DEFAULT 'queued', sent_at timestamptz, delivered_at timestamptz,
    statuses_seen integer NOT NULL DEFAULT 0, created_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE delivery_log (
    message bigint NOT NULL, status text NOT NULL, event_at timestamptz, payload jsonb,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE INDEX ON delivery_log (message);
SELECT msgstatus.attach('messages', 'delivery_log', 'id', 'message', provider => 'whatsapp', level => 'statement');
CREATE SEQUENCE tick;
-- HMAC's two keys, made of 'hush' once.
CREATE TABLE pad AS
SELECT string_agg(set_byte('\x00', 0, b # 54), '' ORDER BY i) AS inner, string_agg(set_byte('\x00', 0, b # 92), '' ORDER BY i) AS outer
  FROM generate_series(0, 63) AS i, LATERAL (SELECT CASE WHEN i < 4 THEN get_byte('hush', i) ELSE 0 END) AS of(b);
CREATE FUNCTION callbacks(sids text[], words text[], at double precision) RETURNS bigint LANGUAGE sql AS $$
SELECT msgstatus.whatsapp_callback(body, 'sha256=' || encode(sha256(p.outer || sha256(p.inner || body)), 'hex'), 'messages')
  FROM pad p, (SELECT convert_to(json_build_object('entry', json_build_array(json_build_object('changes', json_build_array(
                   json_build_object('value', json_build_object('statuses', json_agg(json_build_object(
                       'id', sid, 'status', word, 'timestamp', (1704067200 + at)::bigint::text))))))))::text, 'UTF8')
                 FROM unnest(sids, words) AS c(sid, word)) AS b(body)
$$;
-- Callbacks and the messages that they tell of, for count.sql.
CREATE VIEW :schema.told AS
SELECT m.id AS id, m.status AS stands, m.sent_at, m.delivered_at, m.statuses_seen, m.created_at AS stored_at,
       l.status, l.event_at, l.created_at
  FROM :schema.messages m JOIN :schema.delivery_log l ON l.message = m.id;
