\set VERBOSITY terse
SET timezone = 'UTC';
-- Meta's signature, which PostgreSQL can make itself, and a webhook with it.
CREATE FUNCTION xored(bytes bytea, with_byte integer) RETURNS bytea LANGUAGE sql AS $$
SELECT string_agg(set_byte('\x00', 0, get_byte(bytes, i) # with_byte), '' ORDER BY i) FROM generate_series(0, length(bytes) - 1) i
$$;
CREATE FUNCTION signature(body bytea, key bytea DEFAULT 'hush') RETURNS text LANGUAGE sql AS $$
SELECT 'sha256=' || encode(sha256(xored(padded, 92) || sha256(xored(padded, 54) || body)), 'hex')
  FROM (SELECT key || decode(repeat('00', 64 - length(key)), 'hex')) AS p(padded)
$$;
CREATE FUNCTION body(statuses text) RETURNS bytea LANGUAGE sql AS $$
SELECT convert_to(format('{"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": {"statuses": [%s]}}]}]}',
                         statuses), 'UTF8')
$$;
CREATE FUNCTION said(id text, status text, at bigint DEFAULT 1750030000) RETURNS text LANGUAGE sql AS $$
SELECT format('{"id": %s, "status": %s, "timestamp": "%s"}', to_json(id), to_json(status), at)
$$;
CREATE FUNCTION called_back(statuses text, messages regclass DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
SELECT msgstatus.whatsapp_callback(body(statuses), signature(body(statuses)), messages)
$$;
