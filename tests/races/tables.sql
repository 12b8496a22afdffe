-- psql: a pair of tables in a schema of its own, :schema.
CREATE SCHEMA :schema;
SELECT msgstatus.create_tables(:'schema');
CREATE SEQUENCE :schema.tick;
-- Callbacks and the messages that they tell of, for count.sql.
CREATE VIEW :schema.told AS
SELECT m.message_id AS id, m.status AS stands, m.sent_at, m.delivered_at, m.statuses_seen, m.created_at AS stored_at,
       l.status, l.event_at, l.created_at
  FROM :schema.messages m JOIN :schema.delivery_log l USING (sid);
