//! Settings change without a restart.

use crate::server::{SENT, wait_until};
use crate::site::{ACCOUNT, Site, one, tables, until_delivered, worker};
use crate::twilio::Twilio;
use postgres::Client;
use serde_json::json;

/// Changes a setting as a DBA does.
fn set(client: &mut Client, setting: &str) {
    client.batch_execute(&format!("ALTER SYSTEM SET {setting}")).expect("ALTER SYSTEM");
    client.batch_execute("SELECT pg_reload_conf()").expect("a reload");
}

#[test]
fn settings_change_without_a_restart() {
    let Some(site) = Site::new("survive_settings", &["msgstatus.max_checks=7"]) else { return };
    let mut client = site.app();
    tables(&mut client);
    let pid = worker(&mut client);
    // Read-only: it waits, and says so.
    let state = "SELECT state FROM msgstatus.worker";
    set(&mut client, "default_transaction_read_only = on");
    wait_until("it waits", || one::<String>(&mut client, state).contains("read-only"));
    client.batch_execute("SET default_transaction_read_only = off").expect("a setting");
    site.stuck(&mut client, "SM1");
    set(&mut client, "default_transaction_read_only = off");
    until_delivered(&mut client, "SM1");
    // Timeouts for people do not strike it, and neither does the lack of connections.
    client.batch_execute("SET statement_timeout = 0").expect("a setting");
    set(&mut client, "statement_timeout = '1ms'");
    set(&mut client, "idle_in_transaction_session_timeout = '1ms'");
    site.stuck(&mut client, "SM2");
    until_delivered(&mut client, "SM2");
    // Another Twilio, another account.
    let other = Twilio::start(&[]);
    other.accounts(&[("AC00000000000000000000000000000009", "hush")]);
    set(&mut client, &format!("msgstatus.twilio_base_url = '{}'", other.url));
    site.stuck(&mut client, "SM3");
    wait_until("the other is asked", || other.count("requests") > 0);
    // Other credentials: those of the settings, where there is no file.
    set(&mut client, "msgstatus.credentials_file = ''");
    wait_until("there are none", || site.server.log().contains("there are no credentials for Twilio"));
    set(&mut client, &format!("msgstatus.twilio_base_url = '{}'", site.twilio.url));
    set(&mut client, &format!("msgstatus.twilio_account_sid = '{ACCOUNT}'"));
    set(&mut client, "msgstatus.twilio_auth_token = 'hush'");
    until_delivered(&mut client, "SM3");
    assert_eq!(worker(&mut client), pid, "it is the same process");
    // Somebody else's rights: that needs a new connection.
    client.batch_execute("CREATE ROLE asker LOGIN").expect("a role");
    set(&mut client, "msgstatus.role = 'asker'");
    wait_until("it is another role's", || {
        one(
            &mut client,
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'msgstatus worker' AND usename = 'asker')",
        )
    });
    site.stuck(&mut client, "SM4");
    until_delivered(&mut client, "SM4");
}

/// Messages that were asked about in rounds that began after a time.
fn checked_since(client: &mut Client, since: &str) -> Option<i64> {
    one(
        client,
        &format!("SELECT max(checked)::bigint FROM msgstatus.poll_run WHERE started_at > '{since}' AND checked > 0"),
    )
}

fn now(client: &mut Client) -> String {
    one(client, "SELECT clock_timestamp()::text")
}

#[test]
fn every_number_counts_from_the_next_round_on() {
    let Some(site) = Site::new("settings_numbers", &["msgstatus.poll_interval=3600"]) else { return };
    let mut client = site.app();
    tables(&mut client);
    let pid = worker(&mut client);
    let round = "SELECT EXISTS (SELECT FROM msgstatus.poll_run WHERE finished_at IS NOT NULL)";
    wait_until("the first round is over", || one(&mut client, round));

    // poll_interval: the round that would come in an hour comes now.
    site.stuck(&mut client, "SM1");
    set(&mut client, "msgstatus.poll_interval = 1");
    until_delivered(&mut client, "SM1");

    // poll_batch: two a round.
    set(&mut client, "msgstatus.poll_batch = 2");
    let since = now(&mut client);
    for n in 0..5 {
        site.stuck(&mut client, &format!("SMbatch{n}"));
    }
    for n in 0..5 {
        until_delivered(&mut client, &format!("SMbatch{n}"));
    }
    let most = checked_since(&mut client, &since);
    assert!(most.is_some_and(|most| most <= 2), "{most:?} in a round of two");
    set(&mut client, "msgstatus.poll_batch = 500");

    // poll_concurrency and poll_delay: eight messages, one after the other and then not; together and then apart.
    for (name, concurrency, delay) in [("one", 1, 0), ("three", 3, 0), ("apart", 8, 300)] {
        set(&mut client, "msgstatus.poll_interval = 3600");
        set(&mut client, &format!("msgstatus.poll_concurrency = {concurrency}"));
        set(&mut client, &format!("msgstatus.poll_delay = {delay}"));
        for n in 0..8 {
            site.stuck(&mut client, &format!("SM{name}{n}"));
        }
        site.twilio.misbehave(json!([{"kind": "list", "action": {"status": 400}}, {"delay_ms": 200}]));
        site.twilio.reset_stats();
        set(&mut client, "msgstatus.poll_interval = 1");
        for n in 0..8 {
            until_delivered(&mut client, &format!("SM{name}{n}"));
        }
        let together = site.twilio.count("max_concurrent");
        match name {
            "apart" => {
                let mut starts: Vec<f64> =
                    site.twilio.requests().iter().filter_map(|r| r["started_ms"].as_f64()).collect();
                starts.sort_by(f64::total_cmp);
                let mut gaps: Vec<f64> = starts.windows(2).map(|w| w[1] - w[0]).collect();
                gaps.sort_by(f64::total_cmp);
                // Two may be brought a little closer together.
                assert!(gaps[gaps.len() / 2] > 250.0, "{gaps:?} ms between requests");
            }
            _ => assert_eq!(together, concurrency, "requests at once"),
        }
    }
    set(&mut client, "msgstatus.poll_delay = 0");

    // http_timeout.
    site.twilio.misbehave(json!([{"action": {"hang": true}}]));
    set(&mut client, "msgstatus.http_timeout = '200ms'");
    site.stuck(&mut client, "SMslow");
    let slow = "SELECT EXISTS (SELECT FROM msgstatus.poll_run WHERE message LIKE '%msgstatus.http_timeout%')";
    wait_until("it takes too long", || one(&mut client, slow));
    site.twilio.behave();
    set(&mut client, "msgstatus.http_timeout = '60s'");
    client.batch_execute("UPDATE messages SET next_check_at = NULL, last_checked_at = NULL").expect("due again");
    until_delivered(&mut client, "SMslow");

    // max_checks, and give_up_after: three hours old, and asked about once since it was an hour old.
    let once = "UPDATE messages SET check_count = 1, last_checked_at = now() - interval '90 min' WHERE NOT final";
    for (sid, strict, lenient) in [
        ("SMoften", "msgstatus.max_checks = 1", "msgstatus.max_checks = 20"),
        ("SMold", "msgstatus.give_up_after = '1h'", "msgstatus.give_up_after = '72h'"),
    ] {
        set(&mut client, "msgstatus.poll_interval = 3600");
        set(&mut client, strict);
        let since = now(&mut client);
        let rounds = |n| {
            format!(
                "SELECT count(*) >= {n} FROM msgstatus.poll_run WHERE started_at > '{since}' AND finished_at IS NOT NULL"
            )
        };
        site.stuck(&mut client, sid);
        client.batch_execute(once).expect("a check");
        site.twilio.reset_stats();
        set(&mut client, "msgstatus.poll_interval = 1");
        wait_until("two rounds are over", || one(&mut client, &rounds(2)));
        assert_eq!(site.twilio.count("requests"), 0, "{strict}");
        set(&mut client, lenient);
        until_delivered(&mut client, sid);
    }

    // unknown_after.
    site.stuck_with(&mut client, "SMsent", SENT);
    wait_until("it was asked about", || one(&mut client, "SELECT check_count > 0 FROM messages WHERE sid = 'SMsent'"));
    let unknown = "SELECT status = 'delivery_unknown' FROM messages WHERE sid = 'SMsent'";
    assert!(!one::<bool>(&mut client, unknown));
    set(&mut client, "msgstatus.unknown_after = '1h'");
    wait_until("it is unknown", || one(&mut client, unknown));

    // auth_retry.
    site.twilio.misbehave(json!([{"action": {"status": 401}}]));
    site.stuck(&mut client, "SMrefused");
    for (retry, said) in [("2h", "every 7200 seconds"), ("1s", "every 1 seconds")] {
        set(&mut client, &format!("msgstatus.auth_retry = '{retry}'"));
        wait_until("it rests", || site.server.log().contains(said));
    }
    site.twilio.behave();
    until_delivered(&mut client, "SMrefused");
    assert_eq!(worker(&mut client), pid, "it is the same process");
}
