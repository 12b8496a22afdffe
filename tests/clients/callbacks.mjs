// What the Node clients share: the callbacks that all of them write, and the rows that have to come of it.
import { readFileSync } from 'node:fs';

// The rows of a data file; an empty field is null, a time a Date. No field of these files is quoted.
function read(name) {
  const [head, ...lines] = readFileSync(new URL(name, import.meta.url), 'utf8').trim().split('\n');
  const columns = head.split(',');
  const value = (column, text) => (text === '' ? null : column.endsWith('_at') ? new Date(text) : text);
  const row = (line) => line.split(',').map((text, i) => [columns[i], value(columns[i], text)]);
  return lines.map((line) => Object.fromEntries(row(line)));
}

export const callbacks = read('callbacks.csv');
export const messages = read('messages.csv');
export const late = 'SMlate'; // the message that is stored when its callbacks are there already
export const early = messages.map((message) => message.sid).filter((sid) => sid !== late);

export const freshTables = 'DROP TABLE IF EXISTS messages, delivery_log; SELECT msgstatus.create_tables()';
