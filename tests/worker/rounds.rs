//! What rounds do: whom they ask about, and what becomes of the answers.

use crate::server::{Bench, DELIVERED, SENT, wait_until};
use serde_json::json;

/// Not so often that a round of the worker comes between.
const RARELY: &str = "msgstatus.poll_interval = 3600";

#[test]
fn the_worker_finds_out_and_the_rows_become_right() {
    let Some(mut b) = Bench::new("stuck", &[]) else { return };
    b.stuck(&["SM1"], "3 hours", DELIVERED);
    let failed = r#"[{"after":0,"status":"queued"},{"after":2,"status":"undelivered","error_code":30003,"error_message":"off"}]"#;
    b.stuck(&["SM2"], "3 hours", failed);
    b.stuck(&["SM3"], "10 minutes", DELIVERED);
    b.until_status("SM1", "delivered");
    b.until_status("SM2", "undelivered");
    wait_until("the price is there", || {
        b.one("SELECT price = -0.0075 AND price_unit = 'USD' AND num_segments = 1 FROM messages WHERE sid = 'SM1'")
    });
    let rows = b.rows(
        "SELECT status, source, error_code, provider, event_at < created_at - interval '2 hours 50 min', payload ->> 'price'
           FROM delivery_log ORDER BY sid",
    );
    let row = |i: usize| -> (String, String, Option<String>, String, bool, Option<String>) {
        let r = &rows[i];
        (r.get(0), r.get(1), r.get(2), r.get(3), r.get(4), r.get(5))
    };
    assert_eq!(rows.len(), 2, "a message of ten minutes is none that got stuck");
    assert_eq!(row(0), ("delivered".into(), "poll".into(), None, "twilio".into(), true, Some("-0.00750".into())));
    assert_eq!(
        row(1),
        ("undelivered".into(), "poll".into(), Some("30003".into()), "twilio".into(), true, Some("-0.00750".into()))
    );
    let books =
        "SELECT check_count = 1 AND last_checked_at > now() - interval '1 min' AND next_check_at IS NULL AND final
                   FROM messages WHERE sid = 'SM1'";
    assert!(b.one::<bool>(books));
    // One round, or two, if one began between the two messages.
    let runs = "SELECT sum(checked) = 2 AND sum(changed) = 2 AND sum(api_requests) = 2 AND sum(errors) = 0
                       AND bool_and(finished_at >= started_at) AND bool_and(finished_at IS NOT NULL)
                  FROM msgstatus.poll_run WHERE checked > 0";
    wait_until("the round is over", || b.one::<Option<bool>>(runs) == Some(true));
    assert_eq!(b.one::<i64>("SELECT count(*) FROM msgstatus.verify()"), 0);
    // Final messages are asked about no more.
    b.twilio.reset_stats();
    b.a_round();
    assert_eq!(b.twilio.count("requests"), 0);
}

#[test]
fn an_answer_overwrites_nothing_newer() {
    let Some(mut b) = Bench::new("stuck", &[RARELY]) else { return };
    b.stuck(&["SM1"], "3 hours", SENT);
    b.run("INSERT INTO delivery_log (sid, status) VALUES ('SM1', 'delivered')", &[]);
    b.run("UPDATE messages SET next_check_at = NULL", &[]);
    let rows = b.rows("SELECT new_status::text FROM msgstatus.check_status('SM1') c, LATERAL (SELECT status FROM messages) AS m(new_status)");
    assert_eq!(rows[0].get::<_, String>(0), "delivered");
    assert_eq!(b.one::<i64>("SELECT count(*) FROM delivery_log WHERE status = 'sent' AND source = 'poll'"), 1);
    assert_eq!(b.status("SM1"), "delivered");
}

#[test]
fn sent_for_too_long_is_delivery_unknown_until_a_receipt_comes() {
    let Some(mut b) = Bench::new("stuck", &[]) else { return };
    b.stuck(&["SM1"], "7 hours", SENT);
    b.stuck(&["SM2"], "5 hours", SENT);
    b.until_status("SM1", "delivery_unknown");
    wait_until("SM2 was asked about", || b.one("SELECT check_count = 1 FROM messages WHERE sid = 'SM2'"));
    assert_eq!(b.status("SM2"), "sent");
    assert_eq!(b.one::<i32>("SELECT check_count FROM messages WHERE sid = 'SM1'"), 1);
    b.run("INSERT INTO delivery_log (sid, status) VALUES ('SM1', 'delivered')", &[]);
    assert_eq!(b.status("SM1"), "delivered");
}

#[test]
fn what_twilio_does_not_have_is_asked_about_once() {
    let Some(mut b) = Bench::new("stuck", &[]) else { return };
    let account = b.account(0);
    b.in_table(&["SM1"], &account, "3 hours", "sent");
    wait_until("it was asked about", || b.one("SELECT next_check_at IS NOT DISTINCT FROM 'infinity' FROM messages"));
    b.a_round();
    b.a_round();
    assert_eq!(b.twilio.count("requests"), 1);
    assert_eq!(b.status("SM1"), "sent");
    assert!(b.one::<bool>("SELECT message LIKE '%404%' FROM msgstatus.poll_run WHERE errors = 1"));
}

#[test]
fn a_new_word_is_kept_and_counts_as_a_check() {
    let Some(mut b) = Bench::new("stuck", &[RARELY]) else { return };
    b.stuck(&["SM1"], "3 hours", r#"[{"after":0,"status":"teleported"}]"#);
    b.run("SELECT * FROM msgstatus.poll()", &[]);
    wait_until("it was asked about", || b.one("SELECT check_count = 1 FROM messages"));
    assert_eq!(b.status("SM1"), "sent");
    assert_eq!(b.one::<i64>("SELECT occurrences FROM msgstatus.unrecognized() WHERE word = 'teleported'"), 1);
    assert!(b.one::<bool>("SELECT last_checked_at IS NOT NULL AND next_check_at IS NULL FROM messages"));
}

#[test]
fn many_of_one_time_are_listed_and_few_are_fetched() {
    let Some(mut b) = Bench::new("stuck", &["msgstatus.poll_delay = 0", RARELY]) else { return };
    let account = b.account(0);
    // 20,000 messages of a day, every twentieth of which got stuck.
    let at: String = b.one("SELECT to_char(date_trunc('second', now() - interval '30 hours') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')");
    let to: String = b.one(&format!("SELECT to_char(('{at}'::timestamptz + interval '20 hours') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"));
    b.twilio.generate(json!({"account_sid": account, "count": 20_000, "sid_prefix": "SM00", "from": at, "to": to,
        "life": [{"after": 0, "status": "queued"}, {"after": 1, "status": "sent"}, {"after": 3, "status": "delivered"}]}));
    b.run(
        &format!(
            "INSERT INTO messages (sid, account_sid, created_at, status, status_at, sent_at)
             SELECT 'SM00' || lpad(to_hex(i), 30, '0'), '{account}', at, CASE WHEN i % 20 = 0 THEN 'sent' ELSE 'delivered' END, at, at
               FROM generate_series(0, 19999) i, LATERAL (SELECT '{at}'::timestamptz + i * interval '20 hours' / 20000) AS t(at)"
        ),
        &[],
    );
    b.run("SELECT msgstatus.request_check('SM00' || repeat('0', 30))", &[]);
    wait_until("one was asked about", || b.one("SELECT count(*) = 999 FROM messages WHERE NOT final"));
    b.twilio.reset_stats();
    let changed: i64 = b.one("SELECT count(*) FILTER (WHERE changed) FROM msgstatus.poll(500)");
    assert_eq!(changed, 500);
    // The oldest 500 lie on ten pages, of which the first may begin a little late.
    let requests = b.twilio.count("requests");
    assert!((10..=14).contains(&requests), "{requests} requests");
    assert_eq!(b.one::<i64>("SELECT api_requests FROM msgstatus.poll_run ORDER BY run DESC LIMIT 1"), requests as i64);

    // Of the others, one every two hours: no page shows three of them.
    b.run("UPDATE messages SET next_check_at = 'infinity' WHERE NOT final AND message_id % 2000 <> 1", &[]);
    b.twilio.reset_stats();
    let asked: i64 = b.one("SELECT count(*) FROM msgstatus.poll(500) WHERE changed");
    assert_eq!((asked, b.twilio.count("requests")), (4, 4));
    assert_eq!(b.one::<i64>("SELECT count(*) FROM msgstatus.verify()"), 0);
}

#[test]
fn a_page_helps_messages_that_were_not_asked_about() {
    let Some(mut b) = Bench::new("stuck", &["msgstatus.poll_delay = 0", "msgstatus.poll_batch = 30"]) else { return };
    let account = b.account(0);
    let sids: Vec<String> = (0..300).map(|i| format!("SM{i:032x}")).collect();
    let sids: Vec<&str> = sids.iter().map(String::as_str).collect();
    b.at_twilio(&sids, &account, "3 hours", DELIVERED);
    b.in_table(&sids, &account, "3 hours", "sent");
    // Also those that are not due yet.
    b.run("UPDATE messages SET created_at = now() - interval '5 min' WHERE message_id % 2 = 0", &[]);
    wait_until("all are right", || b.one("SELECT count(*) = 0 FROM messages WHERE status <> 'delivered'"));
    let requests = b.twilio.count("requests");
    assert!(requests <= 4, "{requests} requests");
    // One is fetched first, and is on the page too.
    let twice = "SELECT count(*) FROM (SELECT sid FROM delivery_log GROUP BY sid HAVING count(*) > 1) AS t";
    assert_eq!(b.one::<i64>(twice), 0);
    assert_eq!(b.one::<i64>("SELECT count(*) FROM messages WHERE check_count <> 1"), 0);
}

#[test]
fn a_message_that_is_fetched_and_listed_is_written_once() {
    let Some(mut b) = Bench::new("stuck", &[RARELY, "msgstatus.poll_delay = 0"]) else { return };
    let account = b.account(0);
    let sids: Vec<String> = (0..60).map(|i| format!("SM{i:032x}")).collect();
    let sids: Vec<&str> = sids.iter().map(String::as_str).collect();
    b.at_twilio(&sids, &account, "3 hours", SENT);
    b.in_table(&sids, &account, "3 hours", "sent");
    assert_eq!(b.rows("SELECT * FROM msgstatus.poll()").len(), 60);
    assert!(b.twilio.count("lists") > 0 && b.twilio.count("fetches") > 0);
    assert_eq!(b.one::<i64>("SELECT count(*) FROM delivery_log"), 60);
    assert_eq!(b.one::<i64>("SELECT count(*) FROM messages WHERE check_count = 1"), 60);
}

#[test]
fn a_check_that_is_asked_for_is_made_at_once() {
    let Some(mut b) = Bench::new("stuck", &[RARELY]) else { return };
    b.worker();
    b.stuck(&["SM1", "SM2"], "1 minute", DELIVERED);
    b.run("UPDATE messages SET check_count = 20", &[]);
    let mut t = b.client.transaction().expect("a transaction");
    t.execute("SELECT msgstatus.request_check('SM1')", &[]).expect("request_check");
    t.commit().expect("a commit");
    b.until_status("SM1", "delivered");
    assert_eq!(b.status("SM2"), "sent");
    assert_eq!(b.one::<i64>("SELECT count(*) FROM msgstatus.poll_run WHERE trigger = 'request'"), 1);
    let error = b.client.execute("SELECT msgstatus.request_check('SM9')", &[]).expect_err("an unknown message");
    assert_eq!(error.code().expect("a code").code(), "22023");
    let error = b.client.execute("SELECT msgstatus.request_check('SM1')", &[]).expect_err("a final message");
    assert_eq!(error.code().expect("a code").code(), "22023");
}

#[test]
fn a_person_can_ask() {
    let Some(mut b) = Bench::new("stuck", &[RARELY]) else { return };
    b.stuck(&["SM1", "SM2"], "1 minute", DELIVERED);
    b.stuck(&["SM3"], "1 minute", SENT);
    let row = &b.rows("SELECT sid, status::text, to_address, from_address, error_code, date_sent < date_updated, price::text, price_unit
                         FROM msgstatus.check_status('SM1')")[0];
    assert_eq!(row.get::<_, String>(0), "SM1");
    assert_eq!(row.get::<_, String>(1), "delivered");
    assert!(row.get::<_, String>(2).starts_with('+') && row.get::<_, String>(3).starts_with('+'));
    assert!(row.get::<_, bool>(5));
    assert_eq!(b.status("SM1"), "delivered");
    assert_eq!(b.one::<i32>("SELECT check_count FROM messages WHERE sid = 'SM1'"), 1);
    b.run("UPDATE messages SET batch = 'b' WHERE sid <> 'SM1'", &[]);
    let got: Vec<String> = b
        .rows("SELECT sid || ' ' || status FROM msgstatus.check_batch('b') ORDER BY 1")
        .iter()
        .map(|r| r.get(0))
        .collect();
    assert_eq!(got, ["SM2 delivered", "SM3 sent"]);
    assert!(b.rows("SELECT * FROM msgstatus.check_batch('no such batch')").is_empty());
    for (sql, code) in [
        ("SELECT * FROM msgstatus.check_status('SM9')", "22023"),
        ("SELECT * FROM msgstatus.check_status(NULL)", "22023"),
        ("SELECT * FROM msgstatus.poll(501)", "22023"),
        ("SELECT * FROM msgstatus.poll(0)", "22023"),
        ("SELECT * FROM msgstatus.poll(messages => 'delivery_log')", "55000"),
    ] {
        assert_eq!(b.client.query(sql, &[]).expect_err(sql).code().expect(sql).code(), code, "{sql}");
    }
}

#[test]
fn a_message_may_be_in_two_tables() {
    let Some(mut b) = Bench::new("stuck", &[RARELY]) else { return };
    b.stuck(&["SM1"], "3 hours", DELIVERED);
    b.client
        .batch_execute(
            "CREATE TABLE copies (wamid text UNIQUE, account_sid text, status msgstatus.delivery_status, status_at timestamptz,
                 sent_at timestamptz, created_at timestamptz, next_check_at timestamptz);
             INSERT INTO copies SELECT sid, account_sid, status, status_at, sent_at, created_at FROM messages;
             CREATE TABLE copies_log (wamid text, status text, source text, created_at timestamptz DEFAULT now());
             CREATE INDEX ON copies_log (wamid);
             SELECT msgstatus.attach('copies', 'copies_log', message_key => 'wamid', log_key => 'wamid', poll => 'stuck')",
        )
        .expect("another table");
    let rows = b.rows("SELECT new_status::text, changed FROM msgstatus.poll()");
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|r| r.get::<_, String>(0) == "delivered" && r.get::<_, bool>(1)));
    assert_eq!(b.twilio.count("requests"), 1);
    assert_eq!(b.one::<String>("SELECT status::text FROM copies"), "delivered");
}

#[test]
fn twilios_clock_may_be_off() {
    let Some(mut b) = Bench::new("stuck", &[RARELY]) else { return };
    // An hour ahead of ours; the message was delivered three hours ago by either.
    b.twilio.clock(3600);
    b.stuck(
        &["SM1"],
        "2 hours",
        r#"[{"after":0,"status":"queued"},{"after":1,"status":"sent"},{"after":3,"status":"delivered"}]"#,
    );
    b.run("UPDATE messages SET created_at = created_at - interval '1 hour', status_at = NULL, sent_at = NULL", &[]);
    b.run("SELECT * FROM msgstatus.poll()", &[]);
    let ago: String = b.one(
        "SELECT concat_ws(' ', status, date_trunc('minute', now() - delivered_at + interval '30 s')) FROM messages",
    );
    // Three seconds later it was delivered, and a minute later it had a price, with which the resource changed last.
    assert_eq!(ago, "delivered 02:59:00");
}

#[test]
fn tables_of_every_kind_can_be_asked_about() {
    let Some(mut b) = Bench::new("stuck", &[RARELY]) else { return };
    let account = b.account(0);
    // Partitioned, with a key that is not the SID, times without a zone, names to be quoted, and a log that holds labels
    // and keeps neither source nor payload.
    b.client
        .batch_execute(
            r#"SET timezone = 'Asia/Kolkata';
             CREATE TABLE "Odd msgs" (id bigint PRIMARY KEY, "Sid, of Twilio" varchar(64), acct varchar(40),
                 "State" msgstatus.delivery_status, made timestamp, "asked at" timestamp(0), asked bigint, "next" timestamp,
                 cost text, unit text, parts bigint) PARTITION BY RANGE (id);
             CREATE TABLE odd_1 PARTITION OF "Odd msgs" FOR VALUES FROM (0) TO (10);
             CREATE TABLE odd_2 PARTITION OF "Odd msgs" FOR VALUES FROM (10) TO (20);
             CREATE TABLE "Odd log" (id bigint, "State" msgstatus.delivery_status, at timestamp DEFAULT (now() AT TIME ZONE 'UTC'));
             CREATE INDEX ON "Odd log" (id);
             SELECT msgstatus.attach('"Odd msgs"', '"Odd log"', message_key => 'id', log_key => 'id', status => 'State',
                 log_status => 'State', level => 'row', poll => 'stuck', columns => '{"sid": "Sid, of Twilio",
                 "account_sid": "acct", "created_at": "made", "last_checked_at": "asked at", "check_count": "asked",
                 "next_check_at": "next", "price": "cost", "price_unit": "unit", "num_segments": "parts", "log.created_at": "at"}');"#,
        )
        .expect("odd tables");
    b.run(
        r#"INSERT INTO "Odd msgs" (id, "Sid, of Twilio", acct, "State", made)
           SELECT i, 'SM' || i, $1, 'sent', now() AT TIME ZONE 'UTC' - interval '3 hours' FROM generate_series(9, 11) i"#,
        &[&account],
    );
    b.at_twilio(&["SM9", "SM11"], &account, "3 hours", DELIVERED);
    b.at_twilio(&["SM10"], &account, "3 hours", SENT);
    let rows = b.rows("SELECT sid || ' ' || new_status FROM msgstatus.poll(messages => '\"Odd msgs\"') ORDER BY 1");
    let rows: Vec<String> = rows.iter().map(|r| r.get(0)).collect();
    assert_eq!(rows, ["SM10 sent", "SM11 delivered", "SM9 delivered"]);
    let books = r#"SELECT concat_ws(' ', id, "State", asked, now() AT TIME ZONE 'UTC' - "asked at" < '1 min', "next", cost, unit, parts)
                     FROM "Odd msgs" ORDER BY id"#;
    let rows: Vec<String> = b.rows(books).iter().map(|r| r.get(0)).collect();
    assert_eq!(
        rows,
        ["9 delivered 1 t -0.00750 USD 1", "10 sent 1 t -0.00750 USD 1", "11 delivered 1 t -0.00750 USD 1",]
    );
    assert!(b.rows("SELECT * FROM msgstatus.poll()").is_empty(), "it was just asked about");
    // The worker's way: with leases, and by request.
    b.at_twilio(&["SM10"], &account, "3 hours", DELIVERED);
    b.run("SELECT msgstatus.request_check('SM10')", &[]);
    wait_until("the worker has asked", || {
        b.one(r#"SELECT "State" = 'delivered' AND "next" IS NULL FROM "Odd msgs" WHERE id = 10"#)
    });
    assert_eq!(b.rows("SELECT * FROM msgstatus.check_status('SM10')").len(), 1);
}

#[test]
fn tables_with_few_columns_can_be_asked_about() {
    let Some(mut b) = Bench::new("stuck", &["msgstatus.poll_interval = 3600"]) else { return };
    let account = b.account(0);
    b.client
        .batch_execute(
            "CREATE TABLE few (sid text PRIMARY KEY, status msgstatus.delivery_status, account_sid text);
             CREATE TABLE few_log (sid text, status text);
             CREATE INDEX ON few_log (sid);
             SELECT msgstatus.attach('few', 'few_log', poll => 'eager')",
        )
        .expect("small tables");
    b.run("INSERT INTO few VALUES ('SM1', 'sent', $1), ('SM2', 'queued', $1)", &[&account]);
    b.at_twilio(&["SM1"], &account, "3 hours", DELIVERED);
    b.at_twilio(&["SM2"], &account, "3 hours", SENT);
    let rows = b.rows("SELECT sid || ' ' || new_status FROM msgstatus.poll(messages => 'few') ORDER BY 1");
    let rows: Vec<String> = rows.iter().map(|r| r.get(0)).collect();
    assert_eq!(rows, ["SM1 delivered", "SM2 sent"]);
}
