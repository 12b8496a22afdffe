-- A callback that is parsed already, by plain INSERT.
\set i :i + 1
INSERT INTO delivery_log (sid, provider, status, error_code, error_message, event_at, payload)
SELECT sid, provider, status, error_code, error_message, event_at, payload FROM bench.request WHERE provider = :provider AND i = :i;
