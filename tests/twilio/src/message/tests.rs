#![allow(clippy::unwrap_used, reason = "a test says what it expected and stops")]

use super::*;
use crate::orders::NewMessage;
use serde_json::{Value, json};

const CREATED: Moment = Moment::of_millis(1_558_718_307_000); // Fri, 24 May 2019 17:18:27

fn message(mut order: Value) -> Message {
    order["sid"] = json!("SM00000000000000000000000000000001");
    order["account_sid"] = json!("AC00000000000000000000000000000001");
    order["date_created"] = json!("2019-05-24T17:18:27Z");
    serde_json::from_value::<NewMessage>(order).unwrap().message(CREATED)
}

/// Some fields of its resource, so many milliseconds after it was created.
fn after<const N: usize>(message: &Message, millis: i64, fields: [&str; N]) -> [Value; N] {
    let resource = json!(message.resource(CREATED.plus_millis(millis)));
    fields.map(|field| resource[field].clone())
}

#[test]
fn a_message_lives() {
    let message = message(json!({ "price_after": 10 }));
    let at = |millis| after(&message, millis, ["status", "date_sent", "date_updated", "price"]);
    let second = |second: u32| json!(format!("Fri, 24 May 2019 17:18:{second} +0000"));
    assert_eq!(at(0), [json!("queued"), Value::Null, second(27), Value::Null]);
    assert_eq!(at(999), at(0));
    assert_eq!(at(1000), [json!("sent"), second(28), second(28), Value::Null]);
    assert_eq!(at(3000), [json!("delivered"), second(28), second(30), Value::Null]);
    assert_eq!(at(10_000), [json!("delivered"), second(28), second(37), json!("-0.00750")]);
    assert_eq!(after(&message, 0, ["date_created", "price_unit"]), [second(27), json!("USD")]);
}

#[test]
fn errors_belong_to_steps() {
    let message = message(json!({ "life": [
        { "after": 2, "status": "undelivered", "error_code": 30003, "error_message": "Unreachable" },
        { "after": 1, "status": "sent" },
        { "after": 3, "status": "delivered" },
    ] }));
    let at = |millis| after(&message, millis, ["status", "error_code", "error_message"]);
    assert_eq!(at(0), [json!("queued"), Value::Null, Value::Null]);
    assert_eq!(at(1500), [json!("sent"), Value::Null, Value::Null]);
    assert_eq!(at(2500), [json!("undelivered"), json!(30003), json!("Unreachable")]);
    assert_eq!(at(3500), [json!("delivered"), Value::Null, Value::Null]);
}

#[test]
fn what_failed_was_never_sent_and_costs_nothing() {
    let message = message(json!({ "life": [{ "after": 1, "status": "failed", "error_code": 30001 }] }));
    let day = 86_400_000;
    assert_eq!(after(&message, day, ["status", "date_sent", "price"]), [json!("failed"), Value::Null, Value::Null]);
}

#[test]
fn a_messaging_service_chooses_the_sender_late() {
    let service = "MG00000000000000000000000000000001";
    let message = message(json!({
        "messaging_service_sid": service,
        "life": [{ "after": 60, "status": "scheduled" }, { "after": 120, "status": "queued" }],
    }));
    let at =
        |millis| after(&message, millis, ["status", "from", "num_segments", "price_unit", "messaging_service_sid"]);
    assert_eq!(at(0), [json!("accepted"), Value::Null, json!("0"), Value::Null, json!(service)]);
    assert_eq!(at(60_000), [json!("scheduled"), Value::Null, json!("0"), Value::Null, json!(service)]);
    assert_eq!(at(120_000), [json!("queued"), json!("+15005550006"), json!("1"), json!("USD"), json!(service)]);
}

#[test]
fn date_sent_may_come_before_the_status() {
    let message = message(json!({ "sent_after": 0, "price": null, "life": [{ "after": 0, "status": "queued" }] }));
    let expected = [json!("queued"), json!("Fri, 24 May 2019 17:18:27 +0000"), Value::Null];
    assert_eq!(after(&message, 86_400_000, ["status", "date_sent", "price"]), expected);
}
