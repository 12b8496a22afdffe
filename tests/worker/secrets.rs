//! Credentials: where they may and may not be seen, and where they never go.

use crate::server::{DELIVERED, Server, wait_until};
use crate::twilio::Twilio;
use postgres::Client;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

const ACCOUNT: &str = "AC00000000000000000000000000000001";
const SECRET: &str = "hush0123456789hush";

fn tables(server: &Server, twilio: &Twilio) -> Client {
    let mut client = server.connect("postgres");
    client
        .batch_execute(&format!(
            "CREATE EXTENSION msgstatus; SELECT msgstatus.create_tables();
             SELECT msgstatus.detach('messages', 'delivery_log');
             SELECT msgstatus.attach('messages', 'delivery_log', poll => 'stuck');
             INSERT INTO messages (sid, account_sid, created_at, status)
             VALUES ('SM1', '{ACCOUNT}', now() - interval '3 hours', 'sent')"
        ))
        .expect("tables");
    twilio.put_messages(&format!(
        r#"[{{"sid":"SM1","account_sid":"{ACCOUNT}","date_created":"2020-01-01T00:00:00Z","life":{DELIVERED}}}]"#
    ));
    client
}

fn error(client: &mut Client, sql: &str) -> (String, String) {
    let error = client.query(sql, &[]).expect_err(sql);
    let error = error.as_db_error().expect("an error of the server");
    (error.code().code().to_owned(), format!("{} {}", error.message(), error.hint().unwrap_or_default()))
}

#[test]
fn a_token_is_seen_nowhere() {
    let twilio = Twilio::start(&[]);
    let Some(mut server) = Server::fresh("secret_token", &[]) else { return };
    twilio.accounts(&[(ACCOUNT, SECRET)]);
    let base = format!("msgstatus.twilio_base_url={}", twilio.url);
    let account = format!("msgstatus.twilio_account_sid={ACCOUNT}");
    server.start(&[
        "log_min_messages=debug5",
        "log_statement=all",
        "log_min_error_statement=debug5",
        "log_connections=on",
        &base,
        &account,
        "msgstatus.databases=postgres",
        "msgstatus.poll_interval=1",
        "msgstatus.twilio_auth_token=wrong-hush",
    ]);
    let mut client = tables(&server, &twilio);
    wait_until("the wrong one is refused", || server.log().contains("401"));
    // The right one comes with a reload, which PostgreSQL logs.
    let path = server.directory().join("data/postgresql.conf");
    let mut text = std::fs::read_to_string(&path).expect("postgresql.conf");
    text.push_str(&format!("\nmsgstatus.twilio_auth_token = '{SECRET}'\nwork_mem = '5MB'\n"));
    std::fs::write(&path, text).expect("postgresql.conf");
    client.batch_execute("SELECT pg_reload_conf()").expect("a reload");
    wait_until("the message is right", || {
        client.query_one("SELECT status = 'delivered' FROM messages", &[]).expect("a status").get(0)
    });
    assert!(server.log().contains("\"work_mem\" changed"), "the reload is logged");
    let shown: String = client.query_one("SHOW msgstatus.twilio_auth_token", &[]).expect("SHOW").get(0);
    assert_eq!(shown, "********");
    // The search itself is logged, and is not to be found by itself.
    let everything = "SELECT count(*) FROM (
        SELECT s::text FROM pg_settings s UNION ALL SELECT a::text FROM pg_stat_activity a
        UNION ALL SELECT w::text FROM msgstatus.worker w UNION ALL SELECT r::text FROM msgstatus.poll_run r
        UNION ALL SELECT t::text FROM msgstatus.tracked t UNION ALL SELECT l::text FROM delivery_log l) AS e(text)
        WHERE text LIKE '%' || chr(104) || 'ush%'";
    assert_eq!(client.query_one(everything, &[]).expect(everything).get::<_, i64>(0), 0);
    // What a backup carries away.
    let programs = std::env::var("MSGSTATUS_PG_CONFIG").expect("MSGSTATUS_PG_CONFIG");
    for program in ["pg_dump", "pg_dumpall"] {
        let dump = std::process::Command::new(std::path::Path::new(&programs).with_file_name(program))
            .args(["-h", &server.env["PGHOST"], "-p", &server.env["PGPORT"], "-U", "postgres"])
            .output()
            .expect(program);
        assert!(dump.status.success(), "{program}: {}", String::from_utf8_lossy(&dump.stderr));
        let dump = String::from_utf8_lossy(&dump.stdout).into_owned();
        assert!(dump.contains("delivery_log") && !dump.contains("hush"), "{program}");
    }
    let log = server.log();
    assert!(!log.contains("hush"), "{:?}", log.lines().find(|l| l.contains("hush")));
    client.batch_execute("CREATE ROLE nobody; SET ROLE nobody").expect("a role");
    for name in ["twilio_auth_token", "twilio_account_sid", "credentials_file"] {
        assert_eq!(error(&mut client, &format!("SHOW msgstatus.{name}")).0, "42501", "{name}");
        assert_eq!(error(&mut client, &format!("SET msgstatus.{name} = 'x'")).0, "55P02", "{name}");
    }
    assert_eq!(error(&mut client, "SET msgstatus.twilio_base_url = 'https://example.com'").0, "42501");
    // It shows the configuration files as they are.
    assert_eq!(error(&mut client, "SELECT * FROM pg_file_settings").0, "42501");
    for call in ["poll()", "check_status('SM1')", "check_batch('b')"] {
        assert_eq!(error(&mut client, &format!("SELECT * FROM msgstatus.{call}")).0, "42501", "{call}");
    }
}

#[test]
fn a_credentials_file_is_private_or_refused() {
    let twilio = Twilio::start(&[]);
    let Some(mut server) = Server::fresh("secret_file", &[]) else { return };
    twilio.accounts(&[(ACCOUNT, SECRET)]);
    let file = server.secret_file("twilio.toml", &format!("[{ACCOUNT}]\nauth_token = '{SECRET}'\n"));
    server
        .start(&[&format!("msgstatus.credentials_file={file}"), &format!("msgstatus.twilio_base_url={}", twilio.url)]);
    let mut client = tables(&server, &twilio);
    let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("permissions");
    for open in [0o640, 0o604, 0o644, 0o660] {
        mode(open);
        let (code, text) = error(&mut client, "SELECT * FROM msgstatus.check_status('SM1')");
        assert_eq!(code, "28000");
        assert!(text.contains("0600") && !text.contains(SECRET), "{text}");
    }
    mode(0o600);
    std::fs::write(&file, format!("[{ACCOUNT}]\nauth_token = '{SECRET}\n")).expect("a file");
    let (code, text) = error(&mut client, "SELECT * FROM msgstatus.check_status('SM1')");
    assert!(code == "28000" && !text.contains(SECRET), "{text}");
    std::fs::write(&file, format!("[{ACCOUNT}]\nauth_token = '{SECRET}'\n")).expect("a file");
    assert_eq!(client.query("SELECT * FROM msgstatus.check_status('SM1')", &[]).expect("an answer").len(), 1);
    assert!(!server.log().contains(SECRET));
}

#[test]
fn they_go_to_twilio_and_to_nobody_else() {
    let (twilio, thief) = (Twilio::start(&[]), Twilio::start(&[]));
    let Some(mut server) = Server::fresh("secret_way", &[]) else { return };
    twilio.accounts(&[(ACCOUNT, SECRET)]);
    let file = server.secret_file("twilio.toml", &format!("[{ACCOUNT}]\nauth_token = '{SECRET}'\n"));
    server
        .start(&[&format!("msgstatus.credentials_file={file}"), &format!("msgstatus.twilio_base_url={}", twilio.url)]);
    let mut client = tables(&server, &twilio);
    for status in [301, 302, 303, 307, 308] {
        twilio.misbehave(json!([{"action": {"status": status, "headers": {"Location": format!("{}/x", thief.url)}}}]));
        let (code, text) = error(&mut client, "SELECT * FROM msgstatus.check_status('SM1')");
        assert_eq!(code, "08006");
        assert!(text.contains("redirect"), "{text}");
    }
    assert_eq!(thief.requests().len(), 0);
    for url in ["http://api.twilio.com", "http://127.0.0.1.example.com", "ftp://localhost", "not a URL", ""] {
        client.batch_execute(&format!("SET msgstatus.twilio_base_url = '{url}'")).expect("a setting");
        let (code, text) = error(&mut client, "SELECT * FROM msgstatus.check_status('SM1')");
        assert_eq!(code, "22023", "{url}");
        assert!(text.contains("twilio_base_url"), "{text}");
    }
}

#[test]
fn certificates_are_verified() {
    let Some(mut server) = Server::fresh("secret_tls", &[]) else { return };
    let place = server.directory().join("tls");
    std::fs::create_dir_all(&place).expect("a directory");
    let twilio = Twilio::start(&["--tls-self-signed", &place.display().to_string()]);
    let file = server.secret_file("twilio.toml", &format!("[{ACCOUNT}]\nauth_token = '{SECRET}'\n"));
    server
        .start(&[&format!("msgstatus.credentials_file={file}"), &format!("msgstatus.twilio_base_url={}", twilio.url)]);
    let mut client = server.connect("postgres");
    client
        .batch_execute(&format!(
            "CREATE EXTENSION msgstatus; SELECT msgstatus.create_tables();
             INSERT INTO messages (sid, account_sid, status) VALUES ('SM1', '{ACCOUNT}', 'sent')"
        ))
        .expect("tables");
    let (code, text) = error(&mut client, "SELECT * FROM msgstatus.check_status('SM1')");
    assert_eq!(code, "08006");
    assert!(text.contains("certificate"), "{text}");
}

#[test]
fn credentials_come_from_a_file_the_settings_or_the_environment() {
    let twilio = Twilio::start(&[]);
    let Some(mut server) = Server::fresh("secret_sources", &[]) else { return };
    twilio.account_with_key(ACCOUNT, SECRET, "SK1", "secret-of-the-key");
    let base = format!("msgstatus.twilio_base_url={}", twilio.url);
    server.environment = vec![("TWILIO_ACCOUNT_SID", ACCOUNT.to_owned()), ("TWILIO_AUTH_TOKEN", SECRET.to_owned())];
    server.start(&[&base]);
    drop(tables(&server, &twilio));
    let asked_as = |server: &Server| -> String {
        twilio.reset_stats();
        server.connect("postgres").query("SELECT * FROM msgstatus.check_status('SM1')", &[]).expect("an answer");
        twilio.requests()[0]["user"].as_str().expect("a name").to_owned()
    };
    assert_eq!(asked_as(&server), ACCOUNT);
    // The settings go before the environment, whose token is wrong now.
    server.environment[1].1 = "wrong".to_owned();
    let (account, token) =
        (format!("msgstatus.twilio_account_sid={ACCOUNT}"), format!("msgstatus.twilio_auth_token={SECRET}"));
    server.start(&[&base, &account, &token]);
    assert_eq!(asked_as(&server), ACCOUNT);
    // And the file before both.
    let file =
        server.secret_file("twilio.toml", &format!("[{ACCOUNT}]\napi_key = 'SK1'\napi_secret = 'secret-of-the-key'\n"));
    server.start(&[&base, &account, &token, &format!("msgstatus.credentials_file={file}")]);
    assert_eq!(asked_as(&server), "SK1");
    server.environment.clear();
    server.start(&[&base]);
    let (code, text) = error(&mut server.connect("postgres"), "SELECT * FROM msgstatus.check_status('SM1')");
    assert!(code == "55000" && text.contains("msgstatus.credentials_file"), "{text}");
}
