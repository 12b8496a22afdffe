// Webhooks of Twilio and WhatsApp with express and node-postgres. The database checks the signature, reads the body and
// stores what it says; the application has only to pass on the request as it came. Its role needs nothing but
//     GRANT EXECUTE ON FUNCTION msgstatus.twilio_callback, msgstatus.whatsapp_callback TO ...
import { createHash, timingSafeEqual } from 'node:crypto';
import express from 'express';
import pg from 'pg';

const { PUBLIC_URL, WHATSAPP_VERIFY_TOKEN, MESSAGES, PORT = 8080 } = process.env;
// PUBLIC_URL is as https://example.com: what precedes /twilio in the URL given to Twilio. The token is as entered in
// Meta's dashboard. MESSAGES is as app.messages, and the role needs USAGE on that schema; without, it is the only table that
// is tracked: good where nobody else may make tables in this database.
if (!PUBLIC_URL || !WHATSAPP_VERIFY_TOKEN) throw new Error('set PUBLIC_URL and WHATSAPP_VERIFY_TOKEN');

const pool = new pg.Pool(); // PGHOST and the others say which server
const report = (error) => console.error(error.message); // a connection was lost: the next is a new one
pool.on('error', report).on('connect', (client) => client.on('error', report));

// A wrong signature, a body that is no callback: after anything else the provider is to try again. That there is no
// connection, perhaps with the same code, is not the request's fault.
const REFUSED = { 28000: 403, 22023: 400 };

async function store(call, parameters) {
  const client = await pool.connect();
  try {
    await client.query(call, parameters);
  } catch (error) {
    error.status = REFUSED[error.code];
    throw error;
  } finally {
    client.release();
  }
}

const app = express();

// Twilio signs the URL that it was given. Host says what a proxy or the sender made of it: hence PUBLIC_URL.
app.post('/twilio', express.text({ type: 'application/x-www-form-urlencoded' }), async (req, res) => {
  const request = [PUBLIC_URL + req.originalUrl, req.body ?? '', req.get('X-Twilio-Signature'), MESSAGES];
  await store('SELECT msgstatus.twilio_callback($1, $2, $3, $4)', request);
  res.end();
});

// Meta signs the bytes: JSON that was parsed and written again has others. A webhook may have 1000 statuses.
app.post('/whatsapp', express.raw({ type: 'application/json', limit: '3mb' }), async (req, res) => {
  const request = [req.body, req.get('X-Hub-Signature-256'), MESSAGES];
  await store('SELECT msgstatus.whatsapp_callback($1, $2, $3)', request);
  res.end();
});

// Meta asks once, when the URL is entered in its dashboard.
app.get('/whatsapp', (req, res) => {
  const { 'hub.mode': mode, 'hub.verify_token': token, 'hub.challenge': challenge } = req.query;
  const [given, right] = [token, WHATSAPP_VERIFY_TOKEN].map((t) => createHash('sha256').update(String(t)).digest());
  if (mode !== 'subscribe' || !timingSafeEqual(given, right)) return res.status(403).end();
  res.type('text/plain').send(String(challenge ?? ''));
});

// A body that is too long has a status of its own.
app.use((error, req, res, next) => {
  report(error);
  res.status(error.status ?? 500).end();
});

app.listen(PORT, '127.0.0.1');
