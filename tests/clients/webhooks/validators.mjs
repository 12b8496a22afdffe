// Answers with Twilio's SDK for Node: reads cases (token, url, body, signature), and whether their body has a hash in the
// URL, from the file that is named; writes what becomes of each, in the same order.
import { readFileSync } from 'node:fs';
import { parse } from 'node:querystring';
import twilio from 'twilio';

const cases = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const answers = cases.map(({ token, url, body, signature, hashed }) =>
  hashed
    ? twilio.validateRequestWithBody(token, signature, url, body)
    : // express.urlencoded reads a form so; a name with several values gets an array.
      twilio.validateRequest(token, signature, url, { ...parse(body, '&', '=', { maxKeys: 0 }) }));
process.stdout.write(JSON.stringify(answers));
