-- The webhook functions: a request's raw body in, rows of the log out.

CREATE TABLE msgstatus.waiting_callback (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    messages msgstatus.tracked_table NOT NULL,
    sid text NOT NULL,
    provider text NOT NULL,
    status text NOT NULL,
    error_code text,
    error_message text,
    event_at timestamptz,
    payload jsonb,
    received_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
-- A hash index, because a btree refuses keys above 2700 bytes, and no callback is refused for what it says.
CREATE INDEX waiting_callback_sid_idx ON msgstatus.waiting_callback USING hash (sid);
-- For settle, which looks at what came lately, and for DROP TABLE.
CREATE INDEX waiting_callback_messages_idx ON msgstatus.waiting_callback (messages, received_at);
COMMENT ON TABLE msgstatus.waiting_callback IS
    'Callbacks that the log can''t take (yet): without their message, where it goes by another key than the provider''s id or needs the message for a column or a foreign key; refused by a constraint; or with a word that is no label, where it holds labels. They go into the log when a message has their SID, or settle() finds it willing. msgstatus.unmatched() and unrecognized() list them.';
COMMENT ON INDEX msgstatus.waiting_callback_messages_idx IS 'leads to what came lately for a table';
COMMENT ON INDEX msgstatus.waiting_callback_sid_idx IS 'leads from a message that appears to what waits for it';
COMMENT ON SEQUENCE msgstatus.waiting_callback_id_seq IS 'numbers callbacks that wait';
COMMENT ON COLUMN msgstatus.waiting_callback.id IS 'in the order of their arrival';
COMMENT ON COLUMN msgstatus.waiting_callback.messages IS 'the messages table that they are meant for';
COMMENT ON COLUMN msgstatus.waiting_callback.sid IS 'the provider''s id of the message';
COMMENT ON COLUMN msgstatus.waiting_callback.provider IS 'who called back';
COMMENT ON COLUMN msgstatus.waiting_callback.status IS 'the provider''s own word';
COMMENT ON COLUMN msgstatus.waiting_callback.error_code IS 'the provider''s error code';
COMMENT ON COLUMN msgstatus.waiting_callback.error_message IS 'what the provider says about it';
COMMENT ON COLUMN msgstatus.waiting_callback.event_at IS 'when the provider says it happened';
COMMENT ON COLUMN msgstatus.waiting_callback.payload IS 'what was said, whole';
COMMENT ON COLUMN msgstatus.waiting_callback.received_at IS 'when it came; the log gets it as created_at';

SELECT pg_catalog.pg_extension_config_dump('msgstatus.waiting_callback', '');
SELECT pg_catalog.pg_extension_config_dump('msgstatus.waiting_callback_id_seq', '');

CREATE FUNCTION msgstatus.twilio_callback(url text, body text, signature text, messages regclass DEFAULT NULL)
    RETURNS msgstatus.verdict
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'msgstatus_twilio_callback';
COMMENT ON FUNCTION msgstatus.twilio_callback(text, text, text, regclass) IS
    'Takes a request of Twilio''s: the URL that Twilio was given, the raw body, and the header X-Twilio-Signature. If the account''s auth token vouches for it, it goes into the log; gives the verdict, or NULL if it is about no message''s status. 28000 and nothing stored if not.';

CREATE FUNCTION msgstatus.whatsapp_callback(body bytea, signature text, messages regclass DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'msgstatus_whatsapp_callback';
COMMENT ON FUNCTION msgstatus.whatsapp_callback(bytea, text, regclass) IS
    'Takes a webhook of the WhatsApp Cloud API: the raw body, and the header X-Hub-Signature-256. If the app secret vouches for it, its statuses go into the log; gives how many were stored. 28000 and nothing stored if not.';
