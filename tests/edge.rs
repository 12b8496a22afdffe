//! The provider's edge, against a real server: every sample body gives the rows that its provider's expected.tsv says, also
//! in SQL, and they go into a delivery log and come out the same.
//!
//! Needs MSGSTATUS_TEST_URL, the connection string of a superuser on a server with the extension; without it nothing
//! is tested, and said so.

#![allow(clippy::expect_used, reason = "a test says what it expected and stops")]

use postgres::{Client, NoTls};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn connect(schema: &str) -> Option<Client> {
    let Ok(url) = std::env::var("MSGSTATUS_TEST_URL") else {
        eprintln!("skipped: MSGSTATUS_TEST_URL is not set (make test sets it)");
        return None;
    };
    let mut client = Client::connect(&url, NoTls).expect("connect");
    client
        .batch_execute(&format!(
            "SET client_min_messages = warning; SET timezone = 'UTC';
             SELECT pg_advisory_lock(77); CREATE EXTENSION IF NOT EXISTS msgstatus; SELECT pg_advisory_unlock(77);
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

#[test]
fn every_sample_goes_into_a_log_and_comes_out_the_same() {
    let Some(mut client) = connect("edge_samples") else { return };
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/payloads");
    let providers = "twilio whatsapp vonage messagebird plivo sinch telnyx aws infobip smpp";
    for provider in providers.split(' ') {
        let directory = samples.join(provider);
        let body = if ["twilio", "plivo", "smpp"].contains(&provider) { "$1" } else { "$1::text::jsonb" };
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
