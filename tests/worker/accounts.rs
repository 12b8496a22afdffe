//! Many accounts in one database, and people with few rights.

use crate::server::{Bench, DELIVERED, wait_until};
use serde_json::json;

#[test]
fn a_bad_account_does_not_stop_the_others() {
    let Some(mut b) = Bench::new("stuck", &["msgstatus.auth_retry = '3s'"]) else { return };
    let (bad, good) = (b.account(0), b.account(1));
    let sids: Vec<String> = (0..40).map(|i| format!("SM{i}")).collect();
    let sids: Vec<&str> = sids.iter().map(String::as_str).collect();
    b.twilio.misbehave(json!([{"account": bad, "action": {"status": 401}}]));
    b.at_twilio(&sids, &bad, "4 hours", DELIVERED);
    b.at_twilio(&["SM100", "SM101"], &good, "3 hours", DELIVERED);
    b.in_table(&sids, &bad, "4 hours", "sent");
    b.in_table(&["SM100", "SM101"], &good, "3 hours", "sent");
    b.until_status("SM100", "delivered");
    b.until_status("SM101", "delivered");
    assert!(b.one::<bool>(
        "SELECT bool_and(status = 'sent' AND check_count = 0) FROM messages WHERE account_sid LIKE '%00'"
    ));
    // It is asked once, and then not before it has rested.
    let of_bad = |b: &Bench| b.twilio.stats()["by_account"][&bad].as_u64().unwrap_or(0);
    let asked = of_bad(&b);
    assert!(asked <= 4, "{asked} requests");
    wait_until("it is asked again", || of_bad(&b) > asked);
    b.twilio.behave();
    wait_until("all are right", || b.one("SELECT count(*) = 0 FROM messages WHERE status <> 'delivered'"));
    let said = b.server.log().lines().filter(|l| l.contains("WARNING") && l.contains(&bad)).count();
    assert_eq!(said, 1, "it is said once");
}

#[test]
fn accounts_share_a_round() {
    let Some(mut b) = Bench::new("stuck", &["msgstatus.poll_batch = 20", "msgstatus.poll_interval = 3600"]) else {
        return;
    };
    let (large, small) = (b.account(0), b.account(1));
    let sids: Vec<String> = (0..200).map(|i| format!("SM{i:032x}")).collect();
    let sids: Vec<&str> = sids.iter().map(String::as_str).collect();
    b.in_table(&sids, &large, "9 hours", "sent");
    b.in_table(&["SMa", "SMb"], &small, "3 hours", "sent");
    let taken = "SELECT count(*) FROM msgstatus.due(20) d JOIN messages m USING (sid) WHERE m.account_sid = $1";
    let of = |b: &mut Bench, account: &str| -> i64 { b.client.query_one(taken, &[&account]).expect(taken).get(0) };
    assert_eq!((of(&mut b, &small), of(&mut b, &large)), (2, 18));
    // A share of a round is for those that wait longest, however many there are that were never asked about.
    b.run("UPDATE messages SET created_at = now() - interval '30 hours', last_checked_at = now() - interval '13 hours', check_count = 1
          WHERE sid = 'SM' || repeat('0', 32)", &[]);
    assert!(b.one::<bool>("SELECT EXISTS (SELECT FROM msgstatus.due(6) WHERE sid = 'SM' || repeat('0', 32))"));
}

#[test]
fn tables_share_a_round_and_none_starves_in_any() {
    let Some(mut b) = Bench::new("stuck", &["msgstatus.poll_interval = 3600"]) else { return };
    let account = b.account(0);
    b.client
        .batch_execute(
            "CREATE TABLE more (LIKE messages INCLUDING ALL); CREATE TABLE more_log (LIKE delivery_log INCLUDING ALL);
             SELECT msgstatus.attach('more', 'more_log', poll => 'stuck')",
        )
        .expect("another table");
    let sids: Vec<String> = (0..50).map(|i| format!("SM{i:032x}")).collect();
    let sids: Vec<&str> = sids.iter().map(String::as_str).collect();
    b.in_table(&sids, &account, "3 hours", "sent");
    // In each the last one waits longest, and was asked about before.
    let waits =
        "created_at = now() - interval '30 hours', last_checked_at = now() - interval '13 hours', check_count = 1
                 WHERE sid = 'SM' || lpad('31', 32, '0')";
    b.run(&format!("UPDATE messages SET {waits}"), &[]);
    b.run(
        "INSERT INTO more (sid, account_sid, status, created_at, last_checked_at, check_count)
         SELECT replace(sid, 'SM', 'MM'), account_sid, status, created_at, last_checked_at, check_count FROM messages",
        &[],
    );
    let listed: Vec<String> = b.rows("SELECT sid FROM msgstatus.due(6) ORDER BY 1").iter().map(|r| r.get(0)).collect();
    let taken: Vec<String> = b.rows("SELECT sid FROM msgstatus.poll(6) ORDER BY 1").iter().map(|r| r.get(0)).collect();
    assert_eq!(listed, taken, "due() lists what a round takes");
    assert_eq!(taken.iter().filter(|sid| sid.starts_with("SM")).count(), 3, "{taken:?}");
    assert_eq!(taken.iter().filter(|sid| sid.ends_with("31")).count(), 2, "{taken:?}");
}

#[test]
fn messages_of_unknown_accounts_are_left_alone() {
    let Some(mut b) = Bench::new("stuck", &[]) else { return };
    b.in_table(&["SM1"], "AC0123456789abcdef0123456789abcdef", "3 hours", "sent");
    b.stuck(&["SM2"], "3 hours", DELIVERED);
    b.until_status("SM2", "delivered");
    b.a_round();
    assert!(b.one::<bool>("SELECT check_count = 0 AND next_check_at IS NULL FROM messages WHERE sid = 'SM1'"));
    let error = b.client.query("SELECT * FROM msgstatus.check_status('SM1')", &[]).expect_err("no credentials");
    assert_eq!(error.code().expect("a code").code(), "55000");
}

#[test]
fn people_need_no_rights_on_tables_to_ask() {
    let Some(mut b) = Bench::new("stuck", &["msgstatus.poll_interval = 3600"]) else { return };
    b.stuck(&["SM1", "SM2"], "3 hours", DELIVERED);
    b.stuck(&["SM3"], "1 minute", DELIVERED);
    let pid = b.worker();
    b.client
        .batch_execute(&format!(
            "CREATE ROLE asker_{pid}; GRANT EXECUTE ON FUNCTION msgstatus.poll(integer, regclass), msgstatus.check_status(text) TO asker_{pid};
             CREATE ROLE requester_{pid}; GRANT SELECT, UPDATE ON messages TO requester_{pid};
             SET ROLE asker_{pid}"
        ))
        .expect("roles");
    assert_eq!(b.rows("SELECT status FROM msgstatus.check_status('SM1')").len(), 1);
    assert_eq!(b.rows("SELECT * FROM msgstatus.poll() WHERE changed").len(), 1);
    for sql in ["SELECT * FROM messages", "SELECT * FROM msgstatus.poll_run", "SELECT msgstatus.request_check('SM3')"] {
        assert_eq!(b.client.query(sql, &[]).expect_err(sql).code().expect(sql).code(), "42501", "{sql}");
    }
    b.client.batch_execute(&format!("RESET ROLE; SET ROLE requester_{pid}")).expect("another role");
    b.run("SELECT msgstatus.request_check('SM3')", &[]);
    b.client.batch_execute("RESET ROLE").expect("the first role");
    b.until_status("SM3", "delivered");
}
