-- Requests as providers send them: three for each message, signed, and what a parser makes of them, for who has one already.
-- PostgreSQL has no SHA-1 of its own: without pgcrypto there are only Meta's.
SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pgcrypto') AS pgcrypto \gset
DROP TABLE IF EXISTS bench.request, bench.pad;
-- HMAC-SHA256's two keys.
CREATE TABLE bench.pad AS
SELECT string_agg(set_byte('\x00', 0, b # 54), '' ORDER BY i) AS inside, string_agg(set_byte('\x00', 0, b # 92), '' ORDER BY i) AS outside
  FROM generate_series(0, 63) AS i, LATERAL (SELECT CASE WHEN i < 12 THEN get_byte('of the bench', i) ELSE 0 END) AS of(b);
CREATE TABLE bench.request (i bigint, provider text, url text, body text, signature text, sid text, status text, error_code text,
    error_message text, event_at timestamptz, payload jsonb);
INSERT INTO bench.request
SELECT r.i, p.provider, NULL, r.body, 'sha256=' || encode(sha256(pad.outside || sha256(pad.inside || convert_to(r.body, 'UTF8'))), 'hex'),
       p.sid, p.status, p.error_code, p.error_message, p.event_at, p.payload
  FROM bench.pad, (
        SELECT (step - 1) * :messages + i AS i, json_build_object('object', 'whatsapp_business_account', 'entry', json_build_array(
                   json_build_object('id', '102290129340398', 'changes', json_build_array(json_build_object('field', 'messages', 'value',
                   json_build_object('messaging_product', 'whatsapp', 'metadata', json_build_object('display_phone_number', '15550783881',
                   'phone_number_id', '106540352242922'), 'statuses', json_build_array(json_build_object('id', bench.sid(i), 'status',
                   word, 'timestamp', (1750030000 + step)::text, 'recipient_id', '16505551234', 'conversation',
                   json_build_object('id', md5(i::text), 'origin', json_build_object('type', 'utility')), 'pricing',
                   json_build_object('billable', true, 'pricing_model', 'PMP', 'category', 'utility')))))))))::text AS body
          FROM (VALUES (1, 'sent'), (2, 'delivered'), (3, 'read')) AS v(step, word), generate_series(1, :messages) AS i) AS r,
       msgstatus.parse_whatsapp(r.body::jsonb) AS p;
\if :pgcrypto
CREATE EXTENSION IF NOT EXISTS pgcrypto;
INSERT INTO bench.request
SELECT r.i, p.provider, r.url, r.body, encode(hmac(r.url || r.signed, 'of the bench', 'sha1'), 'base64'),
       p.sid, p.status, p.error_code, p.error_message, p.event_at, p.payload
  FROM (SELECT (step - 1) * :messages + i AS i, 'https://callbacks.example.com/twilio?tenant=17' AS url,
               format('SmsSid=%1$s&SmsStatus=%2$s&MessageStatus=%2$s&To=%%2B1555%3$s&MessagingServiceSid=MG%4$s'
                      '&MessageSid=%1$s&AccountSid=AC%4$s&From=%%2B15017250604&ApiVersion=2010-04-01',
                      bench.sid(i), word, lpad(i::text, 7, '0'), md5('x')) AS body,
               format('AccountSidAC%4$sApiVersion2010-04-01From+15017250604MessageSid%1$sMessageStatus%2$s'
                      'MessagingServiceSidMG%4$sSmsSid%1$sSmsStatus%2$sTo+1555%3$s',
                      bench.sid(i), word, lpad(i::text, 7, '0'), md5('x')) AS signed
          FROM (VALUES (1, 'sent'), (2, 'delivered'), (3, 'read')) AS v(step, word), generate_series(1, :messages) AS i) AS r,
       msgstatus.parse_twilio(r.body) AS p;
\endif
ALTER TABLE bench.request ADD PRIMARY KEY (provider, i);
VACUUM ANALYZE bench.request;
-- What they are signed with, in a file of the server's. The program runs in its data directory.
COPY (SELECT format('[AC%s]', md5('x')) UNION ALL VALUES ('auth_token = "of the bench"'), ('[whatsapp]'), ('app_secret = "of the bench"'))
    TO PROGRAM 'umask 077; cat >twilio.toml';
LOAD 'msgstatus';
SELECT format('ALTER SYSTEM SET msgstatus.credentials_file = %L', current_setting('data_directory') || '/twilio.toml') \gexec
SELECT pg_reload_conf();
