-- The provider's edge: parsers, signatures, addresses, the catalogue of error codes.
\set VERBOSITY terse
CREATE SCHEMA edge;
SET search_path = edge, public;
SET timezone = 'UTC';

-- Signatures that Twilio and its libraries publish, with the URL as it was signed, and as it may be given.
CREATE TABLE vector (n integer, url text, body text, signature text);
INSERT INTO vector VALUES
    (1, 'https://mycompany.com/myapp.php?foo=1&bar=2', 'CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212', 'RSOYDt4T1cUTdK1PDd93/VVr8B8='),
    (2, 'http://mycompany.com:1234/myapp.php?foo=1&bar=2', 'CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212', 'Zmvh+3yNM1Phv2jhDCwEM3q5ebU='),
    (3, 'https://mycompany.com:443/myapp.php?foo=1&bar=2', 'CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212', 'kvajT1Ptam85bY51eRf/AJRuM3w='),
    (4, 'http://mycompany.com:80/myapp.php?foo=1&bar=2', 'CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212', '0ZXoZLH/DfblKGATFgpif+LLRf4='),
    (5, 'https://mycompany.com/myapp.php?foo=1&bar=2', 'Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234', 'IK+Dwps556ElfBT0I3Rgjkr1wJU='),
    (6, 'https://mycompany.com/myapp.php?foo=1&bar=2', 'MessagingBinding.Address=%2B1415xxxxxxx&MessagingBinding.Address=%2B1325xxxxxxx', '83O6e2vORAoJHUNzJjDWN1jz+BA='),
    (7, 'https://mycompany.com/myapp.php?foo=1&bar=2&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620', '{"property": "value", "boolean": true}', 'a9nBmqA0ju/hNViExpshrM61xv4='),
    (8, 'https://mycompany.com:443/myapp.php?foo=1&bar=2&bodySHA256=44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a', '{}', 'Ldidvp12m26NI7eqEvxnEpkd9Hc='),
    (9, 'https://mycompany.com/myapp.php?bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620', '{"property": "value", "boolean": true}', 'y77kIzt2vzLz71DgmJGsen2scGs='),
    (10, 'https://user:pass@mycompany.com/myapp.php?foo=1&bar=2', 'CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212', 'CukzLTc1tT5dXEDIHm/tKBanW10='),
    (11, 'https://user@mycompany.com/myapp.php?foo=1&bar=2', 'CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212', '2YRLlVAflCqxaNicjMpJcSTgzSs='),
    (12, 'https://user:pass@mycompany.com:443/myapp.php?foo=1&bar=2', 'CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212', 'ZQFR1PTIZXF2MXB8ZnKCvnnA+rI='),
    (13, 'https://mycompany.com/myapp.php?foo=1&bar=2&Body=It%27s+amazing', 'CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212', 'TfZzewPq8wqrGlMfyAud8+/IvJ0='),
    (14, 'https://mycompany.com/myapp.php?foo=1&bar=2', 'CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212&Reason=Participant&ReasonConferenceEnded=test', 'vOEb5UThFn24KEfnOFLQY2AE5FY='),
    (15, 'http://mycompany.com/myapp.php?foo=1&bar=2', 'CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212&Reason=Participant&ReasonConferenceEnded=test', 'n2xBNyzSW7rfYStDtOFiFMv7qNo='),
    (16, 'https://mycompany.com/myapp.php?foo=1&bar=2', 'property=value&boolean=true', 'NBdBDr/T/lgjI+tlgpXjKZQZs/k='),
    (17, 'https://example.com/myapp.php?foo=1&bar=2', 'CallSid=CA1234567890ABCDE&Caller=%2B14158675310&Digits=1234&From=%2B14158675310&To=%2B18005551212', 'L/OH5YylLD5NRKLltdqwSvS0BnU='),
    (18, 'https://mycompany.com/myapp.php?foo=1&bar=2', 'CallSid=CA1234567890ABCDE&Caller=%2B12349013030&Digits=1234&From=%2B12349013030&To=%2B18005551212', '0/KCTR6DLpKmkAf8muzZqo1nDgQ=');
SELECT count(*) FILTER (WHERE msgstatus.twilio_signature_valid('12345', url, body, signature)) AS valid,
       count(*) FILTER (WHERE msgstatus.twilio_signature_valid('12345', replace(replace(url, ':443/', '/'), ':80/', '/'), body, signature)) AS without_port,
       count(*) FILTER (WHERE msgstatus.twilio_signature_valid('12345', replace(url, '%27', ''''), body, signature)) AS not_encoded,
       count(*) FILTER (WHERE msgstatus.twilio_signature_valid('12345', url || '#rc=5', body, signature)) AS with_fragment
  FROM vector;
SELECT count(*) FILTER (WHERE msgstatus.twilio_signature_valid('12346', url, body, signature)) AS other_token,
       count(*) FILTER (WHERE msgstatus.twilio_signature_valid('12345', url || '1', body, signature)) AS other_url,
       count(*) FILTER (WHERE msgstatus.twilio_signature_valid('12345', url, body || '&x=y', signature)) AS other_body,
       count(*) FILTER (WHERE msgstatus.twilio_signature_valid('12345', url, body, reverse(signature))) AS other_signature,
       count(*) FILTER (WHERE msgstatus.twilio_signature_valid('12345', url, body, NULL) IS NOT FALSE) AS no_signature
  FROM vector;
SELECT msgstatus.twilio_signature_valid(NULL, 'https://example.com', '', 'AAAA') AS no_token,
       msgstatus.twilio_signature_valid('12345', '', '', '') AS empty,
       msgstatus.twilio_signature_valid('12345', 'no url', 'no form', 'no signature') AS nonsense;
-- Meta's, which PostgreSQL can make itself.
CREATE FUNCTION xored(bytes bytea, with_byte integer) RETURNS bytea LANGUAGE sql AS $$
SELECT string_agg(set_byte('\x00', 0, get_byte(bytes, i) # with_byte), '' ORDER BY i) FROM generate_series(0, length(bytes) - 1) i
$$;
CREATE FUNCTION hmac_sha256(key bytea, body bytea) RETURNS bytea LANGUAGE sql AS $$
SELECT sha256(edge.xored(padded, 92) || sha256(edge.xored(padded, 54) || body))
  FROM (SELECT key || decode(repeat('00', 64 - length(key)), 'hex')) AS p(padded)
$$;
SELECT msgstatus.whatsapp_signature_valid('hush', body, 'sha256=' || mac) AS valid,
       msgstatus.whatsapp_signature_valid('hush', body, 'sha256=' || upper(mac)) AS upper_case,
       msgstatus.whatsapp_signature_valid('rush', body, 'sha256=' || mac) AS other_secret,
       msgstatus.whatsapp_signature_valid('hush', body || '\x00', 'sha256=' || mac) AS other_body,
       msgstatus.whatsapp_signature_valid('hush', body, mac) AS no_prefix,
       msgstatus.whatsapp_signature_valid('hush', body, NULL) AS no_signature
  FROM (VALUES ('\x7b226100ff227d'::bytea)) AS b(body), LATERAL (SELECT encode(hmac_sha256('hush', body), 'hex')) AS m(mac);

-- Parsers give columns of a log.
SELECT msgstatus.create_tables('edge');
INSERT INTO messages (sid) VALUES ('SM1'), ('wamid.1=');
INSERT INTO delivery_log (sid, provider, status, error_code, error_message, event_at, payload)
SELECT * FROM msgstatus.parse_twilio('MessageSid=SM1&MessageStatus=undelivered&ErrorCode=30003&AccountSid=AC1&Body=a%00b&x=1&x=2');
INSERT INTO delivery_log (sid, provider, status, error_code, error_message, event_at, payload)
SELECT * FROM msgstatus.parse_whatsapp('{"object": "whatsapp_business_account", "entry": [{"changes": [{"field": "messages", "value": {
    "statuses": [{"id": "wamid.1=", "status": "failed", "timestamp": "1751142888", "errors": [{"code": 131049, "title": "Held back",
    "message": "Not sent", "error_data": {"details": "Too many"}}]}], "messages": [{"id": "wamid.2="}]}}]}]}');
SELECT sid, provider, status, error_code, error_message, event_at, payload ->> 'x' AS x, payload ->> 'Body' LIKE 'a_b' AS body
  FROM delivery_log ORDER BY delivery_id;
SELECT sid, status, error_code, error_message, failed_at = '2025-06-28 20:34:48+00' AS at FROM messages ORDER BY sid;
-- All of them, also in a query of another shape, and of nothing.
SELECT p.* FROM (VALUES ('id:7 sub:001 dlvrd:001 submit date:2506152327 done date:2506152328 stat:DELIVRD err:000 text:x')) AS r(receipt),
       msgstatus.parse_smpp(receipt) AS p;
SELECT count(*) FROM msgstatus.parse_vonage(NULL);
SELECT sid, status FROM msgstatus.parse_vonage('{"messageId": "V1", "status": "delivered"}')
UNION ALL SELECT sid, status FROM msgstatus.parse_messagebird('{"id": "B1", "status": "sent"}')
UNION ALL SELECT sid, status FROM msgstatus.parse_plivo('MessageUUID=P1&Status=queued')
UNION ALL SELECT sid, status FROM msgstatus.parse_sinch('{"batch_id": "S1", "status": "Delivered"}')
UNION ALL SELECT sid, status FROM msgstatus.parse_telnyx('{"data": {"event_type": "message.sent", "payload": {"id": "T1", "to": [{"status": "sent"}]}}}')
UNION ALL SELECT sid, status FROM msgstatus.parse_aws('{"eventType": "TEXT_SENT", "messageId": "A1"}')
UNION ALL SELECT sid, status FROM msgstatus.parse_infobip('{"results": [{"messageId": "I1", "status": {"groupName": "PENDING"}}]}');
-- What can't be theirs.
\set VERBOSITY default
SELECT * FROM msgstatus.parse_twilio('{"MessageSid": "SM1"}');
SELECT * FROM msgstatus.parse_whatsapp('[]');
SELECT * FROM msgstatus.parse_smpp('hello');
SELECT * FROM msgstatus.parse_twilio(repeat('a=b&', 1100000));
SELECT * FROM msgstatus.parse_whatsapp(to_jsonb(repeat('a', 17000000)));
SELECT msgstatus.twilio_signature_valid('token', 'https://example.com', repeat('a=b&', 1100000), 'x');
\set VERBOSITY terse

-- Addresses.
SELECT a, msgstatus.mask_address(a) AS masked FROM unnest(ARRAY['+15551234567', 'whatsapp:+447700900123', '72345', 'ACME', 'john.doe@example.com',
    'telegram:@anna_smith', '', NULL]) AS a;

-- The catalogue: what it says of codes that it has, and of any other.
SELECT msgstatus.describe_error('30003');
SELECT msgstatus.describe_error(' 131049 ', 'Not sent', 'WhatsApp');
SELECT msgstatus.describe_error(E'30003\r\n', E' \n', E' Twilio\n') = msgstatus.describe_error('30003') AS trimmed,
       msgstatus.describe_error('30003', NULL, '') = msgstatus.describe_error('30003') AS nobody_is_twilio;
SELECT msgstatus.describe_error('99999', 'Something odd'), msgstatus.describe_error('', '', ''), msgstatus.describe_error(NULL, 'x');
SELECT count(*) FROM msgstatus.error_code e
 WHERE e.title = '' OR e.advice = '' OR length(msgstatus.describe_error(e.code, NULL, e.provider)) < 20 OR e.edited;
-- It can be edited, and knows what was.
BEGIN;
UPDATE msgstatus.error_code SET advice = 'Call them.' WHERE code = '30003' AND provider = 'twilio';
INSERT INTO msgstatus.error_code (code, title) VALUES ('4711', 'A code of our own');
INSERT INTO msgstatus.error_code (code, title) VALUES ('30004', 'Not this one') ON CONFLICT DO NOTHING;
SELECT code, provider, title, class, retryable, basis, advice FROM msgstatus.error_code WHERE edited ORDER BY code;
SELECT msgstatus.describe_error('30003');
-- As the contract lists its columns; and however somebody writes a provider's name.
INSERT INTO msgstatus.error_code VALUES (' 77 ', ' MyCo', 'Full moon', 'carrier', true, 'Wait.');
SELECT msgstatus.describe_error('77', NULL, 'myCO');
INSERT INTO msgstatus.error_code (code, title, class) VALUES ('1', 'x', 'weather');
ROLLBACK;
-- As an upgrade of the extension changes it: with the trigger off, and no row that is somebody's own.
BEGIN;
UPDATE msgstatus.error_code SET title = 'Ours' WHERE code = '30003' AND provider = 'twilio';
INSERT INTO msgstatus.error_code (code, title) VALUES ('4711', 'Ours, too');
ALTER TABLE msgstatus.error_code DISABLE TRIGGER error_code_edited;
INSERT INTO msgstatus.error_code AS e (code, provider, title, class, retryable, basis)
VALUES ('30003', 'twilio', 'Upgraded', 'handset', true, 'documented'), ('30004', 'twilio', 'Upgraded', 'consent', false, 'documented'),
       ('4711', 'twilio', 'Upgraded', 'unknown', false, 'documented'), ('4712', 'twilio', 'New', 'unknown', false, 'documented')
    ON CONFLICT (code, provider) DO UPDATE SET title = excluded.title, class = excluded.class, retryable = excluded.retryable,
       basis = excluded.basis, advice = excluded.advice WHERE NOT e.edited;
ALTER TABLE msgstatus.error_code ENABLE TRIGGER error_code_edited;
SELECT code, title, edited FROM msgstatus.error_code WHERE code IN ('30003', '30004', '4711', '4712') AND provider = 'twilio' ORDER BY code;
ROLLBACK;
-- As a dump brings it back: edited rows take the places of those that came with the extension.
BEGIN;
COPY msgstatus.error_code (code, provider, title, class, retryable, basis, advice, edited) FROM stdin;
30003	twilio	Ours	handset	t	own	Wait.	t
\.
SELECT count(*), max(title) FROM msgstatus.error_code WHERE code = '30003' AND provider = 'twilio';
ROLLBACK;
SELECT c.condition FROM pg_extension, unnest(extconfig, extcondition) AS c(t, condition)
 WHERE extname = 'msgstatus' AND t = 'msgstatus.error_code'::regclass;
DROP SCHEMA edge CASCADE;
