//! What a worker has to live through. Each test has a server of its own, and a Twilio that lets it wait.

use crate::server::{Server, wait_until};
use crate::site::{Site, one, tables, until_delivered, worker};
use serde_json::json;
use std::time::{Duration, Instant};

fn quickly(what: &str, work: impl FnOnce()) {
    let began = Instant::now();
    work();
    assert!(began.elapsed() < Duration::from_secs(15), "{what} took {:?}", began.elapsed());
}

#[test]
fn it_waits_for_the_extension_and_lives_through_its_end() {
    let Some(site) = Site::new("survive_extension", &[]) else { return };
    let mut client = site.app();
    let state = "SELECT max(query) FROM pg_stat_activity WHERE backend_type = 'msgstatus worker'";
    wait_until("it waits", || {
        one::<Option<String>>(&mut client, state).is_some_and(|s| s.contains("CREATE EXTENSION"))
    });
    tables(&mut client);
    site.stuck(&mut client, "SM1");
    until_delivered(&mut client, "SM1");
    let pid = worker(&mut client);
    site.ask_and_wait(&mut client, "SM2");
    quickly("DROP EXTENSION", || client.batch_execute("DROP EXTENSION msgstatus CASCADE").expect("DROP EXTENSION"));
    site.twilio.behave();
    client.batch_execute("DROP TABLE messages, delivery_log").expect("DROP TABLE");
    wait_until("it waits again", || one::<Option<String>>(&mut client, state).is_some_and(|s| !s.contains("asking")));
    tables(&mut client);
    site.stuck(&mut client, "SM3");
    until_delivered(&mut client, "SM3");
    assert_eq!(worker(&mut client), pid, "it is the same process");
}

#[test]
fn databases_can_be_dropped_while_it_waits_for_twilio() {
    let Some(site) = Site::new("survive_drop", &[]) else { return };
    let mut client = site.app();
    tables(&mut client);
    site.ask_and_wait(&mut client, "SM1");
    assert!(one::<bool>(
        &mut client,
        "SELECT bool_and(xact_start IS NULL AND backend_xmin IS NULL) FROM pg_stat_activity WHERE backend_type = 'msgstatus worker'"
    ));
    drop(client);
    let mut admin = site.server.connect("postgres");
    admin.batch_execute("CREATE DATABASE other").expect("another database");
    quickly("DROP DATABASE of another", || admin.batch_execute("DROP DATABASE other").expect("DROP DATABASE"));
    quickly("CREATE DATABASE ... TEMPLATE", || {
        admin.batch_execute("CREATE DATABASE copy TEMPLATE app").expect("CREATE DATABASE");
    });
    // It is back, and asks again what it could not finish.
    let mut client = site.app();
    wait_until("Twilio is asked", || {
        site.twilio.count("concurrent") > 0
            && one::<Option<i32>>(&mut client, "SELECT max(pid) FROM msgstatus.workers()").is_some()
    });
    drop(client);
    quickly("DROP DATABASE of its own", || admin.batch_execute("DROP DATABASE app").expect("DROP DATABASE"));
    site.twilio.behave();
    admin.batch_execute("CREATE DATABASE app").expect("a database");
    let mut client = site.app();
    tables(&mut client);
    site.stuck(&mut client, "SM2");
    until_delivered(&mut client, "SM2");
}

#[test]
fn it_ends_at_once_when_told_to_and_takes_up_where_it_was() {
    let Some(site) = Site::new("survive_term", &[]) else { return };
    let mut client = site.app();
    tables(&mut client);
    site.ask_and_wait(&mut client, "SM1");
    let pid = worker(&mut client);
    let began = Instant::now();
    client.execute("SELECT pg_terminate_backend($1)", &[&pid]).expect("pg_terminate_backend");
    wait_until("it is gone", || {
        one::<i64>(&mut client, &format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}")) == 0
    });
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    site.twilio.behave();
    until_delivered(&mut client, "SM1");
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM delivery_log"), 1);
    assert_eq!(one::<i32>(&mut client, "SELECT check_count FROM messages"), 1);
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM msgstatus.poll_run WHERE message = 'interrupted'"), 1);
    // A cancelled round gives its messages back.
    site.ask_and_wait(&mut client, "SM2");
    let pid = worker(&mut client);
    client.execute("SELECT pg_cancel_backend($1)", &[&pid]).expect("pg_cancel_backend");
    site.twilio.behave();
    until_delivered(&mut client, "SM2");
    assert_eq!(worker(&mut client), pid, "it is the same process");
    // What was asked for by hand stays so, though by its schedule nothing would be asked.
    site.twilio.misbehave(json!([{"delay_ms": 30_000}]));
    site.stuck(&mut client, "SM4");
    client
        .batch_execute(
            "UPDATE messages SET created_at = now(), check_count = 20 WHERE sid = 'SM4'; SELECT msgstatus.request_check('SM4')",
        )
        .expect("request_check");
    wait_until("Twilio is asked", || site.twilio.count("concurrent") > 0);
    let pid = worker(&mut client);
    client.execute("SELECT pg_terminate_backend($1)", &[&pid]).expect("pg_terminate_backend");
    site.twilio.behave();
    until_delivered(&mut client, "SM4");
    // A person's query ends at once too.
    site.ask_and_wait(&mut client, "SM3");
    let pid = worker(&mut client);
    client.execute("SELECT pg_terminate_backend($1)", &[&pid]).expect("pg_terminate_backend");
    let began = Instant::now();
    let error = client.batch_execute("SET statement_timeout = '300ms'; SELECT * FROM msgstatus.check_status('SM3')");
    assert_eq!(error.expect_err("a timeout").code().expect("a code").code(), "57014");
    assert!(began.elapsed() < Duration::from_secs(15), "it took {:?}", began.elapsed());
}

#[test]
fn it_comes_back_after_a_crash() {
    let Some(mut site) = Site::new("survive_crash", &[]) else { return };
    let mut client = site.app();
    tables(&mut client);
    for (sid, of_the_postmaster) in [("SM1", false), ("SM2", true)] {
        site.ask_and_wait(&mut client, sid);
        let pid = if of_the_postmaster {
            let file = site.server.directory().join("data/postmaster.pid");
            let text = std::fs::read_to_string(file).expect("postmaster.pid");
            text.lines().next().and_then(|pid| pid.parse().ok()).expect("a process")
        } else {
            worker(&mut client)
        };
        // SAFETY: a signal to a process of the server that this test started.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        wait_until("the connection is gone", || client.is_closed() || client.batch_execute("").is_err());
        if of_the_postmaster {
            wait_until("the server can be started", || {
                // SAFETY: asks whether the process is there.
                unsafe { libc::kill(pid, 0) != 0 }
            });
            site.restart();
        }
        client = site.app();
        site.twilio.behave();
        until_delivered(&mut client, sid);
        assert_eq!(one::<i64>(&mut client, &format!("SELECT count(*) FROM delivery_log WHERE sid = '{sid}'")), 1);
        assert_eq!(one::<i32>(&mut client, &format!("SELECT check_count FROM messages WHERE sid = '{sid}'")), 1);
    }
}

#[test]
fn a_standby_asks_when_it_is_promoted() {
    let Some(site) = Site::new("survive_primary", &[]) else { return };
    let mut client = site.app();
    tables(&mut client);
    let settings: Vec<&str> = site.settings.iter().map(String::as_str).collect();
    let standby = Server::standby("survive_standby", &site.server, &settings);
    let mut there = standby.connect("app");
    wait_until("it has the tables", || one(&mut there, "SELECT to_regclass('messages') IS NOT NULL"));
    assert_eq!(one::<String>(&mut there, "SELECT state FROM msgstatus.worker"), "not running");
    let error = there.query("SELECT * FROM msgstatus.poll()", &[]).expect_err("a standby");
    assert_eq!(error.code().expect("a code").code(), "25006");
    assert!(there.query("SELECT * FROM msgstatus.due()", &[]).is_ok(), "one may look");
    drop(client);
    site.server.stop();
    there.batch_execute("SELECT pg_promote()").expect("pg_promote");
    site.stuck(&mut there, "SM1");
    until_delivered(&mut there, "SM1");
}

#[test]
fn every_database_has_a_worker_of_its_own_and_none_needs_a_free_connection() {
    let Some(mut site) = Site::new("survive_several", &["max_connections=8"]) else { return };
    site.server.connect("postgres").batch_execute("CREATE DATABASE \"another one\"").expect("a database");
    site.settings[0] = "msgstatus.databases=app, another one, not there, app".to_owned();
    site.restart();
    let mut clients = vec![site.app(), site.server.connect("another one")];
    for client in &mut clients {
        tables(client);
    }
    // A worker is none of the connections that are limited.
    clients[0].batch_execute("ALTER DATABASE app CONNECTION LIMIT 0").expect("a limit");
    let pid = worker(&mut clients[0]);
    clients[0].execute("SELECT pg_terminate_backend($1)", &[&pid]).expect("pg_terminate_backend");
    while let Ok(client) = site.server.try_connect("app") {
        clients.push(client);
    }
    for (client, sid) in clients.iter_mut().take(2).zip(["SM1", "SM2"]) {
        site.stuck(client, sid);
        until_delivered(client, sid);
    }
    let rows =
        clients[0].query("SELECT database, pid IS NOT NULL FROM msgstatus.worker ORDER BY 1", &[]).expect("workers");
    let rows: Vec<(String, bool)> = rows.iter().map(|r| (r.get(0), r.get(1))).collect();
    assert_eq!(rows, [("another one".to_owned(), true), ("app".to_owned(), true), ("not there".to_owned(), false)]);
}

#[test]
fn the_library_may_be_replaced_while_it_runs() {
    let Some(mut site) = Site::new("survive_library", &[]) else { return };
    let mut client = site.app();
    tables(&mut client);
    site.ask_and_wait(&mut client, "SM1");
    // As an installation does it: another file of the same name. A newer build is another file too; this one is as old,
    // and a little longer.
    let library =
        std::path::Path::new(&one::<String>(&mut client, "SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR'"))
            .join("msgstatus.so");
    let newer = library.with_extension("so.newer");
    let mut bytes = std::fs::read(&library).expect("the library");
    bytes.extend_from_slice(b"newer");
    std::fs::write(&newer, &bytes).expect("another library");
    std::fs::rename(&newer, &library).expect("an installation");
    let pid = worker(&mut client);
    site.twilio.behave();
    client.execute("SELECT pg_cancel_backend($1)", &[&pid]).expect("pg_cancel_backend");
    until_delivered(&mut client, "SM1");
    assert_eq!(worker(&mut client), pid, "it is the same process");
    // One that is started anew, by the same server and by the next.
    client.execute("SELECT pg_terminate_backend($1)", &[&pid]).expect("pg_terminate_backend");
    site.stuck(&mut client, "SM2");
    until_delivered(&mut client, "SM2");
    site.server.stop();
    site.restart();
    client = site.app();
    site.stuck(&mut client, "SM3");
    until_delivered(&mut client, "SM3");
    assert!(!site.server.log().contains("terminated by signal"), "nothing crashed");
    // Others have it loaded too.
    bytes.truncate(bytes.len() - b"newer".len());
    std::fs::write(&newer, bytes).expect("the library");
    std::fs::rename(&newer, &library).expect("as it was");
}
