-- What error codes mean: a catalogue that its users may edit. Its rows are in sql/error_codes.

CREATE TABLE msgstatus.error_code (
    code text NOT NULL CHECK (code OPERATOR(pg_catalog.<>) ''),
    provider text NOT NULL DEFAULT 'twilio' CHECK (provider OPERATOR(pg_catalog.<>) ''),
    title text NOT NULL,
    class text NOT NULL DEFAULT 'unknown' CHECK (class OPERATOR(pg_catalog.=) ANY (ARRAY[
        'carrier', 'handset', 'content', 'consent', 'account', 'sender', 'capacity', 'configuration', 'unknown'])),
    retryable boolean NOT NULL DEFAULT false,
    advice text,
    basis text NOT NULL DEFAULT 'own' CHECK (basis OPERATOR(pg_catalog.=) ANY (ARRAY[
        'documented', 'observed', 'inferred', 'own'])),
    edited boolean NOT NULL DEFAULT false,
    PRIMARY KEY (code, provider)
);
COMMENT ON TABLE msgstatus.error_code IS
    'What the error codes of providers mean. Change, add and delete what you like: what you changed or added is kept by upgrades and goes into dumps. Codes that are not in it are fine.';
COMMENT ON COLUMN msgstatus.error_code.code IS 'the code, as the log has it';
COMMENT ON COLUMN msgstatus.error_code.provider IS 'whose code it is: twilio, whatsapp, ...; the same code may mean something else elsewhere';
COMMENT ON COLUMN msgstatus.error_code.title IS 'what happened, in a few words';
COMMENT ON COLUMN msgstatus.error_code.class IS
    'whose trouble it is: carrier, handset, content, consent, account, sender, capacity, configuration or unknown';
COMMENT ON COLUMN msgstatus.error_code.retryable IS
    'advice: is the same message to the same address worth sending again, now or in a while?';
COMMENT ON COLUMN msgstatus.error_code.advice IS 'what to do';
COMMENT ON COLUMN msgstatus.error_code.basis IS
    'what retryable rests on: documented by the provider, observed in public code, inferred from what the error means, or your own';
COMMENT ON COLUMN msgstatus.error_code.edited IS 'changed or added by somebody here; set by itself';
