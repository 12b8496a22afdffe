//! Bodies that nobody would send: whatever comes, no parser and no validator panics, takes long or gives what the log can't
//! hold. Longer runs: PROPTEST_CASES=1000000 cargo test --lib edge::fuzz.

use super::event::Event;
use super::samples::{PROVIDERS, parse};
use super::signature;
use proptest::prelude::*;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// The samples of a provider.
fn seeds(provider: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/payloads").join(provider);
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    files
        .filter(|file| !file.file_name().to_string_lossy().ends_with(".tsv"))
        .filter_map(|file| fs::read(file.path()).ok())
        .collect()
}

/// A sample with some of its bytes changed, left out or written twice.
fn damaged(provider: &'static str) -> impl Strategy<Value = String> {
    let seeds = seeds(provider);
    let damage = prop::collection::vec((any::<prop::sample::Index>(), 0..4u8, any::<u8>()), 0..8);
    (prop::sample::select(seeds), damage).prop_map(|(mut body, damage)| {
        for (place, kind, byte) in damage {
            if body.is_empty() {
                break;
            }
            let at = place.index(body.len());
            match kind {
                0 => body[at] = byte,
                1 => drop(body.remove(at)),
                2 => body.insert(at, byte),
                _ => {
                    let part: Vec<u8> = body[at..].iter().copied().take(64).collect();
                    body.splice(at..at, part);
                }
            }
        }
        String::from_utf8_lossy(&body).into_owned()
    })
}

/// JSON of any shape, with the names that parsers look for.
fn json() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "id",
        "status",
        "entry",
        "changes",
        "value",
        "statuses",
        "message",
        "data",
        "errors",
        "code",
        "title",
        "error",
        "timestamp",
        "messageId",
        "message_uuid",
        "batch_id",
        "payload",
        "event",
        "event_type",
        "to",
        "results",
        "Type",
        "Message",
        "detail",
        "source",
        "eventType",
        "type",
        "recipients",
        "other",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        prop::sample::select(vec!["message.sent", "Notification", "sms.outbound", "aws.sms-voice", "1750030073"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().map(|(n, v)| (n.to_owned(), v)).collect())),
        ]
    })
}

/// What PostgreSQL can store: no NUL, and an id and a status in every row.
fn is_storable(event: Event) -> bool {
    let event = event.storable();
    let texts = [Some(&event.sid), Some(&event.status), event.error_code.as_ref(), event.error_message.as_ref()];
    !event.sid.is_empty()
        && !event.status.is_empty()
        && texts.into_iter().flatten().all(|text| !text.contains('\0'))
        && !has_nul(&event.payload)
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

macro_rules! survives {
    ($($provider:ident),*) => { $(
        mod $provider {
            use super::*;
            proptest! {
                #[test]
                fn damaged_samples(body in damaged(stringify!($provider))) {
                    for event in parse(stringify!($provider), &body).unwrap_or_default() {
                        prop_assert!(is_storable(event));
                    }
                }

                #[test]
                fn anything(body in prop_oneof![".{0,200}", json().prop_map(|value| value.to_string())]) {
                    for event in parse(stringify!($provider), &body).unwrap_or_default() {
                        prop_assert!(is_storable(event));
                    }
                }
            }
        }
    )* };
}
survives!(twilio, whatsapp, vonage, messagebird, plivo, sinch, telnyx, aws, infobip, smpp);

proptest! {
    #[test]
    fn signatures_of_anything(token in ".{0,40}", url in ".{0,80}", body in ".{0,200}", given in ".{0,40}") {
        prop_assert!(!signature::is_twilios(&token, &url, &body, &given));
        prop_assert!(!signature::is_metas(&token, body.as_bytes(), &given));
    }

    #[test]
    fn signatures_of_urls(
        url in "https?://([a-z]{1,3}(:[a-z]{0,3})?@)?([a-z]{1,8}|\\[::1\\])(:[0-9]{0,5})?(/[a-z%']{0,8})?(\\?[a-z=&+%' ]{0,20})?(#x)?",
    ) {
        prop_assert!(!signature::is_twilios("12345", &url, "a=b", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="));
    }
}

/// Bodies of a megabyte that are made of one thing over and over.
fn large() -> Vec<String> {
    let many = |part: &str| part.repeat((1 << 20) / part.len());
    let mut all: Vec<String> =
        ["a=b&", "&", "=", "MessageSid=SM1&", "%", "+", ":", "id:", "stat: ", "submit date:", "text:", "[", "{\"a\":"]
            .map(many)
            .to_vec();
    let half = "x".repeat(1 << 19);
    // The longest lists of recipients that are read, and one that is not.
    for recipients in [999, 1 << 18] {
        let recipients =
            |one: &str| format!("[{}{one}]", format!("{one},").repeat(recipients.min((1 << 20) / one.len())));
        let (named, told) = (recipients("1"), recipients("{\"status\":\"delivered\"}"));
        all.extend([
            format!("{{\"batch_id\":\"1\",\"statuses\":[{{\"status\":\"Failed\",\"recipients\":{named},\"x\":\"{half}\"}}]}}"),
            format!("{{\"batch_id\":\"1\",\"statuses\":[{{\"status\":\"{half}\",\"recipients\":{named}}}]}}"),
            format!("{{\"batch_id\":\"{half}\",\"statuses\":{told}}}"),
            format!(
                "{{\"data\":{{\"x\":\"{half}\",\"event_type\":\"message.sent\",\"payload\":{{\"id\":\"1\",\"to\":{told}}}}}}}"
            ),
            format!("{{\"data\":{{\"event_type\":\"message.sent\",\"payload\":{{\"id\":\"{half}\",\"to\":{told}}}}}}}"),
        ]);
    }
    all.extend([
        format!("[{}1]", many("1,")),
        format!("{{\"entry\":[{}{{}}]}}", many("{\"changes\":[{\"value\":{\"statuses\":[{}]}}]},")),
        format!(
            "{{\"entry\":[{{\"changes\":[{{\"value\":{{\"statuses\":[{}{{}}]}}}}]}}]}}",
            many("{\"id\":\"1\",\"status\":\"sent\"},")
        ),
        format!("{{\"results\":[{}{{}}]}}", many("{\"messageId\":\"1\",\"status\":{\"groupName\":\"PENDING\"}},")),
        format!("{{\"message\":{{\"data\":\"{}\"}}}}", many("AAAA")),
        format!("{{\"id\":\"{}\",\"status\":\"x\"}}", many("x")),
    ]);
    all
}

#[test]
fn large_bodies_take_no_more_than_their_size() {
    for body in large() {
        let start: String = body.chars().take(40).collect();
        for provider in PROVIDERS {
            let began = Instant::now();
            let events = parse(provider, &body).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(5), "{provider}: {:?} for {start}", began.elapsed());
            let size: usize = events.iter().map(size).sum();
            assert!(size <= 8 * body.len(), "{provider}: {size} bytes of {} for {start}", body.len());
        }
        let began = Instant::now();
        let url = "https://example.com/?a=b";
        assert!(!signature::is_twilios("12345", url, &body, "RSOYDt4T1cUTdK1PDd93/VVr8B8="));
        assert!(!signature::is_twilios("12345", &format!("{url}&{body}"), "a=b", "RSOYDt4T1cUTdK1PDd93/VVr8B8="));
        assert!(!signature::is_metas("12345", body.as_bytes(), &format!("sha256={}", "00".repeat(32))));
        assert!(began.elapsed() < Duration::from_secs(5), "signatures: {:?} for {start}", began.elapsed());
    }
}

/// What a row takes, about.
fn size(event: &Event) -> usize {
    let texts = [Some(&event.sid), Some(&event.status), event.error_code.as_ref(), event.error_message.as_ref()];
    texts.into_iter().flatten().map(String::len).sum::<usize>() + event.payload.to_string().len()
}
