-- The catalogue's own trigger, which comes after its rows, and the function that reads it. An upgrade script that changes the
-- catalogue disables the trigger meanwhile, and leaves rows alone that are edited.

CREATE FUNCTION msgstatus.error_code_trigger() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $function$
BEGIN
    -- As describe_error looks for them.
    NEW.code := btrim(NEW.code, E' \t\r\n');
    NEW.provider := lower(btrim(NEW.provider, E' \t\r\n'));
    -- A dump holds edited rows and says so; the row that came with the extension makes way for them.
    IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' AND NEW.edited THEN
        DELETE FROM msgstatus.error_code e
         WHERE e.code OPERATOR(pg_catalog.=) NEW.code AND e.provider OPERATOR(pg_catalog.=) NEW.provider AND NOT e.edited;
    END IF;
    NEW.edited := true;
    RETURN NEW;
END
$function$;
COMMENT ON FUNCTION msgstatus.error_code_trigger() IS
    'notes which rows of the catalogue are somebody''s own, and writes code and provider as describe_error looks for them';
CREATE TRIGGER error_code_edited BEFORE INSERT OR UPDATE ON msgstatus.error_code
    FOR EACH ROW EXECUTE FUNCTION msgstatus.error_code_trigger();
COMMENT ON TRIGGER error_code_edited ON msgstatus.error_code IS
    'notes which rows of the catalogue are somebody''s own, and writes code and provider as describe_error looks for them';

SELECT pg_catalog.pg_extension_config_dump('msgstatus.error_code', 'WHERE edited');

CREATE FUNCTION msgstatus.describe_error(code text, message text DEFAULT NULL, provider text DEFAULT 'twilio') RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $function$
SELECT CASE WHEN $1 IS NOT NULL THEN pg_catalog.concat_ws(' ',
           coalesce(
               (SELECT pg_catalog.format('%s (%s error %s).', e.title, e.provider, e.code) || coalesce(' ' || e.advice, '')
                       || CASE WHEN e.retryable THEN ' Sending it again may help.' ELSE '' END
                  FROM msgstatus.error_code e
                 WHERE e.code = said.code AND e.provider = pg_catalog.lower(said.provider)),
               CASE WHEN said.code = '' THEN 'There is no error code.'
                    ELSE pg_catalog.format('%s error %s, which the catalogue does not have.', said.provider, said.code) END),
           'The provider said: ' || nullif(said.message, '')) END
  FROM (SELECT pg_catalog.btrim($1, E' \t\r\n') AS code, pg_catalog.btrim($2, E' \t\r\n') AS message,
               coalesce(nullif(pg_catalog.btrim($3, E' \t\r\n'), ''), 'twilio') AS provider) AS said
$function$;
COMMENT ON FUNCTION msgstatus.describe_error(text, text, text) IS
    'A sentence for people about an error code: what happened and what to do, from the catalogue error_code, and what the provider said. NULL for NULL; it fails for nothing.';
