//! Credentials: where they may and may not be seen, and where they never go.

use crate::server::{DELIVERED, Server, wait_until};
use crate::signed;
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
    signed::told(client.query(sql, &[]).expect_err(sql))
}

#[test]
fn a_refusal_that_comes_after_the_new_token_counts_no_more() {
    let twilio = Twilio::start(&[]);
    let Some(mut server) = Server::fresh("secret_late", &[]) else { return };
    twilio.accounts(&[(ACCOUNT, SECRET)]);
    twilio.misbehave(json!([{"delay_ms": 3000}]));
    server.start(&[
        &format!("msgstatus.twilio_base_url={}", twilio.url),
        &format!("msgstatus.twilio_account_sid={ACCOUNT}"),
        "msgstatus.databases=postgres",
        "msgstatus.poll_interval=1",
        "msgstatus.twilio_auth_token=wrong",
    ]);
    let mut client = tables(&server, &twilio);
    wait_until("Twilio is asked", || twilio.count("concurrent") > 0);
    for statement in [&format!("ALTER SYSTEM SET msgstatus.twilio_auth_token = '{SECRET}'"), "SELECT pg_reload_conf()"]
    {
        client.batch_execute(statement).expect(statement);
    }
    // Not in fifteen minutes, as after a refusal.
    wait_until("it is asked again", || {
        client.query_one("SELECT status = 'delivered' FROM messages", &[]).expect("a message").get(0)
    });
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
        "msgstatus.whatsapp_app_secret=meta-hush",
    ]);
    let mut client = tables(&server, &twilio);
    wait_until("the wrong one is refused", || server.log().contains("Twilio answered 401"));
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
    for name in ["twilio_auth_token", "whatsapp_app_secret"] {
        let shown: String = client.query_one(&format!("SHOW msgstatus.{name}"), &[]).expect("SHOW").get(0);
        assert_eq!(shown, "********");
    }
    let url = "https://example.com/callback";
    let body = format!("AccountSid={ACCOUNT}&MessageSid=SM1&MessageStatus=read");
    let mut called_back = |token| signed::twilio(&mut client, url, &body, token);
    assert_eq!(called_back(SECRET).expect("a verdict").as_deref(), Some("applied"));
    assert_eq!(called_back("wrong-hush").expect_err("another token").0, "28000");
    assert_eq!(signed::whatsapp(&mut client, "SM1", "meta-hush").expect("rows"), 1);
    assert_eq!(signed::whatsapp(&mut client, "SM1", SECRET).expect_err("another secret").0, "28000");
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
    for name in ["twilio_auth_token", "whatsapp_app_secret", "twilio_account_sid", "credentials_file"] {
        assert_eq!(error(&mut client, &format!("SHOW msgstatus.{name}")).0, "42501", "{name}");
        assert_eq!(error(&mut client, &format!("SET msgstatus.{name} = 'x'")).0, "55P02", "{name}");
    }
    assert_eq!(error(&mut client, "SET msgstatus.twilio_base_url = 'https://example.com'").0, "42501");
    // It shows the configuration files as they are.
    assert_eq!(error(&mut client, "SELECT * FROM pg_file_settings").0, "42501");
    for call in [
        "poll()",
        "check_status('SM1')",
        "check_batch('b')",
        "twilio_callback('', '', '')",
        "whatsapp_callback('', '')",
    ] {
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
    // Where the file says nothing of Twilio, it leaves it to the settings.
    let whatsapp = server.secret_file("whatsapp.toml", "[whatsapp]\napp_secret = 'of the app'\n");
    server.start(&[&base, &account, &token, &format!("msgstatus.credentials_file={whatsapp}")]);
    assert_eq!(asked_as(&server), ACCOUNT);
    let mut client = server.connect("postgres");
    let body = format!("MessageSid=SM1&MessageStatus=sent&AccountSid={ACCOUNT}");
    signed::twilio(&mut client, "https://example.com/", &body, SECRET).expect("a verdict");
    assert_eq!(signed::whatsapp(&mut client, "SM1", "of the app").expect("rows"), 1);
    // Else the file goes before both.
    let file =
        server.secret_file("twilio.toml", &format!("[{ACCOUNT}]\napi_key = 'SK1'\napi_secret = 'secret-of-the-key'\n"));
    server.start(&[&base, &account, &token, &format!("msgstatus.credentials_file={file}")]);
    assert_eq!(asked_as(&server), "SK1");
    server.environment.clear();
    server.start(&[&base]);
    let (code, text) = error(&mut server.connect("postgres"), "SELECT * FROM msgstatus.check_status('SM1')");
    assert!(code == "55000" && text.contains("msgstatus.credentials_file"), "{text}");
}

#[test]
fn a_file_vouches_for_callbacks() {
    let [key_and_token, key, token] = [
        "AC00000000000000000000000000000002",
        "AC00000000000000000000000000000003",
        "AC00000000000000000000000000000004",
    ];
    let twilio = Twilio::start(&[]);
    let Some(mut server) = Server::fresh("secret_callbacks", &[]) else { return };
    twilio.account_with_key(key_and_token, "new", "SK2", "secret-2");
    let file = server.secret_file(
        "twilio.toml",
        &format!(
            "[{key_and_token}]\napi_key = 'SK2'\napi_secret = 'secret-2'\nauth_token = ['new', 'old']\n\
             [{key}]\napi_key = 'SK3'\napi_secret = 'secret-3'\n[{token}]\nauth_token = 'token'\n\
             [whatsapp]\napp_secret = ['one', 'two']\n"
        ),
    );
    let settings = [format!("msgstatus.credentials_file={file}"), format!("msgstatus.twilio_base_url={}", twilio.url)];
    server.environment = vec![("WHATSAPP_APP_SECRET", "of the environment".to_owned())];
    server.start(&settings.each_ref().map(String::as_str));
    let mut client = server.connect("postgres");
    client.batch_execute("CREATE EXTENSION msgstatus; SELECT msgstatus.create_tables()").expect("tables");
    client
        .execute("INSERT INTO messages (sid, account_sid, status) VALUES ('SM1', $1, 'sent')", &[&key_and_token])
        .expect("a message");

    let mut called_back = |account: &str, secret| {
        let body = format!("MessageSid=SM1&MessageStatus=sent&AccountSid={account}");
        signed::twilio(&mut client, "https://example.com/callback", &body, secret)
    };
    for (account, secret) in [(key_and_token, "new"), (key_and_token, "old"), (token, "token")] {
        assert_eq!(called_back(account, secret).expect(account).as_deref(), Some("duplicate"), "{account}");
    }
    for (account, secret, expected, why) in [
        (key_and_token, "secret-2", "28000", "signature"),
        (key_and_token, "token", "28000", "signature"),
        (key_and_token, "", "28000", "signature"),
        // That is no fault of the request's.
        (key, "secret-3", "55000", "no auth token"),
        ("AC00000000000000000000000000000009", "token", "28000", "no auth token"),
        ("", "token", "28000", "does not name"),
    ] {
        let (code, text) = called_back(account, secret).expect_err(account);
        assert!(code == expected && text.contains(why), "{account}: {code} {text}");
        assert!(!text.contains("secret-") && !text.contains("SK"), "{text}");
    }
    for secret in ["one", "two"] {
        assert_eq!(signed::whatsapp(&mut client, "SM1", secret).expect(secret), 1);
    }
    for secret in ["token", "", "of the environment"] {
        assert_eq!(signed::whatsapp(&mut client, "SM1", secret).expect_err(secret).0, "28000");
    }
    let rows: i64 = client.query_one("SELECT count(*) FROM delivery_log", &[]).expect("rows").get(0);
    assert_eq!(rows, 5, "what is not vouched for is not stored");
    // And it is the key that Twilio is asked with.
    twilio.put_messages(&format!(
        r#"[{{"sid":"SM1","account_sid":"{key_and_token}","date_created":"2020-01-01T00:00:00Z","life":{DELIVERED}}}]"#
    ));
    client.query("SELECT * FROM msgstatus.check_status('SM1')", &[]).expect("an answer");
    assert_eq!(twilio.requests()[0]["user"].as_str(), Some("SK2"));

    // A file that says nothing of WhatsApp leaves it to the environment. One that is open vouches for nothing.
    std::fs::write(&file, format!("[{token}]\nauth_token = 'token'\n")).expect("a file");
    assert_eq!(signed::whatsapp(&mut client, "SM1", "of the environment").expect("rows"), 1);
    // The only account speaks for its subaccounts, and for requests that name none.
    let alone = signed::twilio(&mut client, "https://example.com", "MessageSid=SM1&MessageStatus=sent", "token");
    assert_eq!(alone.expect("a verdict").as_deref(), Some("duplicate"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("permissions");
    let (code, text) = signed::whatsapp(&mut client, "SM1", "of the environment").expect_err("an open file");
    assert!(code == "55000" && text.contains("0600") && text.contains(&file), "{text}");
    // Where the file is, only those are told who may see the setting.
    client
        .batch_execute(
            "CREATE ROLE hook; GRANT USAGE ON SCHEMA msgstatus TO hook;
             GRANT EXECUTE ON FUNCTION msgstatus.whatsapp_callback(bytea, text, regclass) TO hook; SET ROLE hook",
        )
        .expect("a role");
    let (code, text) = signed::whatsapp(&mut client, "SM1", "of the environment").expect_err("an open file");
    assert!(code == "55000" && text.contains("0600") && !text.contains(&file), "{text}");
    client.batch_execute("RESET ROLE; GRANT pg_read_all_settings TO hook; SET ROLE hook").expect("a right");
    let (_, text) = signed::whatsapp(&mut client, "SM1", "of the environment").expect_err("an open file");
    assert!(text.contains(&file), "{text}");
    assert!(!server.log().contains("secret-"));
}

/// A session remembers what it read of the file, out of reach of core dumps, for as long as the file stays as it is.
#[test]
fn a_file_that_changes_is_read_again() {
    let Some(mut server) = Server::fresh("secret_change", &[]) else { return };
    let with = |token: &str| format!("[{ACCOUNT}]\nauth_token = '{token}'\n");
    let file = server.secret_file("twilio.toml", &with("first"));
    server.start(&[&format!("msgstatus.credentials_file={file}")]);
    let mut client = server.connect("postgres");
    client
        .batch_execute(
            "CREATE EXTENSION msgstatus; SELECT msgstatus.create_tables(); INSERT INTO messages (sid) VALUES ('SM1')",
        )
        .expect("tables");
    let session: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a number").get(0);
    let undumped = || {
        let maps = std::fs::read_to_string(format!("/proc/{session}/smaps")).expect("its memory");
        maps.lines().filter(|line| line.starts_with("VmFlags:") && line.contains(" dd")).count()
    };
    let body = format!("AccountSid={ACCOUNT}&MessageSid=SM1&MessageStatus=sent");
    let mut called_back =
        |token| signed::twilio(&mut client, "https://example.com", &body, token).map_err(|told| told.0);
    let before = undumped();
    wait_until("the file is remembered", || {
        called_back("first").expect("a verdict");
        undumped() > before
    });
    assert_eq!(called_back("other").expect_err("another token"), "28000");
    // As long as the first, and written into the same file.
    std::fs::write(&file, with("other")).expect("a file");
    // What was written just now may be written again: it is remembered only when it is some seconds old. Or never.
    let written = std::fs::File::options().append(true).open(&file).expect("a file");
    written.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(3600)).expect("a time");
    assert_eq!(called_back("first").expect_err("the old token"), "28000");
    called_back("other").expect("a verdict");
    assert_eq!(undumped(), before, "the old one is forgotten");
}
