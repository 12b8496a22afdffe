-- The provider's edge: what providers send, read and vouched for.

CREATE FUNCTION msgstatus.parse_twilio(
    body text,
    OUT sid text, OUT provider text, OUT status text, OUT error_code text, OUT error_message text, OUT event_at timestamptz,
    OUT payload jsonb
) RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 1 AS 'MODULE_PATHNAME', 'msgstatus_parse_twilio';
COMMENT ON FUNCTION msgstatus.parse_twilio(text) IS
    'The status that the raw form body of a Twilio status callback tells; no row for a request that is about no message''s status. It gives no time: Twilio''s callbacks have none. As columns of a delivery log.';

CREATE FUNCTION msgstatus.parse_whatsapp(
    payload jsonb,
    OUT sid text, OUT provider text, OUT status text, OUT error_code text, OUT error_message text, OUT event_at timestamptz,
    OUT payload jsonb
) RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'msgstatus_parse_whatsapp';
COMMENT ON FUNCTION msgstatus.parse_whatsapp(jsonb) IS
    'The statuses in a webhook of the WhatsApp Cloud API, also within a Pub/Sub push message; inbound messages are skipped. As columns of a delivery log.';

CREATE FUNCTION msgstatus.parse_vonage(
    payload jsonb,
    OUT sid text, OUT provider text, OUT status text, OUT error_code text, OUT error_message text, OUT event_at timestamptz,
    OUT payload jsonb
) RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 1 AS 'MODULE_PATHNAME', 'msgstatus_parse_vonage';
COMMENT ON FUNCTION msgstatus.parse_vonage(jsonb) IS
    'The status in a delivery receipt of Vonage''s SMS API or a message status of its Messages API. As columns of a delivery log.';

CREATE FUNCTION msgstatus.parse_messagebird(
    payload jsonb,
    OUT sid text, OUT provider text, OUT status text, OUT error_code text, OUT error_message text, OUT event_at timestamptz,
    OUT payload jsonb
) RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 1 AS 'MODULE_PATHNAME', 'msgstatus_parse_messagebird';
COMMENT ON FUNCTION msgstatus.parse_messagebird(jsonb) IS
    'The status in a report of MessageBird or a webhook of Bird''s second API. As columns of a delivery log.';

CREATE FUNCTION msgstatus.parse_plivo(
    body text,
    OUT sid text, OUT provider text, OUT status text, OUT error_code text, OUT error_message text, OUT event_at timestamptz,
    OUT payload jsonb
) RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 1 AS 'MODULE_PATHNAME', 'msgstatus_parse_plivo';
COMMENT ON FUNCTION msgstatus.parse_plivo(text) IS
    'The status that the raw form body of a Plivo callback tells. As columns of a delivery log.';

CREATE FUNCTION msgstatus.parse_sinch(
    payload jsonb,
    OUT sid text, OUT provider text, OUT status text, OUT error_code text, OUT error_message text, OUT event_at timestamptz,
    OUT payload jsonb
) RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 1 AS 'MODULE_PATHNAME', 'msgstatus_parse_sinch';
COMMENT ON FUNCTION msgstatus.parse_sinch(jsonb) IS
    'The statuses in a delivery report of Sinch''s SMS API, of one recipient or of a batch; sid is the batch''s id. As columns of a delivery log.';

CREATE FUNCTION msgstatus.parse_telnyx(
    payload jsonb,
    OUT sid text, OUT provider text, OUT status text, OUT error_code text, OUT error_message text, OUT event_at timestamptz,
    OUT payload jsonb
) RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 1 AS 'MODULE_PATHNAME', 'msgstatus_parse_telnyx';
COMMENT ON FUNCTION msgstatus.parse_telnyx(jsonb) IS
    'The statuses in a messaging webhook of Telnyx, one for each recipient. As columns of a delivery log.';

CREATE FUNCTION msgstatus.parse_aws(
    payload jsonb,
    OUT sid text, OUT provider text, OUT status text, OUT error_code text, OUT error_message text, OUT event_at timestamptz,
    OUT payload jsonb
) RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 1 AS 'MODULE_PATHNAME', 'msgstatus_parse_aws';
COMMENT ON FUNCTION msgstatus.parse_aws(jsonb) IS
    'The status in an event of AWS End User Messaging, also as SNS and EventBridge wrap it. As columns of a delivery log.';

CREATE FUNCTION msgstatus.parse_infobip(
    payload jsonb,
    OUT sid text, OUT provider text, OUT status text, OUT error_code text, OUT error_message text, OUT event_at timestamptz,
    OUT payload jsonb
) RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'msgstatus_parse_infobip';
COMMENT ON FUNCTION msgstatus.parse_infobip(jsonb) IS
    'The statuses in delivery reports of Infobip. As columns of a delivery log.';

CREATE FUNCTION msgstatus.parse_smpp(
    receipt text,
    OUT sid text, OUT provider text, OUT status text, OUT error_code text, OUT error_message text, OUT event_at timestamptz,
    OUT payload jsonb
) RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 1 AS 'MODULE_PATHNAME', 'msgstatus_parse_smpp';
COMMENT ON FUNCTION msgstatus.parse_smpp(text) IS
    'The status in the text of an SMPP delivery receipt. It gives no time: its dates are in nobody knows which time zone. As columns of a delivery log.';

CREATE FUNCTION msgstatus.twilio_signature_valid(auth_token text, url text, body text, signature text) RETURNS boolean
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'msgstatus_twilio_signature_valid';
COMMENT ON FUNCTION msgstatus.twilio_signature_valid(text, text, text, text) IS
    'Is this the X-Twilio-Signature of a request to this URL (as Twilio was given it) with this raw body, a form or JSON? False if anything is NULL.';

CREATE FUNCTION msgstatus.whatsapp_signature_valid(app_secret text, body bytea, signature text) RETURNS boolean
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'msgstatus_whatsapp_signature_valid';
COMMENT ON FUNCTION msgstatus.whatsapp_signature_valid(text, bytea, text) IS
    'Is this the X-Hub-Signature-256 of Meta''s for this raw body? False if anything is NULL.';

CREATE FUNCTION msgstatus.mask_address(address text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'msgstatus_mask_address';
COMMENT ON FUNCTION msgstatus.mask_address(text) IS
    'The address with what tells one person from another hidden: its channel, the first four and the last four characters stay, less of a short one.';
