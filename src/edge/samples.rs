//! Every body of tests/data/payloads gives what its provider's expected.tsv says.

use super::event::{Event, Parsed};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

pub const PROVIDERS: [&str; 10] =
    ["twilio", "whatsapp", "vonage", "messagebird", "plivo", "sinch", "telnyx", "aws", "infobip", "smpp"];

pub fn parse(provider: &str, body: &str) -> Parsed {
    let json = |parse: fn(&Value) -> Parsed| match serde_json::from_str::<Value>(body) {
        Ok(body) => parse(&body),
        Err(why) => super::event::refuse(format!("a sample of {provider} that is no JSON: {why}")),
    };
    match provider {
        "twilio" => super::twilio::parse(body),
        "plivo" => super::plivo::parse(body),
        "smpp" => super::smpp::parse(body),
        "whatsapp" => super::whatsapp::read(body.as_bytes()),
        "vonage" => json(super::vonage::parse),
        "messagebird" => json(super::messagebird::parse),
        "sinch" => json(super::sinch::parse),
        "telnyx" => json(super::telnyx::parse),
        "aws" => json(super::aws::parse),
        _ => json(super::infobip::parse),
    }
}

/// A row as expected.tsv has it: sid, status, error_code, error_message, event_at.
fn shown(event: &Event) -> [String; 5] {
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    let at = event.at.map(|at| crate::twilio::utc(at).to_rfc3339()).unwrap_or_default();
    [event.sid.clone(), event.status.clone(), text(&event.error_code), text(&event.error_message), at]
}

/// Is this value somewhere in that one, or in what texts in it hold?
fn holds(said: &Value, wanted: &Value) -> bool {
    said == wanted
        || match said {
            Value::Array(items) => items.iter().any(|item| holds(item, wanted)),
            Value::Object(fields) => fields.values().any(|field| holds(field, wanted)),
            Value::String(text) => {
                let decoded = BASE64.decode(text.split_whitespace().collect::<String>()).unwrap_or_default();
                let inner = serde_json::from_str(text).or_else(|_| super::json::read(&decoded));
                inner.is_ok_and(|inner| inner.is_object() && holds(&inner, wanted))
            }
            _ => false,
        }
}

/// Does the payload of the first event have all that was said about it, known or not?
fn is_whole(provider: &str, body: &str, event: &Event) -> bool {
    match provider {
        "smpp" => ["id", "stat"].iter().all(|name| event.payload.get(name).is_some()),
        "twilio" | "plivo" => url::form_urlencoded::parse(body.trim().as_bytes()).all(|(name, value)| {
            let value = Value::from(value);
            event.payload.get(&*name).is_some_and(|kept| *kept == value || holds(kept, &value))
        }),
        _ => {
            let said = serde_json::from_str(body).unwrap_or_default();
            holds(&said, &event.payload) && event.payload.to_string().contains(&event.sid)
        }
    }
}

fn check(provider: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/payloads").join(provider);
    let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_else(|e| unreachable!("{name}: {e}"));
    let mut expected: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    for line in read("expected.tsv").lines().skip(1) {
        let fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
        expected.entry(fields[0].clone()).or_default().push(fields);
    }
    let there = fs::read_dir(&directory).map_or(0, Iterator::count) - 1;
    assert_eq!(expected.len(), there, "every body of {provider} is expected to be something");
    let mut wrong = Vec::new();
    for (file, rows) in expected {
        let parsed = parse(provider, &read(&file));
        match (&parsed, rows[0][1].as_str()) {
            (Err(_), "error") => {}
            (Ok(events), "0") if events.is_empty() => {}
            (Ok(events), n) if n != "error" && n != "0" => {
                let got: Vec<[String; 5]> = events.iter().map(shown).collect();
                let wanted: Vec<[String; 5]> = rows
                    .iter()
                    .map(|row| {
                        let at = super::time::read_text(&row[6]).map(|at| crate::twilio::utc(at).to_rfc3339());
                        [row[2].clone(), row[3].clone(), row[4].clone(), row[5].clone(), at.unwrap_or_default()]
                    })
                    .collect();
                if !events.first().is_some_and(|first| is_whole(provider, &read(&file), first)) {
                    wrong.push(format!("{file}: its payload lacks something: {events:?}"));
                }
                if got != wanted {
                    wrong.push(format!("{file}: {} \n   got {got:?}\nwanted {wanted:?}", rows[0][7]));
                }
            }
            _ => wrong.push(format!("{file}: {} \n   got {parsed:?}\nwanted {rows:?}", rows[0][7])),
        }
    }
    assert!(wrong.is_empty(), "{provider}:\n{}", wrong.join("\n"));
}

macro_rules! samples {
    ($($provider:ident),*) => { $(
        #[test]
        fn $provider() {
            check(stringify!($provider));
        }
    )* };
}
samples!(twilio, whatsapp, vonage, messagebird, plivo, sinch, telnyx, aws, infobip, smpp);
