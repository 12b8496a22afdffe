-- The extension's own tables belong to this database, whatever publications and dumps make of them.

CREATE FUNCTION msgstatus.own_row_trigger() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'msgstatus_own_row_trigger';
COMMENT ON FUNCTION msgstatus.own_row_trigger() IS
    'on the extension''s own tables: leaves out what a subscription brings, which is about another database, and rows about tables that are not there';

CREATE TRIGGER own_row BEFORE INSERT OR UPDATE OR DELETE ON msgstatus.policy
    FOR EACH ROW EXECUTE FUNCTION msgstatus.own_row_trigger();
ALTER TABLE msgstatus.policy ENABLE ALWAYS TRIGGER own_row;
COMMENT ON TRIGGER own_row ON msgstatus.policy IS 'leaves out what a subscription brings';

CREATE TRIGGER own_row BEFORE INSERT OR UPDATE OR DELETE ON msgstatus.poll_schedule
    FOR EACH ROW EXECUTE FUNCTION msgstatus.own_row_trigger();
ALTER TABLE msgstatus.poll_schedule ENABLE ALWAYS TRIGGER own_row;
COMMENT ON TRIGGER own_row ON msgstatus.poll_schedule IS 'leaves out what a subscription brings';

CREATE TRIGGER own_row BEFORE INSERT OR UPDATE OR DELETE ON msgstatus.error_code
    FOR EACH ROW EXECUTE FUNCTION msgstatus.own_row_trigger();
ALTER TABLE msgstatus.error_code ENABLE ALWAYS TRIGGER own_row;
COMMENT ON TRIGGER own_row ON msgstatus.error_code IS 'leaves out what a subscription brings';

CREATE TRIGGER own_row BEFORE INSERT OR UPDATE OR DELETE ON msgstatus.tracked
    FOR EACH ROW EXECUTE FUNCTION msgstatus.own_row_trigger();
ALTER TABLE msgstatus.tracked ENABLE ALWAYS TRIGGER own_row;
COMMENT ON TRIGGER own_row ON msgstatus.tracked IS 'leaves out what a subscription brings, and rows about tables that are not there';

CREATE TRIGGER own_row BEFORE INSERT OR UPDATE OR DELETE ON msgstatus.waiting_callback
    FOR EACH ROW EXECUTE FUNCTION msgstatus.own_row_trigger();
ALTER TABLE msgstatus.waiting_callback ENABLE ALWAYS TRIGGER own_row;
COMMENT ON TRIGGER own_row ON msgstatus.waiting_callback IS 'leaves out what a subscription brings, and rows about tables that are not there';

CREATE TRIGGER own_row BEFORE INSERT OR UPDATE OR DELETE ON msgstatus.prepared_key
    FOR EACH ROW EXECUTE FUNCTION msgstatus.own_row_trigger();
ALTER TABLE msgstatus.prepared_key ENABLE ALWAYS TRIGGER own_row;
COMMENT ON TRIGGER own_row ON msgstatus.prepared_key IS 'leaves out what a subscription brings';

CREATE TRIGGER own_row BEFORE INSERT OR UPDATE OR DELETE ON msgstatus.poll_run
    FOR EACH ROW EXECUTE FUNCTION msgstatus.own_row_trigger();
ALTER TABLE msgstatus.poll_run ENABLE ALWAYS TRIGGER own_row;
COMMENT ON TRIGGER own_row ON msgstatus.poll_run IS 'leaves out what a subscription brings';
