//! Bodies that nobody would send: whatever comes, no parser and no validator panics, takes long or gives what the log can't
//! hold. Each test takes a moment, or as many seconds as MSGSTATUS_FUZZ says (make fuzz).

use super::bodies::{damaged, mutated};
use super::event::Event;
use super::samples::{PROVIDERS, parse};
use super::signature;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Does something with values of this kind, and fails with the smallest that it fails for.
#[expect(clippy::panic, reason = "a test says what failed and stops")]
fn fuzz<S: Strategy>(strategy: S, check: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let seconds = std::env::var("MSGSTATUS_FUZZ").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    let (began, time) = (Instant::now(), Duration::from_secs(seconds));
    let mut cases = 0;
    loop {
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
        if let Err(why) = runner.run(&strategy, &check) {
            panic!("{why}");
        }
        cases += runner.config().cases;
        if began.elapsed() >= time {
            break;
        }
    }
    eprintln!("{cases} cases");
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

/// Parses a body: what comes of it can be stored (no NUL; an id and a status in every row), and is no larger than it should be.
fn check(provider: &str, body: &str) -> Result<(), TestCaseError> {
    let began = Instant::now();
    let events = parse(provider, body).unwrap_or_default();
    prop_assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let size: usize = events.iter().map(size).sum();
    prop_assert!(size <= 16 * body.len() + 4096, "{} bytes of {}", size, body.len());
    for event in events.into_iter().map(Event::storable) {
        let texts = [Some(&event.sid), Some(&event.status), event.error_code.as_ref(), event.error_message.as_ref()];
        prop_assert!(!event.sid.is_empty() && !event.status.is_empty());
        prop_assert!(texts.into_iter().flatten().all(|text| !text.contains('\0')));
        prop_assert!(!has_nul(&event.payload));
    }
    Ok(())
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

macro_rules! parsers {
    ($($provider:ident: $($strategy:expr),*;)*) => { $(
        #[test]
        fn $provider() {
            let provider = stringify!($provider);
            fuzz(prop_oneof![".{0,200}", damaged(provider) $(, $strategy)*], |body| check(provider, &body));
        }
    )* };
}
parsers! {
    twilio: form();
    plivo: form();
    smpp: receipt();
    whatsapp: mutated("whatsapp"), anything();
    vonage: mutated("vonage"), anything();
    messagebird: mutated("messagebird"), anything();
    sinch: mutated("sinch"), anything();
    telnyx: mutated("telnyx"), anything();
    aws: mutated("aws"), anything();
    infobip: mutated("infobip"), anything();
}

fn anything() -> impl Strategy<Value = String> {
    json().prop_map(|value| value.to_string())
}

/// Forms with the names that parsers look for.
fn form() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        prop::sample::select(vec![
            "MessageSid",
            "SmsSid",
            "MessageStatus",
            "SmsStatus",
            "AccountSid",
            "ErrorCode",
            "ErrorMessage",
            "MessageUUID",
            "Status",
            "ParentMessageUUID",
            "Body",
            "NumMedia",
            "EventType",
            "ChannelStatusMessage",
        ])
        .prop_map(str::to_owned),
        "[a-zA-Z%+]{0,6}",
    ];
    let field =
        (name, "([a-z0-9]|%[0-9A-Fa-f]{0,2}|[+;=. ]|\\PC){0,12}").prop_map(|(name, value)| format!("{name}={value}"));
    prop::collection::vec(field, 0..8).prop_map(|fields| fields.join("&"))
}

/// Delivery receipts, less regular than they come.
fn receipt() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "id:",
        "sub:",
        "dlvrd:",
        "submit date:",
        "done date:",
        "stat:",
        "err:",
        "text:",
        "Text:",
        ":",
    ]);
    let part = (name, " ?[a-zA-Z0-9:-]{0,14} ?").prop_map(|(name, value)| format!("{name}{value}"));
    prop::collection::vec(part, 0..10).prop_map(|parts| parts.concat())
}

/// URLs and things that look like some.
fn url() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,80}",
        "https?://([a-z]{1,3}(:[a-z]{0,3})?@)?([A-Za-z]{1,8}|\\[::1\\])(:[0-9]{0,5})?(/[a-z%']{0,8})?(\\?([a-z=&+%' ]|\\PC){0,20})?(#x)?",
        "https://example.com/\\?bodySHA256=[0-9a-f]{0,70}",
    ]
}

/// Without the token nobody makes a signature, whatever else it is.
#[test]
fn twilios_signatures() {
    let signature = prop_oneof![".{0,40}", "[A-Za-z0-9+/]{27}="];
    let body = prop_oneof![form(), ".{0,200}"];
    fuzz(("[a-z0-9]{1,40}", url(), body, signature), |(token, url, body, given)| {
        prop_assert!(!signature::is_twilios(&token, &url, &body, &given));
        let _ = signature::shown(&url);
        Ok(())
    });
}

#[test]
fn metas_signatures() {
    let signature = prop_oneof![".{0,80}", "sha256=[0-9a-fA-F]{0,70}", "sha256=[0-9a-f]{64}"];
    fuzz((".{1,40}", prop::collection::vec(any::<u8>(), 0..300), signature), |(secret, body, given)| {
        prop_assert!(!signature::is_metas(&secret, &body, &given));
        Ok(())
    });
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
