//! Convergence, against a real server: whatever order, batching, level and way callbacks come in, and whether the
//! message is there first or last, a message ends up the same, and as a query over its whole log says it must.
//!
//! Needs MSGSTATUS_TEST_URL, the connection string of a superuser on a server with the extension; without it nothing
//! is tested, and said so.

#![allow(clippy::expect_used, reason = "a test says what it expected and stops")]

use postgres::{Client, NoTls};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::io::Write;

const OUTBOUND: [&str; 12] = [
    "accepted",
    "scheduled",
    "queued",
    "sending",
    "sent",
    "delivery_unknown",
    "partially_delivered",
    "undelivered",
    "failed",
    "canceled",
    "delivered",
    "read",
];
const POLICIES: [&str; 3] = ["first_final", "delivery_wins", "failure_wins"];

fn connect() -> Option<Client> {
    let Ok(url) = std::env::var("MSGSTATUS_TEST_URL") else {
        eprintln!("skipped: MSGSTATUS_TEST_URL is not set (make test sets it)");
        return None;
    };
    let mut client = Client::connect(&url, NoTls).expect("connect");
    // The extension may be there already, and tests run side by side.
    for step in [
        "SET client_min_messages = warning; SET timezone = 'UTC'",
        "SELECT pg_advisory_lock(77)",
        "CREATE EXTENSION IF NOT EXISTS msgstatus",
        "SELECT pg_advisory_unlock(77)",
    ] {
        client.batch_execute(step).expect(step);
    }
    Some(client)
}

/// A fresh pair of tables in a schema of its own. The initial status is the lowest, so that it never stands.
fn pair(client: &mut Client, schema: &str, policy: &str, level: &str) {
    client
        .batch_execute(&format!(
            "DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}; SET search_path = {schema};
             SELECT msgstatus.create_tables('{schema}');
             SELECT msgstatus.detach('messages', 'delivery_log');
             SELECT msgstatus.attach('messages', 'delivery_log', policy => '{policy}', level => '{level}');"
        ))
        .expect("tables");
}

/// The contract's rule as one query over the log: what every message must look like.
const BY_DEFINITION: &str = "
    WITH e AS (
        SELECT l.sid, l.delivery_status AS s, least(coalesce(l.event_at, l.created_at), l.created_at) AS t,
               l.error_code, coalesce(p.rank, msgstatus.rank(l.delivery_status)) AS rank
          FROM delivery_log l LEFT JOIN msgstatus.policy p ON p.policy = $1 AND p.status = l.delivery_status
         WHERE l.delivery_status IS NOT NULL)
    SELECT sid,
           (array_agg(s::text ORDER BY rank DESC, t, s DESC))[1] AS status,
           (array_agg(t::text ORDER BY rank DESC, t, s DESC))[1] AS status_at,
           min(t) FILTER (WHERE s IN ('sent','partially_delivered','undelivered','delivered','read'))::text AS sent_at,
           min(t) FILTER (WHERE s IN ('delivered','read'))::text AS delivered_at,
           min(t) FILTER (WHERE s = 'read')::text AS read_at,
           min(t) FILTER (WHERE s IN ('undelivered','failed'))::text AS failed_at,
           min(t) FILTER (WHERE s = 'canceled')::text AS canceled_at,
           (array_agg(error_code ORDER BY s NOT IN ('undelivered','failed'), t, error_code)
              FILTER (WHERE error_code <> ''))[1] AS error_code,
           bit_or(1 << (array_position(enum_range(NULL::msgstatus.delivery_status), s) - 1)) | 1 AS statuses_seen
      FROM e GROUP BY sid";

const STORED: &str = "
    SELECT sid, status::text, status_at::text, sent_at::text, delivered_at::text, read_at::text, failed_at::text,
           canceled_at::text, error_code, statuses_seen FROM messages WHERE statuses_seen <> 1";

/// Asserts that the tables are as the rule says, and that verify thinks so too.
fn check(client: &mut Client, policy: &str, what: &str) {
    let wrong = client
        .query(
            &format!(
                "SELECT coalesce(a.sid, b.sid), to_jsonb(a) - 'sid', to_jsonb(b) - 'sid'
                   FROM ({BY_DEFINITION}) a FULL JOIN ({STORED}) b USING (sid)
                  WHERE (to_jsonb(a) IS DISTINCT FROM to_jsonb(b)) LIMIT 3"
            )
            .replace("to_jsonb(a) - 'sid'", "to_jsonb(a)::text")
            .replace("to_jsonb(b) - 'sid'", "to_jsonb(b)::text"),
            &[&policy],
        )
        .expect("compare");
    for row in &wrong {
        let (a, b): (Option<String>, Option<String>) = (row.get(1), row.get(2));
        eprintln!("{what}: must be {a:?}\n{what}: is      {b:?}");
    }
    assert!(wrong.is_empty(), "{what}: {} differ", wrong.len());
    let verify =
        client.query_one("SELECT count(*) FROM msgstatus.verify(messages => 'messages')", &[]).expect("verify");
    assert_eq!(verify.get::<_, i64>(0), 0, "{what}: verify is not empty");
    let waiting = client.query_one("SELECT count(*) FROM msgstatus.unmatched('messages')", &[]).expect("unmatched");
    assert_eq!(waiting.get::<_, i64>(0), 0, "{what}: callbacks wait for messages that are there");
}

/// Sets of four events: every one of them in turn as a number in base 24, every `stride`th taken.
fn fill_sets(client: &mut Client, stride: i64) {
    client
        .batch_execute(&format!(
            "CREATE TEMP TABLE IF NOT EXISTS event (set integer, place integer, word text, t timestamptz);
             TRUNCATE event;
             INSERT INTO event
             SELECT n, i, (ARRAY['{}'])[d % 12 + 1], timestamptz '2026-01-01' + d / 12 * interval '1 second'
               FROM (SELECT n, i, n / (24 ^ i)::integer % 24 AS d
                       FROM generate_series(0, 331775, {stride}) n, generate_series(0, 3) i
                      WHERE n % 24 <= n / 24 % 24 AND n / 24 % 24 <= n / 576 % 24 AND n / 576 % 24 <= n / 13824) x;
             CREATE TEMP TABLE IF NOT EXISTS perm AS
             SELECT row_number() OVER () AS perm, ARRAY[a, b, c, d] AS places
               FROM generate_series(0, 3) a, generate_series(0, 3) b, generate_series(0, 3) c, generate_series(0, 3) d
              WHERE array_length(array(SELECT DISTINCT unnest(ARRAY[a, b, c, d])), 1) = 4",
            OUTBOUND.join("','")
        ))
        .expect("sets");
}

/// The rows of one statement: the events at positions `from..to` of every permutation of every set.
fn part(from: usize, to: usize) -> String {
    format!(
        "SELECT 'S' || e.set || '-' || p.perm AS sid, e.word AS status, e.t AS event_at
           FROM perm p, event e WHERE e.place = ANY (p.places[{}:{}])",
        from + 1,
        to
    )
}

const MESSAGES: &str = "INSERT INTO messages (sid, status, status_at)
    SELECT DISTINCT 'S' || e.set || '-' || p.perm, 'receiving'::msgstatus.delivery_status, timestamptz '2020-01-01'
      FROM perm p, event e";

#[test]
fn every_order_split_and_level() {
    let Some(mut client) = connect() else { return };
    // All 17,550 multisets in all 24 orders take minutes a case; a sample of them, another one in each case, seconds.
    let all = std::env::var("MSGSTATUS_CONVERGENCE").is_ok_and(|v| v == "all");
    let mut case = 0;
    for policy in POLICIES {
        for level in ["statement", "row"] {
            for split in 0..8u32 {
                for last in [false, true] {
                    case += 1;
                    fill_sets(&mut client, if all { 1 } else { 211 + case });
                    pair(&mut client, "convergence_orders", policy, level);
                    if !last {
                        client.batch_execute(MESSAGES).expect("messages");
                    }
                    // Bit i of the split says that a statement ends behind event i.
                    let ends: Vec<usize> = (1..4).filter(|i| split >> (i - 1) & 1 == 1).chain([4]).collect();
                    let mut from = 0;
                    for to in ends {
                        insert(&mut client, &part(from, to), case % 2 == 0);
                        from = to;
                    }
                    if last {
                        client.batch_execute(MESSAGES).expect("messages");
                    }
                    check(&mut client, policy, &format!("{policy} {level} split {split:03b} message last: {last}"));
                }
            }
        }
    }
    client.batch_execute("DROP SCHEMA convergence_orders CASCADE").expect("drop");
}

/// Inserts the rows of a query into the log, by INSERT or by COPY.
fn insert(client: &mut Client, rows: &str, copy: bool) {
    if !copy {
        let sql = format!("INSERT INTO delivery_log (sid, status, event_at) {rows} ORDER BY random()");
        client.batch_execute(&sql).expect("insert");
        return;
    }
    let mut text = Vec::new();
    for row in client.query(&format!("SELECT sid, status, event_at::text FROM ({rows}) r"), &[]).expect("rows") {
        let (sid, status, at): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        writeln!(text, "{sid}\t{status}\t{at}").expect("write");
    }
    let mut writer = client.copy_in("COPY delivery_log (sid, status, event_at) FROM STDIN").expect("copy");
    writer.write_all(&text).expect("copy data");
    writer.finish().expect("copy end");
}

#[test]
fn single_rows() {
    let Some(mut client) = connect() else { return };
    for (i, policy) in POLICIES.into_iter().enumerate() {
        for level in ["statement", "row"] {
            fill_sets(&mut client, 2003 + i as i64);
            pair(&mut client, "convergence_single", policy, level);
            client.batch_execute(MESSAGES).expect("messages");
            client
                .batch_execute(
                    "DO $$ DECLARE r record; BEGIN
                         FOR r IN SELECT 'S' || e.set || '-' || p.perm AS sid, e.word, e.t
                                    FROM perm p, event e ORDER BY p.perm, e.set, array_position(p.places, e.place) LOOP
                             INSERT INTO delivery_log (sid, status, event_at) VALUES (r.sid, r.word, r.t);
                         END LOOP;
                     END $$",
                )
                .expect("single rows");
            check(&mut client, policy, &format!("single rows, {policy} {level}"));
        }
    }
    client.batch_execute("DROP SCHEMA convergence_single CASCADE").expect("drop");
}

/// One callback of a larger case.
#[derive(Clone, Debug)]
struct Callback {
    sid: u8,
    word: &'static str,
    second: u8,
    error: Option<u8>,
}

fn callbacks() -> impl Strategy<Value = Vec<Callback>> {
    let word = prop_oneof![30 => prop::sample::select(OUTBOUND.to_vec()), 1 => Just("bounced"), 1 => Just("")];
    let one = (0u8..4, word, 0u8..6, prop::option::of(0u8..4)).prop_map(|(sid, word, second, error)| Callback {
        sid,
        word,
        second,
        error,
    });
    prop::collection::vec(one, 1..40)
}

/// Writes callbacks in statements of the given sizes; the message of each key is inserted before statement `when[key]`.
fn write(client: &mut Client, callbacks: &[Callback], sizes: &[usize], when: &[usize; 4]) {
    let mut rest = callbacks;
    let mut statement = 0;
    let messages = |client: &mut Client, now: usize, end: bool| {
        for (sid, &at) in when.iter().enumerate() {
            if at == now || end && at > now {
                client
                    .execute(
                        "INSERT INTO messages (sid, status, status_at) VALUES ($1, 'receiving', '2020-01-01')
                         ON CONFLICT DO NOTHING",
                        &[&format!("P{sid}")],
                    )
                    .expect("message");
            }
        }
    };
    while !rest.is_empty() {
        messages(client, statement, false);
        let n = sizes[statement % sizes.len()].clamp(1, rest.len());
        let rows: Vec<String> = rest[..n]
            .iter()
            .map(|c| {
                let error = c.error.map_or("NULL".to_owned(), |e| format!("'3000{e}'"));
                format!(
                    "('P{}', '{}', timestamptz '2026-01-01' + {} * interval '1 s', {error})",
                    c.sid, c.word, c.second
                )
            })
            .collect();
        let values = rows.join(", ");
        client
            .batch_execute(&format!("INSERT INTO delivery_log (sid, status, event_at, error_code) VALUES {values}"))
            .expect("callbacks");
        rest = &rest[n..];
        statement += 1;
    }
    messages(client, statement, true);
}

#[test]
fn larger_cases() {
    let Some(mut client) = connect() else { return };
    pair(&mut client, "convergence_larger", "first_final", "statement");
    let client = std::cell::RefCell::new(client);
    let mut runner = TestRunner::new(Config { cases: 120, failure_persistence: None, ..Config::default() });
    let orders = prop::collection::vec(1usize..9, 1..6);
    let strategy = (callbacks(), orders, prop::array::uniform4(0usize..6), any::<u64>());
    runner
        .run(&strategy, |(callbacks, sizes, when, seed)| {
            let mut client = client.borrow_mut();
            let mut rows = Vec::new();
            let mut turned = callbacks.clone();
            turned.rotate_left(seed as usize % callbacks.len());
            turned.reverse();
            for (order, sizes) in [(&callbacks, &sizes[..]), (&turned, &[1][..]), (&turned, &[100][..])] {
                client.batch_execute("TRUNCATE messages, delivery_log").expect("truncate");
                write(&mut client, order, sizes, &when);
                check(&mut client, "first_final", "larger");
                let row = client.query_one(
                    "SELECT coalesce(jsonb_agg(to_jsonb(m) - '{message_id,created_at}'::text[] ORDER BY sid), '[]')::text
                       FROM messages m",
                    &[],
                );
                rows.push(row.expect("rows").get::<_, String>(0));
            }
            prop_assert_eq!(&rows[0], &rows[1]);
            prop_assert_eq!(&rows[0], &rows[2]);
            Ok(())
        })
        .expect("larger cases converge");
    client.borrow_mut().batch_execute("DROP SCHEMA convergence_larger CASCADE").expect("drop");
}
