//! A Twilio that misbehaves.

use crate::server::{Bench, DELIVERED, wait_until};
use serde_json::{Value, json};

const RARELY: &str = "msgstatus.poll_interval = 3600";
const AT_ONCE: &str = "msgstatus.poll_delay = 0";

/// What `poll()` says of the only message while Twilio does this.
fn error_of(b: &mut Bench, rules: Value) -> Option<String> {
    b.twilio.misbehave(rules);
    // Due by its schedule: what is asked for by hand the worker may take, whatever wakes it.
    b.run("UPDATE messages SET next_check_at = NULL, last_checked_at = NULL, check_count = 0", &[]);
    let rows = b.rows("SELECT error FROM msgstatus.poll()");
    assert_eq!(rows.len(), 1);
    rows[0].get(0)
}

#[test]
fn whatever_twilio_answers_is_survived_and_said() {
    let Some(mut b) = Bench::new("stuck", &[RARELY, AT_ONCE]) else { return };
    b.stuck(&["SM1"], "3 hours", DELIVERED);
    for (action, said) in [
        (json!({"status": 500}), "Twilio answered 500"),
        (json!({"status": 503, "body": "<html>Service Unavailable</html>"}), "Twilio answered 503"),
        (json!({"status": 429}), "429"),
        (json!({"status": 401}), "401: 20003"),
        (json!({"status": 403}), "403"),
        (json!({"status": 400, "body": {"code": 20001, "message": "Invalid"}}), "400: 20001, Invalid"),
        (json!({"status": 404, "body": "<html>no such page</html>"}), "404: no reason given"),
        (json!({"reset": true}), "the connection broke"),
        (json!({"cut": true}), "the connection broke"),
        (json!({"drop": true}), "no answer from Twilio"),
        (json!({"hang": true}), "msgstatus.http_timeout"),
        (json!({"huge": 100_000_000}), "more than 16 MB"),
        (json!({"gzip_bomb": 100_000_000}), "more than 16 MB"),
        (json!({"invalid_json": true}), "not JSON"),
        (json!({"empty": true}), "not JSON"),
        (json!({"null_status": true}), "no status"),
        (json!({"missing_fields": ["status"]}), "no status"),
        (json!({"missing_fields": ["sid"]}), "no sid"),
        (json!({"wrong_sid": "SM2"}), "it is about SM2"),
    ] {
        // What is unpacked takes its time on a busy machine, and waiting for nothing need not.
        let patience = if action.get("hang").is_some() { "500ms" } else { "60s" };
        b.run(&format!("SET msgstatus.http_timeout = '{patience}'"), &[]);
        let error = error_of(&mut b, json!([{"action": action}]));
        assert!(error.as_deref().is_some_and(|e| e.contains(said)), "{action}: {error:?}");
        assert_eq!(b.status("SM1"), "sent", "{action}");
        assert!(b.one::<bool>("SELECT next_check_at IS DISTINCT FROM 'infinity' FROM messages"), "{action}");
    }
    // What Twilio adds, leaves out or packs does not matter.
    for action in [
        json!({"extra_fields": true}),
        json!({"gzip": true}),
        json!({"missing_fields": ["price", "date_sent", "date_updated", "error_code", "num_segments", "to", "from"]}),
    ] {
        b.client
            .batch_execute(
                "SET msgstatus.guard = off; UPDATE messages SET status = 'sent', statuses_seen = 0, delivered_at = NULL;
                 RESET msgstatus.guard; TRUNCATE delivery_log",
            )
            .expect("back to sent");
        assert_eq!(error_of(&mut b, json!([{"action": action}])), None, "{action}");
        assert_eq!(b.status("SM1"), "delivered", "{action}");
    }
}

#[test]
fn a_request_that_fails_for_the_moment_is_repeated() {
    let Some(mut b) = Bench::new("stuck", &[RARELY, AT_ONCE]) else { return };
    b.stuck(&["SM1"], "3 hours", DELIVERED);
    for action in [json!({"status": 429}), json!({"status": 500}), json!({"reset": true}), json!({"status": 503})] {
        b.twilio.reset_stats();
        let error = error_of(&mut b, json!([{"times": 2, "action": action}]));
        assert_eq!(error, None, "{action}");
        assert_eq!(b.twilio.count("requests"), 3);
        b.client
            .batch_execute("SET msgstatus.guard = off; UPDATE messages SET status = 'sent'; RESET msgstatus.guard")
            .expect("back to sent");
    }
    assert_eq!(b.one::<i64>("SELECT max(throttled) FROM msgstatus.poll_run"), 2);
}

#[test]
fn retry_after_is_honoured() {
    let Some(mut b) = Bench::new("stuck", &[RARELY, AT_ONCE]) else { return };
    b.stuck(&["SM1", "SM2", "SM3"], "3 hours", DELIVERED);
    b.twilio.misbehave(json!([{"times": 1, "action": {"status": 429, "headers": {"Retry-After": "2"}}}]));
    b.run("SELECT * FROM msgstatus.poll()", &[]);
    assert_eq!(b.one::<i64>("SELECT count(*) FROM messages WHERE status = 'delivered'"), 3);
    let requests = b.twilio.requests();
    let refused = requests.iter().find(|r| r["status"] == 429).expect("a refused request")["finished_ms"].as_f64();
    let next = requests
        .iter()
        .filter_map(|r| r["started_ms"].as_f64())
        .filter(|&at| Some(at) > refused)
        .fold(f64::MAX, f64::min);
    assert!(
        next - refused.unwrap_or(0.0) >= 1900.0,
        "the account is asked again after {} ms",
        next - refused.unwrap_or(0.0)
    );
}

#[test]
fn requests_are_so_many_at_once_and_so_far_apart() {
    let Some(mut b) = Bench::new("stuck", &[RARELY, "msgstatus.poll_delay = '20ms'", "msgstatus.poll_concurrency = 3"])
    else {
        return;
    };
    let sids: Vec<String> = (0..60).map(|i| format!("SM{i}")).collect();
    let sids: Vec<&str> = sids.iter().map(String::as_str).collect();
    // Without a time that Twilio's list goes by, each is fetched.
    b.stuck(&sids, "3 hours", DELIVERED);
    b.run("UPDATE messages SET created_at = created_at - random() * interval '60 hours'", &[]);
    b.twilio.misbehave(json!([{"kind": "list", "action": {"status": 400}}, {"delay_ms": 150}]));
    b.run("SELECT * FROM msgstatus.poll()", &[]);
    assert_eq!(b.one::<i64>("SELECT count(*) FROM messages WHERE status = 'delivered'"), 60);
    assert_eq!(b.twilio.count("max_concurrent"), 3);
    let mut starts: Vec<f64> = b.twilio.requests().iter().filter_map(|r| r["started_ms"].as_f64()).collect();
    starts.sort_by(f64::total_cmp);
    let mut gaps: Vec<f64> = starts.windows(2).map(|w| w[1] - w[0]).collect();
    gaps.sort_by(f64::total_cmp);
    // A busy machine brings some closer together, and others further apart.
    assert!(gaps[gaps.len() / 2] >= 15.0, "requests start {gaps:?} ms apart");
}

#[test]
fn an_account_that_fails_again_and_again_is_left_alone_for_the_round() {
    let Some(mut b) = Bench::new("stuck", &[RARELY, AT_ONCE]) else { return };
    let sids: Vec<String> = (0..100).map(|i| format!("SM{i}")).collect();
    let sids: Vec<&str> = sids.iter().map(String::as_str).collect();
    b.stuck(&sids, "3 hours", DELIVERED);
    b.twilio.misbehave(json!([{"action": {"drop": true}}]));
    let rows = b.rows("SELECT error FROM msgstatus.poll(100)");
    assert_eq!(rows.len(), 100);
    assert!(rows.iter().all(|r| r.get::<_, Option<String>>(0).is_some()));
    let requests = b.twilio.count("requests");
    assert!(requests <= 40, "{requests} requests");
    let counted: i64 = b.one("SELECT count(*) FROM messages WHERE check_count > 0");
    assert!(counted < 15, "{counted} messages lost a check");
    assert_eq!(b.one::<i64>("SELECT count(*) FROM messages WHERE next_check_at > now() + interval '1 hour'"), 0);
}

#[test]
fn who_asks_to_be_left_alone_is() {
    let Some(mut b) = Bench::new("stuck", &[AT_ONCE]) else { return };
    b.twilio.misbehave(json!([{"action": {"status": 429, "headers": {"Retry-After": "3600"}}}]));
    b.stuck(&["SM1", "SM2"], "3 hours", DELIVERED);
    wait_until("it was asked", || b.twilio.count("requests") > 0);
    let asked = b.twilio.count("requests");
    for _ in 0..3 {
        b.a_round();
    }
    b.run("SELECT msgstatus.request_check('SM1')", &[]);
    b.a_round();
    assert_eq!(b.twilio.count("requests"), asked, "it is left alone");
    assert!(asked <= 2, "{asked} requests");
}

#[test]
fn a_server_that_is_not_twilio_spoils_no_message() {
    let Some(mut b) = Bench::new("stuck", &[RARELY, AT_ONCE]) else { return };
    let sids: Vec<String> = (0..100).map(|i| format!("SM{i}")).collect();
    let sids: Vec<&str> = sids.iter().map(String::as_str).collect();
    b.stuck(&sids, "3 hours", DELIVERED);
    // What a wrong base URL leads to.
    b.twilio.misbehave(json!([{"action": {"status": 404, "body": "<html>nothing here</html>"}}]));
    assert_eq!(b.rows("SELECT FROM msgstatus.poll(100) WHERE error LIKE '%404%'").len(), 100);
    let requests = b.twilio.count("requests");
    assert!(requests <= 20, "{requests} requests");
    let counted: i64 = b.one("SELECT count(*) FROM messages WHERE check_count > 0");
    assert!(counted < 15, "{counted} messages lost a check");
    b.twilio.behave();
    assert_eq!(b.rows("SELECT FROM msgstatus.poll(100) WHERE changed").len() as i64, 100 - counted);
}

#[test]
fn a_list_that_leads_elsewhere_or_never_ends_is_not_followed() {
    let Some(mut b) = Bench::new("stuck", &[RARELY, AT_ONCE]) else { return };
    let sids: Vec<String> = (0..3000).map(|i| format!("SM{i:032x}")).collect();
    let sids: Vec<&str> = sids.iter().map(String::as_str).collect();
    for (action, page) in [
        (json!({"next_page_uri": "http://localhost:9/2010-04-01/Accounts/AC/Messages.json"}), "elsewhere"),
        (json!({"next_page_uri": "//localhost:9/steal"}), "elsewhere"),
        (json!({"repeat_first_page": true}), "first"),
    ] {
        b.client.batch_execute("TRUNCATE messages, delivery_log").expect("nothing");
        b.stuck(&sids, "3 hours", DELIVERED);
        b.twilio.misbehave(json!([{"kind": "list", "action": action}]));
        b.twilio.reset_stats();
        let rows = b.rows("SELECT changed FROM msgstatus.poll(300)");
        assert!(rows.iter().all(|r| r.get::<_, bool>(0)), "what is not listed is fetched");
        let lists = b.twilio.count("lists");
        assert!(lists < 20, "{lists} pages of a list that leads to the {page} page");
    }
}

#[test]
fn a_lock_on_messages_is_waited_for_so_long_and_no_longer() {
    let Some(mut b) = Bench::new("stuck", &[]) else { return };
    b.stuck(&["SM1"], "3 hours", DELIVERED);
    let name: String = b.one("SELECT current_database()::text");
    let mut other = b.server.connect(&name);
    let mut t = other.transaction().expect("a transaction");
    b.run("UPDATE messages SET status = 'queued' WHERE false", &[]);
    t.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE", &[]).expect("a lock");
    wait_until("the worker gave up waiting", || b.server.log().contains("lock timeout"));
    t.rollback().expect("an end");
    b.until_status("SM1", "delivered");
}
