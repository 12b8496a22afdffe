//! Times, in the formats that providers use.

use crate::twilio::{Time, time};
use chrono::{DateTime, NaiveDateTime, Utc};
use serde_json::Value;

/// Unix seconds up to here, more are milliseconds: as seconds it is the year 33658, as milliseconds it is 2001.
const MILLISECONDS_FROM: f64 = 1e12;

/// A time in Unix seconds or milliseconds (a number, or a text of one), in RFC 3339 with or without a colon in its offset,
/// or without an offset where the provider documents that as UTC: then a blank or a T stands between date and time.
pub fn read(value: Option<&Value>) -> Option<Time> {
    match value? {
        Value::Number(number) => unix(number.as_f64()?),
        Value::String(text) => read_text(text.trim()),
        _ => None,
    }
}

/// The same, of a text.
pub fn read_text(text: &str) -> Option<Time> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return unix(text.parse().ok()?);
    }
    let utc = |naive: NaiveDateTime| naive.and_utc();
    DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"))
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f %z"))
        .map(|at| at.with_timezone(&Utc))
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(utc))
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").map(utc))
        .ok()
        .and_then(sane)
}

fn unix(number: f64) -> Option<Time> {
    let seconds = if number >= MILLISECONDS_FROM { number / 1e3 } else { number };
    // Nothing was sent in 1970: 0 stands for no time.
    if !(1.0..=4e12).contains(&seconds) {
        return None;
    }
    // Milliseconds have three places, which a double of this size holds.
    sane(DateTime::from_timestamp_micros((seconds * 1e3).round() as i64 * 1000)?)
}

/// A time that PostgreSQL can hold, and that a message can have.
fn sane(at: DateTime<Utc>) -> Option<Time> {
    use chrono::Datelike;
    (1970..=9999).contains(&at.year()).then(|| time(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(value: Value) -> Option<String> {
        read(Some(&value)).map(|at| crate::twilio::utc(at).to_rfc3339())
    }

    #[test]
    fn times_are_read_in_every_format() {
        for value in [
            json!("2025-06-15T23:27:53Z"),
            json!("2025-06-15T23:27:53+00:00"),
            json!("2025-06-16T01:27:53.000+0200"),
            json!("2025-06-15 23:27:53"),
            json!("2025-06-15 23:27:53.000000"),
            json!("2025-06-15T23:27:53"),
            json!("1750030073"),
            json!("1750030073000"),
            json!(1_750_030_073),
            json!(1_750_030_073_000_i64),
            json!(" 1750030073 "),
        ] {
            assert_eq!(shown(value.clone()).as_deref(), Some("2025-06-15T23:27:53+00:00"), "{value}");
        }
        assert_eq!(shown(json!("2025-06-15T23:27:53.4567Z")).as_deref(), Some("2025-06-15T23:27:53.456700+00:00"));
        assert_eq!(shown(json!(1_750_030_073_123_i64)).as_deref(), Some("2025-06-15T23:27:53.123+00:00"));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for value in [
            json!("soon"),
            json!(""),
            json!("-1"),
            json!("0"),
            json!(0),
            json!(0.25),
            json!(-1),
            json!("99999999999999999999999999"),
            json!(1e300),
            json!("2025-13-01T00:00:00Z"),
            json!(null),
            json!([1]),
        ] {
            let at = shown(value.clone());
            assert!(at.is_none(), "{value}: {at:?}");
        }
    }
}
