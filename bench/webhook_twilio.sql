-- The same as the request that it came with: verified, parsed and inserted.
\set i :i + 1
SELECT msgstatus.twilio_callback(url, body, signature, 'messages') FROM bench.request WHERE provider = :provider AND i = :i;
