// Drizzle ORM with node-postgres. Declare the type with pgSchema('msgstatus').enum and use it for columns; don't export
// it, or drizzle-kit will want to create it. Declared as text, status can be written, read and compared, too.
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { and, eq, gte, inArray, sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import { bigint, pgSchema, pgTable, text, timestamp } from 'drizzle-orm/pg-core';
import pg from 'pg';
import { callbacks, early, freshTables, late, messages as expected } from '../callbacks.mjs';

const deliveryStatus = pgSchema('msgstatus').enum('delivery_status', [
  'receiving', 'received', 'accepted', 'scheduled', 'queued', 'sending', 'sent', 'delivery_unknown',
  'partially_delivered', 'undelivered', 'failed', 'canceled', 'delivered', 'read',
]);
const time = (name) => timestamp(name, { withTimezone: true });
const id = (name) => bigint(name, { mode: 'number' }).primaryKey().generatedByDefaultAsIdentity();

const messages = pgTable('messages', {
  messageId: id('message_id'),
  sid: text('sid').unique(),
  batch: text('batch'),
  status: deliveryStatus('status').notNull().default('queued'),
  errorCode: text('error_code'),
  sentAt: time('sent_at'),
  deliveredAt: time('delivered_at'),
  readAt: time('read_at'),
  failedAt: time('failed_at'),
});

const deliveryLog = pgTable('delivery_log', {
  deliveryId: id('delivery_id'),
  sid: text('sid').notNull(),
  status: text('status').notNull(),
  errorCode: text('error_code'),
  eventAt: time('event_at'),
  deliveryStatus: deliveryStatus('delivery_status').generatedAlwaysAs(sql`msgstatus.parse_status(status, provider)`),
});

const client = new pg.Client(); // PGHOST and the others say which server
const db = drizzle({ client });
before(() => client.connect());
after(() => client.end());
beforeEach(() => client.query(freshTables));

const rows = callbacks.map((c) => ({ sid: c.sid, status: c.status, errorCode: c.error_code, eventAt: c.event_at }));

const ways = {
  'one by one': async () => {
    for (const row of rows) {
      const [stored] = await db.insert(deliveryLog).values(row).returning();
      assert.equal(stored.deliveryStatus, row.status === 'bounced' ? null : row.status.toLowerCase());
    }
  },
  'by a prepared query': async () => {
    const values = Object.fromEntries(Object.keys(rows[0]).map((column) => [column, sql.placeholder(column)]));
    const prepared = db.insert(deliveryLog).values(values).prepare('callback');
    for (const row of rows) await prepared.execute(row);
  },
  'as many rows': () => db.insert(deliveryLog).values(rows),
  'in a transaction': () => db.transaction(async (tx) => {
    for (const row of rows) await tx.insert(deliveryLog).values(row);
  }),
};

for (const [way, write] of Object.entries(ways)) {
  test(`callbacks written ${way}`, async () => {
    await db.insert(messages).values(early.map((sid) => ({ sid })));
    await write();
    await db.insert(messages).values({ sid: late });
    const stored = await db.select({
      sid: messages.sid, status: messages.status, error_code: messages.errorCode, sent_at: messages.sentAt,
      delivered_at: messages.deliveredAt, read_at: messages.readAt, failed_at: messages.failedAt,
    }).from(messages).orderBy(messages.sid);
    assert.deepEqual(stored, expected);
  });
}

test('the labels are those of the type', async () => {
  const { rows } = await db.execute(sql`SELECT enum_range(NULL::msgstatus.delivery_status)::text[] AS labels`);
  assert.deepEqual(rows[0].labels, deliveryStatus.enumValues);
});

test('the update of a stale row moves nothing back', async () => {
  const [stale] = await db.insert(messages).values({ sid: 'SM1' }).returning();
  await db.insert(deliveryLog).values({ sid: 'SM1', status: 'delivered' });
  assert.equal(stale.status, 'queued');
  const { messageId, ...row } = stale;
  const [stored] = await db.update(messages).set({ ...row, batch: 'june' })
    .where(eq(messages.messageId, messageId)).returning();
  assert.equal(stored.status, 'delivered');
  assert.equal(stored.batch, 'june');
  assert.ok(stored.sentAt && stored.deliveredAt); // written as NULL
});

test('an upsert', async () => {
  for (const [status, stored] of [['delivered', 'delivered'], ['sent', 'delivered'], ['read', 'read']]) {
    const [row] = await db.insert(messages).values({ sid: 'SM1', status })
      .onConflictDoUpdate({ target: messages.sid, set: { status: sql`excluded.status` } }).returning();
    assert.equal(row.status, stored);
  }
});

test('comparing', async () => {
  await db.insert(messages).values([{ sid: 'SM1', status: 'sent' }, { sid: 'SM2', status: 'delivered' }]);
  const sids = async (...conditions) =>
    (await db.select().from(messages).where(and(...conditions)).orderBy(messages.sid)).map((row) => row.sid);
  assert.deepEqual(await sids(eq(messages.status, 'sent')), ['SM1']);
  assert.deepEqual(await sids(gte(messages.status, 'delivered')), ['SM2']);
  assert.deepEqual(await sids(inArray(messages.status, ['sent', 'delivered'])), ['SM1', 'SM2']);
  assert.deepEqual(await sids(eq(messages.status, sql`${'sent'}::msgstatus.delivery_status`)), ['SM1']);
  await assert.rejects(sids(eq(messages.status, 'bounced')));
});

test('status declared as text', async () => {
  const declared = pgTable('messages', { sid: text('sid'), status: text('status') });
  const [stored] = await db.insert(declared).values({ sid: 'SM1', status: 'sent' }).returning();
  assert.equal(stored.status, 'sent');
  await db.update(declared).set({ status: 'queued' });
  assert.deepEqual(await db.select().from(declared).where(eq(declared.status, 'sent')), [stored]);
});
