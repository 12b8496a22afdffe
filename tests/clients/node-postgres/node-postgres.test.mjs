// node-postgres (pg). Nothing is to be declared: a string writes the log and messages.status, and status is read as a
// string. Arrays of the enum are read as one string ("{sent,read}") until their parser is set, as at the end.
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import pg from 'pg';
import { callbacks, early, freshTables, late, messages } from '../callbacks.mjs';

const client = new pg.Client(); // PGHOST and the others say which server
before(() => client.connect());
after(() => client.end());
beforeEach(() => client.query(freshTables));

const values = (name) => callbacks.map((callback) => callback[name]);
const insert = 'INSERT INTO delivery_log (sid, status, error_code, event_at) ';

const ways = {
  'with parameters': async () => {
    for (const callback of callbacks) await client.query(`${insert} VALUES ($1, $2, $3, $4)`, Object.values(callback));
  },
  'by a named query, which is prepared once': async () => {
    const query = { name: 'callback', text: `${insert} VALUES ($1, $2, $3, $4)` };
    for (const callback of callbacks) await client.query({ ...query, values: Object.values(callback) });
    const { rows } = await client.query("SELECT name FROM pg_prepared_statements WHERE name = 'callback'");
    assert.equal(rows.length, 1);
  },
  'as many rows of VALUES': () => {
    const rows = callbacks.map((_, i) => `($${4 * i + 1}, $${4 * i + 2}, $${4 * i + 3}, $${4 * i + 4})`);
    return client.query(`${insert} VALUES ${rows.join(', ')}`, callbacks.flatMap(Object.values));
  },
  'as arrays, with unnest': () =>
    client.query(`${insert} SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])`,
      ['sid', 'status', 'error_code', 'event_at'].map(values)),
  'as JSON': () =>
    client.query(`${insert} SELECT sid, status, error_code, event_at
      FROM jsonb_populate_recordset(NULL::delivery_log, $1)`, [JSON.stringify(callbacks)]),
};

for (const [way, write] of Object.entries(ways)) {
  test(`callbacks written ${way}`, async () => {
    await client.query('INSERT INTO messages (sid) SELECT unnest($1::text[])', [early]);
    await write();
    await client.query('INSERT INTO messages (sid) VALUES ($1)', [late]);
    const columns = Object.keys(messages[0]).join(', ');
    assert.deepEqual((await client.query(`SELECT ${columns} FROM messages ORDER BY sid`)).rows, messages);
  });
}

test('a string writes status; a step back is absorbed', async () => {
  const put = 'INSERT INTO messages (sid, status) VALUES ($1, $2) RETURNING status';
  assert.deepEqual((await client.query(put, ['SM1', 'sent'])).rows, [{ status: 'sent' }]);
  for (const parameter of ['$1', '$1::text', '$1::varchar', '$1::msgstatus.delivery_status']) {
    const update = `UPDATE messages SET status = ${parameter}, batch = $2 RETURNING status, batch`;
    assert.deepEqual((await client.query(update, ['read', 'june'])).rows, [{ status: 'read', batch: 'june' }]);
    assert.deepEqual((await client.query(update, ['queued', 'july'])).rows, [{ status: 'read', batch: 'july' }]);
    await assert.rejects(client.query(update, ['bounced', 'may']), { code: '22P02' });
  }
});

test('comparing with a string', async () => {
  await client.query("INSERT INTO messages (sid, status) VALUES ('SM1', 'sent'), ('SM2', 'delivered')");
  const sids = async (condition, value) => {
    const { rows } = await client.query(`SELECT sid FROM messages WHERE ${condition} ORDER BY sid`, [value]);
    return rows.map((row) => row.sid);
  };
  assert.deepEqual(await sids('status = $1', 'sent'), ['SM1']);
  assert.deepEqual(await sids('status >= $1', 'delivered'), ['SM2']);
  assert.deepEqual(await sids('status = ANY ($1)', ['sent', 'delivered']), ['SM1', 'SM2']);
  assert.deepEqual(await sids('status::text = ANY ($1::text[])', ['sent', 'bounced']), ['SM1']);
  // A parameter that is cast to text is text, and an enum has no operators with that.
  await assert.rejects(sids('status = $1::text', 'sent'), { code: '42883' });
});

test('an array of the enum', async () => {
  const all = async (array) => (await client.query(`SELECT ${array} AS all`)).rows[0].all;
  const array = "ARRAY['sent', 'read']::msgstatus.delivery_status[]";
  assert.equal(await all(array), '{sent,read}');
  assert.deepEqual(await all(`${array}::text[]`), ['sent', 'read']);
  // The type's oid differs from database to database.
  const { rows } = await client.query("SELECT typarray FROM pg_type WHERE oid = 'msgstatus.delivery_status'::regtype");
  pg.types.setTypeParser(rows[0].typarray, pg.types.getTypeParser(1009)); // 1009: text[]
  assert.deepEqual(await all(array), ['sent', 'read']);
});
