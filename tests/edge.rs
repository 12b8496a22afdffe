//! The provider's edge, against a real server: every sample body gives the rows that its provider's expected.tsv says, also
//! in SQL, and they go into a delivery log and come out the same.
//!
//! Needs MSGSTATUS_TEST_URL, the connection string of a superuser on a server with the extension; without it nothing
//! is tested, and said so.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expected and stops")]

#[path = "../src/edge/bodies.rs"]
mod bodies;

use bodies::{damaged, mutated};
use postgres::{Client, NoTls};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn connect(schema: &str) -> Option<Client> {
    let Ok(url) = std::env::var("MSGSTATUS_TEST_URL") else {
        eprintln!("skipped: MSGSTATUS_TEST_URL is not set (make test sets it)");
        return None;
    };
    let mut client = Client::connect(&url, NoTls).expect("connect");
    // Statements of their own: the lock is to be held until the extension is there for others.
    for statement in
        ["SELECT pg_advisory_lock(77)", "CREATE EXTENSION IF NOT EXISTS msgstatus", "SELECT pg_advisory_unlock(77)"]
    {
        client.batch_execute(statement).expect(statement);
    }
    client
        .batch_execute(&format!(
            "SET client_min_messages = warning; SET timezone = 'UTC';
             DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}; SET search_path = {schema};
             SELECT msgstatus.create_tables('{schema}')"
        ))
        .expect("tables");
    Some(client)
}

/// What expected.tsv says of a provider's bodies, by file.
fn expected(directory: &Path) -> BTreeMap<String, Vec<Vec<String>>> {
    let mut files: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    for line in fs::read_to_string(directory.join("expected.tsv")).expect("expected.tsv").lines().skip(1) {
        let fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
        files.entry(fields[0].clone()).or_default().push(fields);
    }
    files
}

const PROVIDERS: &str = "twilio whatsapp vonage messagebird plivo sinch telnyx aws infobip smpp";

/// Does this provider send text, or else JSON?
fn sends_text(provider: &str) -> bool {
    ["twilio", "plivo", "smpp"].contains(&provider)
}

#[test]
fn every_sample_goes_into_a_log_and_comes_out_the_same() {
    let Some(mut client) = connect("edge_samples") else { return };
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/payloads");
    for provider in PROVIDERS.split(' ') {
        let directory = samples.join(provider);
        let body = if sends_text(provider) { "$1" } else { "$1::text::jsonb" };
        let parse = format!(
            "INSERT INTO delivery_log (sid, provider, status, error_code, error_message, event_at, payload)
             SELECT p.* FROM msgstatus.parse_{provider}({body}) AS p"
        );
        for (file, rows) in expected(&directory) {
            let text = fs::read_to_string(directory.join(&file)).expect("a sample");
            client.batch_execute("TRUNCATE delivery_log").expect("TRUNCATE");
            let stored = client.execute(&parse, &[&text]);
            if rows[0][1] == "error" {
                let error = stored.expect_err(&file);
                let error = error.as_db_error().expect(&file);
                assert_eq!(error.code().code(), "22023", "{provider}/{file}: {error}");
                assert!(!error.hint().unwrap_or_default().is_empty(), "{provider}/{file}: {error}");
                continue;
            }
            let rows: Vec<&Vec<String>> = rows.iter().filter(|row| row[1] != "0").collect();
            assert_eq!(stored.expect(&file), rows.len() as u64, "{provider}/{file}");
            for (n, row) in rows.iter().enumerate() {
                let matches =
                    "SELECT l.sid = $2 AND l.provider = $3 AND l.status = $4 AND coalesce(l.error_code, '') = $5
                                  AND coalesce(l.error_message, '') = $6
                                  AND l.event_at IS NOT DISTINCT FROM nullif($7, '')::timestamptz
                                  AND jsonb_typeof(l.payload) = 'object'
                                 FROM delivery_log l ORDER BY l.delivery_id OFFSET $1 LIMIT 1";
                let matches = client
                    .query_one(matches, &[&(n as i64), &row[2], &provider, &row[3], &row[4], &row[5], &row[6]])
                    .expect(&file);
                assert!(matches.get::<_, bool>(0), "{provider}/{file}: {row:?}");
            }
        }
    }
}

/// Whatever a parser accepts goes through a log: the same rows come out, folded or kept; and what it refuses it refuses with
/// a reason. Bodies are samples with something in them changed.
#[test]
fn what_is_accepted_goes_through_a_log() {
    let Some(client) = connect("edge_anything") else { return };
    let client = RefCell::new(client);
    for provider in PROVIDERS.split(' ') {
        let body = if sends_text(provider) { "$1" } else { "$1::text::jsonb" };
        let there_and_back = format!(
            "WITH parsed AS MATERIALIZED (SELECT * FROM msgstatus.parse_{provider}({body}) WITH ORDINALITY),
                  written AS (INSERT INTO delivery_log (sid, provider, status, error_code, error_message, event_at, payload)
                              SELECT sid, provider, status, error_code, error_message, event_at, payload FROM parsed ORDER BY ordinality
                              RETURNING sid, provider, status, error_code, error_message, event_at, payload)
             SELECT (SELECT count(*) FROM parsed), (SELECT count(*) FROM written),
                    EXISTS (SELECT sid, provider, status, error_code, error_message, event_at, payload FROM parsed
                            EXCEPT ALL TABLE written)"
        );
        let bodies = if sends_text(provider) { damaged(provider).boxed() } else { mutated(provider).boxed() };
        let (accepted, refused) = (RefCell::new(0u32), RefCell::new(0u32));
        let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
        let result = runner.run(&bodies, |body| {
            // What no client can send: text with NUL. What jsonb does not take is not the parser's.
            let body = body.replace(['\0'], "").replace("\\u0000", "");
            let mut client = client.borrow_mut();
            match client.query_one(&there_and_back, &[&body]) {
                Ok(row) => {
                    let (parsed, written, lost): (i64, i64, bool) = (row.get(0), row.get(1), row.get(2));
                    prop_assert!(parsed == written && !lost, "{} rows, of which {} came back", parsed, written);
                    *accepted.borrow_mut() += u32::from(parsed > 0);
                }
                Err(error) => {
                    let error = error.as_db_error().ok_or_else(|| TestCaseError::fail(error.to_string()))?;
                    let code = error.code().code().to_owned();
                    let of_json = !sends_text(provider) && code.starts_with("22") && code != "22023";
                    prop_assert!(of_json || code == "22023" && error.hint().is_some(), "{} {}", code, error.message());
                    *refused.borrow_mut() += 1;
                }
            }
            Ok(())
        });
        result.unwrap_or_else(|why| panic!("{provider}: {why}"));
        let (accepted, refused) = (accepted.into_inner(), refused.into_inner());
        assert!(accepted >= 30, "{provider}: of 300 bodies only {accepted} were accepted, {refused} refused");
        let mut client = client.borrow_mut();
        let wrong = client.query_one("SELECT count(*) FROM msgstatus.verify(messages => 'messages')", &[]);
        assert_eq!(wrong.expect("verify").get::<_, i64>(0), 0, "{provider}");
        client.batch_execute("TRUNCATE delivery_log").expect("TRUNCATE");
    }
}
