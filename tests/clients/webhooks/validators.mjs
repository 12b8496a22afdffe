// Twilio's SDK for Node: reads cases from the file that is named, and writes which of them it takes for Twilio's. Where
// a case says hashed, the body is no form and its hash is in the URL.
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
