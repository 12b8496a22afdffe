-- Requests as Twilio sends them: three for each message, signed, and what a parser makes of them, for who has one already.
CREATE EXTENSION IF NOT EXISTS pgcrypto;
DROP TABLE IF EXISTS bench.request;
CREATE TABLE bench.request AS
SELECT r.i, r.url, r.body, encode(hmac(r.url || r.signed, 'of the bench', 'sha1'), 'base64') AS signature,
       p.sid, p.provider, p.status, p.error_code, p.error_message, p.event_at, p.payload
  FROM (SELECT (step - 1) * :messages + i AS i, 'https://callbacks.example.com/twilio?tenant=17' AS url,
               format('SmsSid=%1$s&SmsStatus=%2$s&MessageStatus=%2$s&To=%%2B1555%3$s&MessagingServiceSid=MG%4$s'
                      '&MessageSid=%1$s&AccountSid=AC%4$s&From=%%2B15017250604&ApiVersion=2010-04-01',
                      bench.sid(i), word, lpad(i::text, 7, '0'), md5('x')) AS body,
               format('AccountSidAC%4$sApiVersion2010-04-01From+15017250604MessageSid%1$sMessageStatus%2$s'
                      'MessagingServiceSidMG%4$sSmsSid%1$sSmsStatus%2$sTo+1555%3$s',
                      bench.sid(i), word, lpad(i::text, 7, '0'), md5('x')) AS signed
          FROM (VALUES (1, 'sent'), (2, 'delivered'), (3, 'read')) AS v(step, word), generate_series(1, :messages) AS i) AS r,
       msgstatus.parse_twilio(r.body) AS p;
ALTER TABLE bench.request ADD PRIMARY KEY (i);
VACUUM ANALYZE bench.request;
-- What they are signed with, in a file of the server's. The paths of its programs are those of its data directory.
COPY (SELECT format('[AC%s]', md5('x')) UNION ALL SELECT 'auth_token = "of the bench"')
    TO PROGRAM 'umask 077; cat >twilio.toml';
LOAD 'msgstatus';
SELECT format('ALTER SYSTEM SET msgstatus.credentials_file = %L', current_setting('data_directory') || '/twilio.toml') \gexec
SELECT pg_reload_conf();
