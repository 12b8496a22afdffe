//! What one row, one table or one wish does, and whom it does not concern.

use crate::server::{Bench, DELIVERED, SENT, wait_until};
use serde_json::json;

const RARELY: &str = "msgstatus.poll_interval = 3600";

fn texts(rows: &[postgres::Row]) -> Vec<String> {
    rows.iter().map(|r| r.get(0)).collect()
}

#[test]
fn an_answer_that_a_row_refuses_keeps_no_other_from_being_written() {
    let Some(mut b) = Bench::new("stuck", &[RARELY, "msgstatus.poll_delay = 0"]) else { return };
    b.run("ALTER TABLE delivery_log ADD CONSTRAINT not_this CHECK (sid <> 'SM07')", &[]);
    let sids: Vec<String> = (1..=40).map(|i| format!("SM{i:02}")).collect();
    let sids: Vec<&str> = sids.iter().map(String::as_str).collect();
    b.stuck(&sids, "3 hours", DELIVERED);
    let rows = b.rows("SELECT sid || ': ' || error FROM msgstatus.poll() WHERE error IS NOT NULL");
    let errors = texts(&rows);
    assert!(errors.len() == 1 && errors[0].starts_with("SM07: ") && errors[0].contains("\"not_this\""), "{errors:?}");
    assert_eq!(b.one::<i64>("SELECT count(*) FROM messages WHERE status = 'delivered'"), 39);
    let left_alone = "SELECT concat_ws(' ', status, check_count, next_check_at > now() + interval '10 min') FROM messages WHERE sid = 'SM07'";
    assert_eq!(b.one::<String>(left_alone), "sent 1 t");
    assert!(
        b.one::<bool>("SELECT errors = 1 AND message LIKE '%SM07%' FROM msgstatus.poll_run ORDER BY run DESC LIMIT 1")
    );
    // Who asks about it sees what Twilio says.
    assert_eq!(b.rows("SELECT FROM msgstatus.check_status('SM07') WHERE status = 'delivered'").len(), 1);
    // The worker: once said, however often it comes to that.
    for n in 1..=2 {
        let sid = format!("SM10{n}");
        b.stuck(&[&sid], "3 hours", DELIVERED);
        b.run("UPDATE messages SET next_check_at = '-infinity' WHERE NOT final", &[]);
        b.run("SELECT msgstatus.request_check($1)", &[&sid]);
        b.until_status(&sid, "delivered");
        let over = format!(
            "SELECT count(*) = {n} FROM msgstatus.poll_run WHERE trigger = 'request' AND errors = 1 AND finished_at IS NOT NULL"
        );
        wait_until("the round is over", || b.one(&over));
        assert_eq!(b.one::<String>(left_alone), format!("sent {} t", n + 2));
    }
    let name: String = b.one("SELECT current_database()::text");
    let said = b.server.log().lines().filter(|l| l.contains("an answer can't be written down, SM07")).count();
    assert_eq!(said, 1, "in {name}");
    assert_eq!(b.one::<i64>("SELECT count(*) FROM msgstatus.verify()"), 0);
}

#[test]
fn a_log_without_room_for_a_status_keeps_no_round_from_its_end() {
    let Some(mut b) = Bench::new("stuck", &[]) else { return };
    b.client
        .batch_execute(
            "SELECT msgstatus.detach('messages', 'delivery_log');
             CREATE TABLE short_log (sid text, status varchar(12), created_at timestamptz DEFAULT now()); CREATE INDEX ON short_log (sid);
             SELECT msgstatus.attach('messages', 'short_log', poll => 'stuck')",
        )
        .expect("a log");
    b.stuck(&["SM1"], "7 hours", SENT);
    b.stuck(&["SM2"], "3 hours", DELIVERED);
    b.until_status("SM2", "delivered");
    wait_until("it is said", || {
        b.one(
            "SELECT EXISTS (SELECT FROM msgstatus.poll_run WHERE message LIKE 'SM1: it can''t become delivery_unknown: %varying(12)')",
        )
    });
    assert_eq!(b.status("SM1"), "sent");
    b.run("ALTER TABLE short_log ALTER status TYPE text", &[]);
    b.until_status("SM1", "delivery_unknown");
}

#[test]
fn a_policy_that_ranks_delivery_unknown_low_is_not_told_of_it_again_and_again() {
    let Some(mut b) = Bench::new("stuck", &[]) else { return };
    b.client
        .batch_execute(
            "INSERT INTO msgstatus.policy (policy, status, rank)
             SELECT 'humble', status, CASE status WHEN 'delivery_unknown' THEN 1 ELSE rank END
               FROM msgstatus.policy WHERE policy = 'delivery_wins';
             SELECT msgstatus.detach('messages', 'delivery_log');
             SELECT msgstatus.attach('messages', 'delivery_log', poll => 'stuck', policy => 'humble')",
        )
        .expect("a policy");
    b.stuck(&["SM1"], "7 hours", SENT);
    wait_until("it was asked about", || b.one("SELECT check_count = 1 FROM messages"));
    b.a_round();
    b.a_round();
    assert_eq!(texts(&b.rows("SELECT status FROM delivery_log")), ["sent"]);
}

#[test]
fn a_table_that_fails_keeps_no_other_from_being_asked_about() {
    let Some(mut b) = Bench::new("stuck", &[RARELY]) else { return };
    let account = b.account(0);
    for (table, column) in [("lost_a_column", "scheduled_for"), ("overflows", "nothing")] {
        b.client
            .batch_execute(&format!(
                "CREATE TABLE {table} (LIKE messages INCLUDING ALL); CREATE TABLE {table}_log (LIKE delivery_log INCLUDING ALL);
                 SELECT msgstatus.attach('{table}', '{table}_log', poll => 'stuck');
                 ALTER TABLE {table} DROP COLUMN IF EXISTS {column};
                 INSERT INTO {table} (sid, account_sid, status, created_at, next_check_at)
                 VALUES ('SM77', '{account}', 'queued', '294276-12-31 23:59:59+00', '-infinity')"
            ))
            .expect(table);
    }
    // Infinite times have no age before PostgreSQL 17.
    b.stuck(&["SM1", "SM2"], "3 hours", DELIVERED);
    b.run(
        "INSERT INTO messages (sid, account_sid, status, created_at) VALUES ('SM9', $1, 'sent', '-infinity')",
        &[&account],
    );
    b.run(
        "INSERT INTO messages (sid, account_sid, status, scheduled_for) VALUES ('SM3', $1, 'scheduled', 'infinity')",
        &[&account],
    );
    assert_eq!(
        texts(&b.rows("SELECT sid FROM msgstatus.due() WHERE messages = 'messages'::regclass ORDER BY 1")),
        ["SM1", "SM2"]
    );
    let asked = texts(&b.rows("SELECT sid || ' ' || new_status FROM msgstatus.poll() ORDER BY 1"));
    assert_eq!(asked, ["SM1 delivered", "SM2 delivered"]);
    assert!(b.one::<bool>(
        "SELECT errors = 2 AND message LIKE '%lost_a_column%' FROM msgstatus.poll_run ORDER BY run DESC LIMIT 1"
    ));
    assert_eq!(b.rows("SELECT * FROM msgstatus.check_status('SM2')").len(), 1);
    b.stuck(&["SM4"], "3 hours", DELIVERED);
    b.run("SELECT msgstatus.request_check('SM4')", &[]);
    b.until_status("SM4", "delivered");
    let log = b.server.log();
    for table in ["lost_a_column", "overflows"] {
        assert!(log.contains(&format!("msgstatus worker: table public.{table} is left out: ")), "{table}");
    }
}

#[test]
fn tables_that_share_a_log_are_told_once() {
    let Some(mut b) = Bench::new("stuck", &[RARELY]) else { return };
    b.client
        .batch_execute(
            "CREATE TABLE copies (LIKE messages INCLUDING ALL);
             SELECT msgstatus.attach('copies', 'delivery_log', poll => 'stuck')",
        )
        .expect("another table");
    b.stuck(&["SM1", "SM2"], "3 hours", DELIVERED);
    b.run("INSERT INTO copies (sid, account_sid, status, created_at, sent_at) SELECT sid, account_sid, status, created_at, sent_at FROM messages", &[]);
    assert_eq!(b.rows("SELECT * FROM msgstatus.poll()").len(), 4);
    assert_eq!(b.twilio.count("requests"), 2);
    let kept = "SELECT concat_ws(' ', (SELECT count(*) FROM delivery_log), count(*), sum(check_count)) FROM
                (SELECT status, check_count, price FROM messages UNION ALL SELECT status, check_count, price FROM copies) AS m
                 WHERE status = 'delivered' AND price IS NOT NULL";
    assert_eq!(b.one::<String>(kept), "2 4 4");
}

#[test]
fn constraints_may_be_deferred() {
    let Some(mut b) = Bench::new("stuck", &[]) else { return };
    let pid = b.worker();
    b.client
        .batch_execute(&format!(
            "ALTER TABLE delivery_log ADD FOREIGN KEY (sid) REFERENCES messages (sid) DEFERRABLE INITIALLY DEFERRED;
             CREATE ROLE owner_{pid};
             ALTER TABLE messages OWNER TO owner_{pid};
             ALTER TABLE delivery_log OWNER TO owner_{pid}"
        ))
        .expect("a foreign key");
    b.stuck(&["SM1"], "3 hours", DELIVERED);
    b.stuck(&["SM2"], "7 hours", SENT);
    b.until_status("SM1", "delivered");
    b.until_status("SM2", "delivery_unknown");
}

#[test]
fn wishes_that_come_while_twilio_is_asked_are_kept() {
    let Some(mut b) = Bench::new("stuck", &[RARELY]) else { return };
    b.stuck(&["SM1", "SM2", "SM3"], "3 hours", SENT);
    b.twilio.misbehave(json!([{"delay_ms": 4000}]));
    b.run("SELECT msgstatus.request_check(sid) FROM messages", &[]);
    wait_until("Twilio is asked", || b.twilio.count("concurrent") > 0);
    // One is not to be asked about again, one tomorrow, and one as soon as this is over.
    b.run("UPDATE messages SET next_check_at = CASE sid WHEN 'SM1' THEN 'infinity' ELSE now() + interval '1 day' END WHERE sid <> 'SM3'", &[]);
    b.run("SELECT msgstatus.request_check('SM3')", &[]);
    assert!(b.twilio.count("concurrent") > 0, "Twilio is still asked");
    b.twilio.behave();
    wait_until("all is answered", || {
        b.one("SELECT bool_and(check_count = CASE sid WHEN 'SM3' THEN 2 ELSE 1 END) FROM messages")
    });
    let wishes = "SELECT sid || ' ' || CASE WHEN next_check_at = 'infinity' THEN 'never'
                         WHEN next_check_at > now() + interval '23 hours' THEN 'tomorrow' ELSE 'then' END FROM messages ORDER BY sid";
    assert_eq!(b.rows("SELECT FROM messages WHERE next_check_at IS NULL").len(), 1);
    assert_eq!(texts(&b.rows(wishes)), ["SM1 never", "SM2 tomorrow", "SM3 then"]);
}

#[test]
fn a_wish_that_could_not_be_asked_about_stays_one() {
    let Some(mut b) = Bench::new("stuck", &[RARELY, "msgstatus.auth_retry = '5s'"]) else { return };
    b.stuck(&["SM1"], "1 minute", DELIVERED);
    b.twilio.misbehave(json!([{"action": {"status": 401}}]));
    b.run("SELECT msgstatus.request_check('SM1')", &[]);
    wait_until("it was refused", || b.one("SELECT EXISTS (SELECT FROM msgstatus.poll_run WHERE message LIKE '%401%')"));
    assert!(b.one::<bool>("SELECT next_check_at = '-infinity' AND check_count = 0 FROM messages"));
    b.twilio.behave();
    // The worker sees it whenever it is woken next, after the account has rested.
    wait_until("it is delivered", || {
        // There is nothing to ask about a message that is delivered at this moment.
        let _ = b.client.execute("SELECT msgstatus.request_check('SM1')", &[]);
        b.status("SM1") == "delivered"
    });
}

#[test]
fn who_may_not_use_a_table_may_use_another() {
    let Some(mut b) = Bench::new("stuck", &[RARELY]) else { return };
    let pid = b.worker();
    b.client
        .batch_execute(&format!(
            "CREATE TABLE others (LIKE messages INCLUDING ALL); CREATE TABLE others_log (LIKE delivery_log INCLUDING ALL);
             SELECT msgstatus.attach('others', 'others_log', poll => 'stuck');
             CREATE ROLE app_{pid}; GRANT SELECT, UPDATE (next_check_at) ON messages TO app_{pid}"
        ))
        .expect("a role");
    b.stuck(&["SM1"], "1 minute", DELIVERED);
    b.run("INSERT INTO others (sid, account_sid, status) VALUES ('SM2', 'AC1', 'sent')", &[]);
    b.client.batch_execute(&format!("SET ROLE app_{pid}")).expect("a role");
    b.run("SELECT msgstatus.request_check('SM1')", &[]);
    let error = b.client.execute("SELECT msgstatus.request_check('SM2')", &[]).expect_err("a table of others");
    assert_eq!(error.code().expect("a code").code(), "42501");
    b.until_status("SM1", "delivered");
}

#[test]
fn a_message_that_somebody_holds_keeps_no_other_from_being_right() {
    let Some(mut b) = Bench::new("stuck", &[RARELY]) else { return };
    let name: String = b.one("SELECT current_database()::text");
    let mut other = b.server.connect(&name);
    let sids = ["SM1", "SM2", "SM3"];
    b.stuck(&sids, "3 hours", DELIVERED);
    b.twilio.misbehave(json!([{"delay_ms": 5000}]));
    b.run("SELECT msgstatus.request_check(sid) FROM messages", &[]);
    wait_until("Twilio is asked", || b.twilio.count("concurrent") > 0);
    let mut t = other.transaction().expect("a transaction");
    t.execute("SELECT FROM messages WHERE sid = 'SM2' FOR UPDATE", &[]).expect("a lock");
    b.until_status("SM1", "delivered");
    b.until_status("SM3", "delivered");
    assert_eq!(b.status("SM2"), "sent");
    t.rollback().expect("an end");
    b.until_status("SM2", "delivered");
    // By hand: what is held is given up, and said.
    b.twilio.behave();
    b.stuck(&["SM4", "SM5"], "3 hours", DELIVERED);
    let mut t = other.transaction().expect("a transaction");
    t.execute("SELECT FROM messages WHERE sid = 'SM4' FOR UPDATE", &[]).expect("a lock");
    let rows = b.rows("SELECT concat_ws(' ', sid, new_status, error) FROM msgstatus.poll() ORDER BY sid");
    let held = "SM4 sent the answer can't be written down: another transaction holds the message";
    assert_eq!(texts(&rows), [held, "SM5 delivered"]);
    t.rollback().expect("an end");
    assert_eq!(b.rows("SELECT FROM msgstatus.poll() WHERE changed").len(), 1);
}

#[test]
fn what_a_page_shows_counts_only_if_it_is_news() {
    let Some(mut b) = Bench::new("stuck", &["msgstatus.poll_delay = 0"]) else { return };
    let account = b.account(0);
    let sids: Vec<String> = (0..60).map(|i| format!("SM{i:032x}")).collect();
    let sids: Vec<&str> = sids.iter().map(String::as_str).collect();
    let (due, others) = sids.split_at(40);
    b.at_twilio(due, &account, "3 hours", DELIVERED);
    b.at_twilio(others, &account, "3 hours", SENT);
    // Twilio knows of no delivery_unknown: for it they are still sent.
    b.run("BEGIN", &[]);
    b.in_table(others, &account, "3 hours", "delivery_unknown");
    b.run("UPDATE messages SET next_check_at = 'infinity'", &[]);
    b.run("COMMIT", &[]);
    b.in_table(due, &account, "3 hours", "sent");
    wait_until("all are right", || b.one("SELECT count(*) = 40 FROM messages WHERE status = 'delivered'"));
    b.a_round();
    assert!(b.twilio.count("lists") > 0);
    assert_eq!(b.one::<i64>("SELECT count(*) FROM messages WHERE status = 'delivery_unknown' AND check_count = 0"), 20);
    assert_eq!(b.one::<i64>("SELECT count(*) FROM delivery_log"), 40);
}

#[test]
fn messages_that_are_asked_about_no_more_become_delivery_unknown_too() {
    let Some(mut b) = Bench::new("stuck", &[]) else { return };
    let account = b.account(0);
    b.client
        .batch_execute("ALTER TABLE delivery_log ADD CONSTRAINT only_some CHECK (sid NOT LIKE 'XX%')")
        .expect("a constraint");
    // Of these none can; they keep no other from it.
    let bad: Vec<String> = (0..30).map(|i| format!("XX{i}")).collect();
    b.in_table(&bad.iter().map(String::as_str).collect::<Vec<_>>(), &account, "80 hours", "sent");
    // Twilio has no such message, as it said five hours ago; a message of old times; one with enough checks.
    b.run("BEGIN", &[]);
    b.in_table(&["SM1", "SM2", "SM3"], &account, "7 hours", "sent");
    b.run("UPDATE messages SET check_count = 1, last_checked_at = now() - interval '5 hours', next_check_at = 'infinity' WHERE sid = 'SM1'", &[]);
    b.run("UPDATE messages SET created_at = now() - interval '80 hours' WHERE sid = 'SM2'", &[]);
    b.run("UPDATE messages SET check_count = 20 WHERE sid = 'SM3'", &[]);
    b.run("COMMIT", &[]);
    for sid in ["SM1", "SM2", "SM3"] {
        b.until_status(sid, "delivery_unknown");
    }
    assert_eq!(b.twilio.count("requests"), 0);
}

#[test]
fn long_ago_is_forgotten_and_that_holds_nobody_up() {
    let Some(mut b) = Bench::new("stuck", &[RARELY]) else { return };
    let old = "INSERT INTO msgstatus.poll_run (started_at, finished_at, trigger)
               SELECT now() - interval '31 days', now(), 'poll' FROM generate_series(1, 3)";
    let count = "SELECT count(*) FROM msgstatus.poll_run WHERE started_at < now() - interval '30 days'";
    b.run("DELETE FROM msgstatus.poll_run", &[]);
    b.run(old, &[]);
    let name: String = b.one("SELECT current_database()::text");
    let mut other = b.server.connect(&name);
    let mut t = other.transaction().expect("a transaction");
    t.execute("DELETE FROM msgstatus.poll_run WHERE run = (SELECT min(run) FROM msgstatus.poll_run)", &[])
        .expect("a lock");
    b.client.batch_execute("SET statement_timeout = '20s'").expect("a timeout");
    b.rows("SELECT * FROM msgstatus.poll()");
    assert_eq!(b.one::<i64>(count), 1, "one of them is held");
    t.rollback().expect("an end");
    b.rows("SELECT * FROM msgstatus.poll()");
    assert_eq!(b.one::<i64>(count), 0);
}
