-- A table beside messages of those that are not final, kept by triggers.
CREATE TABLE in_flight_table.in_flight (message_id bigint PRIMARY KEY);

CREATE FUNCTION in_flight_table.enter() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO in_flight_table.in_flight SELECT message_id FROM entered WHERE NOT final;
    RETURN NULL;
END
$$;
CREATE TRIGGER enter AFTER INSERT ON in_flight_table.messages REFERENCING NEW TABLE AS entered
    FOR EACH STATEMENT EXECUTE FUNCTION in_flight_table.enter();

CREATE FUNCTION in_flight_table.leave() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM in_flight_table.in_flight WHERE message_id = NEW.message_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER leave AFTER UPDATE ON in_flight_table.messages
    FOR EACH ROW WHEN (NEW.final AND NOT OLD.final) EXECUTE FUNCTION in_flight_table.leave();
