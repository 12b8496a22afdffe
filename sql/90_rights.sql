-- Who may do what. Functions run with the caller's rights on the tables; the triggers see to the rest.

REVOKE ALL ON SCHEMA msgstatus FROM PUBLIC;
GRANT USAGE ON SCHEMA msgstatus TO PUBLIC;

REVOKE ALL ON ALL TABLES IN SCHEMA msgstatus FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA msgstatus FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA msgstatus FROM PUBLIC;

-- Neither holds a secret; triggers read both with the rights of whoever fires them.
GRANT SELECT ON msgstatus.policy, msgstatus.poll_schedule, msgstatus.tracked, msgstatus.unmatched_commits,
    msgstatus.error_code TO PUBLIC;

GRANT EXECUTE ON ALL ROUTINES IN SCHEMA msgstatus TO PUBLIC;
REVOKE EXECUTE ON FUNCTION msgstatus.forget_dropped(), msgstatus.poll_schedule_trigger(), msgstatus.error_code_trigger()
    FROM PUBLIC;

-- These use the server's credentials: who may is granted EXECUTE.
REVOKE EXECUTE ON FUNCTION msgstatus.poll(integer, regclass), msgstatus.check_status(text), msgstatus.check_batch(text),
    msgstatus.twilio_callback(text, text, text, regclass), msgstatus.whatsapp_callback(bytea, text, regclass)
    FROM PUBLIC;
-- Messages of errors may name accounts and messages.
GRANT SELECT ON msgstatus.poll_run, msgstatus.worker TO pg_monitor;
REVOKE EXECUTE ON FUNCTION msgstatus.workers() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION msgstatus.workers() TO pg_monitor;
