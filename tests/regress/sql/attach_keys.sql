-- The keys that attach takes, and the DDL that it names where it refuses.
SET client_min_messages = warning;
CREATE SCHEMA attach_keys;
SET search_path = attach_keys;

-- Keys that would not agree which are equal, and indexes that could not be used: refused, with DDL that runs as it is.
CREATE FUNCTION hint_of(sql text) RETURNS TABLE (error text, hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE sql;
    error := 'none';
    RETURN NEXT;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS error = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN NEXT;
END $$;
-- Attaches, running the DDL of each hint, until there is no error.
CREATE FUNCTION obey(sql text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    e record;
BEGIN
    FOR i IN 1 .. 4 LOOP
        e := hint_of(sql);
        RETURN NEXT concat_ws(' => ', e.error, e.hint);
        EXIT WHEN e.error = 'none';
        EXECUTE replace(substring(e.hint FROM '(?:CREATE|ALTER) .*;'), ' CONCURRENTLY', '');
    END LOOP;
END $$;
CREATE TABLE two_levels (sid text, region text, at date, status msgstatus.delivery_status) PARTITION BY LIST (region);
CREATE TABLE two_levels_eu PARTITION OF two_levels FOR VALUES IN ('eu') PARTITION BY RANGE (at);
CREATE TABLE two_levels_eu_1 PARTITION OF two_levels_eu DEFAULT;
CREATE TABLE two_levels_log (sid text, status text);
SELECT obey($$SELECT msgstatus.attach('two_levels', 'two_levels_log')$$);
INSERT INTO two_levels VALUES ('T1', 'eu', '2026-01-01', 'queued');
SELECT msgstatus.apply_status('T1', 'sent', messages => 'two_levels');
CREATE TABLE by_date (sid text, at date, status msgstatus.delivery_status) PARTITION BY RANGE (at);
SELECT obey($$SELECT msgstatus.attach('by_date', 'two_levels_log')$$);
CREATE TABLE by_expression (sid text, at date, status msgstatus.delivery_status) PARTITION BY RANGE (date_trunc('month', at::timestamp));
SELECT * FROM hint_of($$SELECT msgstatus.attach('by_expression', 'two_levels_log')$$);
-- An index with another collation than the column's leads nowhere, nor does one that has no places of rows.
CREATE TABLE collated (sid text COLLATE "POSIX", status msgstatus.delivery_status);
CREATE UNIQUE INDEX ON collated (sid COLLATE "C");
CREATE TABLE collated_log (sid text, status text);
CREATE INDEX ON collated_log USING brin (sid);
SELECT obey($$SELECT msgstatus.attach('collated', 'collated_log')$$);

-- Where there is ICU: messages that tell no capitals from small letters, and a log that does.
DO $do$
DECLARE
    step text;
BEGIN
    BEGIN
        CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    EXCEPTION WHEN feature_not_supported THEN
        RETURN;
    END;
    CREATE TABLE ci_m (sid text COLLATE ci UNIQUE, status msgstatus.delivery_status);
    CREATE TABLE ci_l (sid varchar(40), status text);
    CREATE INDEX ON ci_l (sid);
    SELECT string_agg(s, '; ') INTO step FROM obey($$SELECT msgstatus.attach('ci_m', 'ci_l')$$) s;
    IF step NOT LIKE '%has collation attach_keys.ci, the key "sid" of the log collation pg_catalog."default"%TYPE character varying(40) COLLATE attach_keys.ci;; none' THEN
        RAISE WARNING '%', step;
    END IF;
    INSERT INTO ci_l VALUES ('early', 'sent');
    INSERT INTO ci_m VALUES ('EARLY', 'queued'), ('LATE', 'queued');
    INSERT INTO ci_l VALUES ('late', 'sent');
    INSERT INTO ci_l VALUES ('Late', 'delivered'), ('Early', 'delivered');
    IF (SELECT string_agg(sid || ' ' || status, ', ' ORDER BY sid) FROM ci_m) <> 'EARLY delivered, LATE delivered' THEN
        RAISE WARNING '%', (SELECT string_agg(sid || ' ' || status, ', ' ORDER BY sid) FROM ci_m);
    END IF;
END $do$;

-- Where there are virtual generated columns.
DO $do$
DECLARE
    step text;
BEGIN
    IF current_setting('server_version_num')::integer < 180000 THEN
        RETURN;
    END IF;
    EXECUTE 'CREATE TABLE virtual_m (id integer, "Sid" text GENERATED ALWAYS AS (''SM'' || id) VIRTUAL, status msgstatus.delivery_status)';
    CREATE TABLE virtual_l (sid text, status text);
    CREATE INDEX ON virtual_l (sid);
    SELECT string_agg(s, '; ') INTO step FROM obey($$SELECT msgstatus.attach('virtual_m', 'virtual_l', message_key => 'Sid')$$) s;
    IF step NOT LIKE '%virtual generated column%; none' THEN
        RAISE WARNING '%', step;
    END IF;
    INSERT INTO virtual_m (id, status) VALUES (1, 'queued');
    INSERT INTO virtual_l VALUES ('SM1', 'sent');
    IF (SELECT status FROM virtual_m) <> 'sent' THEN
        RAISE WARNING 'not sent';
    END IF;
END $do$;
DROP SCHEMA attach_keys CASCADE;
