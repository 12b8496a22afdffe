-- Requests as they come in: raw bodies and their signatures, from files, through the webhook functions. Run by scripts/demo
-- and by tests/scenes.sh, in the directory tests/data, on a server that has the credentials of tests/data/requests.
\set QUIET on
\set ON_ERROR_STOP on
\pset null '-'
\pset footer off
\pset pager off
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE SCHEMA webhook;
SET search_path = webhook, public;
SELECT msgstatus.create_tables('webhook') \g /dev/null

-- As text, a line a row; CSV, so that nothing in them is special.
CREATE TEMP TABLE line (file text, n integer, text text);
\copy line FROM PROGRAM 'awk ''{ gsub(/"/, "\"\""); sub(/.*\//, "", FILENAME); print "\"" FILENAME "\"," FNR ",\"" $0 "\"" }'' requests/*.http' CSV
-- What a web handler has of a request: the path, the headers, and behind the first empty line the body.
CREATE TEMP VIEW request AS
SELECT file, split_part(head, ' ', 2) AS path, substring(head, 'X-[^:]+-Signature[^:]*: (\S+)') AS signature, body
  FROM (SELECT file, split_part(all_of_it, E'\n\n', 1) AS head, substr(all_of_it, strpos(all_of_it, E'\n\n') + 2) AS body
          FROM (SELECT file, string_agg(text, E'\n' ORDER BY n) AS all_of_it FROM line GROUP BY file) AS f) AS r;

INSERT INTO messages (sid, provider, to_address, body, status) VALUES
    ('SM71f3c8a5e09b4d26817fca3350de9b12', 'twilio', '+12025550161', 'Your code: 774101', 'queued'),
    ('SM2c94b0d7f6a84e13905ce72b1846dfa0', 'twilio', '+12025550162', 'Your parcel is here', 'queued'),
    ('wamid.HBgLMTIwMjU1NTAxNzEVAgARGBI2RDNGNzE4QjRBOTVDMjBFNzEA', 'whatsapp', '+12025550171', 'Gate 7, row 12', 'accepted'),
    ('wamid.HBgLMTIwMjU1NTAxNzIVAgARGBI5QkEwNEM3RTE1RDg2M0YyQTEA', 'whatsapp', '+12025550172', 'See you at eight', 'accepted');

-- What the handler answers. It hands over what it was sent, and looks at nothing.
CREATE FUNCTION pg_temp.answer(path text, body text, signature text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    verdict text;
BEGIN
    IF path = '/whatsapp' THEN
        RETURN '200, statuses stored: ' || msgstatus.whatsapp_callback(convert_to(body, 'UTF8'), signature, 'messages');
    END IF;
    verdict := msgstatus.twilio_callback('https://callbacks.example.com' || path, body, signature, 'messages');
    RETURN coalesce('200, ' || verdict, '200, nothing about a status');
EXCEPTION WHEN invalid_authorization_specification THEN
    RETURN '403, ' || SQLERRM;
END
$$;
\echo 'A web handler passes raw requests on, and the database verifies, parses and stores them:'
\echo
SELECT file AS request, left(signature, 17) || '...' AS signature, pg_temp.answer(path, body, signature) AS answer
  FROM (SELECT * FROM request ORDER BY file) AS r;

-- The application stores the message that one of them was too early for.
INSERT INTO messages (sid, to_address, body) VALUES ('SMd08e5b9136f74cc2a4f0b7217e93c865', '+12025550163', 'Your taxi is outside');
\echo 'So the messages say (the forged delivery of the parcel is not among it):'
\echo
SELECT body AS message, msgstatus.mask_address(to_address) AS to, status, to_char(read_at, 'HH24:MI:SS') AS read, error_code AS error
  FROM messages ORDER BY message_id;
\echo 'And why two of them failed, for whoever has to explain it:'
\echo
\pset format unaligned
\t on
SELECT format(E'%s:\n    %s', body, rtrim(regexp_replace(why || ' ', '(.{1,92}) ', E'\\1\n    ', 'g'), E'\n '))
  FROM messages, msgstatus.describe_error(error_code, error_message, provider) AS why WHERE error_code IS NOT NULL ORDER BY message_id;
\echo
