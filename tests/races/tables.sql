-- psql: a pair of tables in a schema of its own, :schema.
CREATE SCHEMA :schema;
SELECT msgstatus.create_tables(:'schema');
CREATE SEQUENCE :schema.tick;
