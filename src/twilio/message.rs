//! The Message resource, as far as it matters here.

use super::{Time, time};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// What Twilio says about a message. Fields that it may leave out are `None`; those that are not named here, the body
/// of the message among them, are not even kept in memory.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Message {
    #[serde(deserialize_with = "text")]
    pub sid: Option<String>,
    /// A word of Twilio's vocabulary, or one that is new to us.
    #[serde(deserialize_with = "text")]
    pub status: Option<String>,
    #[serde(deserialize_with = "text")]
    pub direction: Option<String>,
    #[serde(deserialize_with = "text")]
    pub to: Option<String>,
    #[serde(deserialize_with = "text")]
    pub from: Option<String>,
    /// An integer in the API and text in callbacks; text here.
    #[serde(deserialize_with = "text")]
    pub error_code: Option<String>,
    #[serde(deserialize_with = "text")]
    pub error_message: Option<String>,
    /// What it cost, negative, such as "-0.00750"; comes later than the final status, up to a day.
    #[serde(deserialize_with = "text")]
    pub price: Option<String>,
    #[serde(deserialize_with = "text")]
    pub price_unit: Option<String>,
    /// A number, as a string.
    #[serde(deserialize_with = "text")]
    pub num_segments: Option<String>,
    #[serde(deserialize_with = "date")]
    pub date_created: Option<Time>,
    #[serde(deserialize_with = "date")]
    pub date_sent: Option<Time>,
    /// Changes with the status, and also when a price arrives or a body is redacted.
    #[serde(deserialize_with = "date")]
    pub date_updated: Option<Time>,
}

impl Message {
    /// When the message reached the status that it has, at the latest, by Twilio's clock. Twilio does not say when it
    /// was; but it was no later than the last change of the resource.
    pub fn changed_at(&self) -> Option<Time> {
        match self.status.as_deref() {
            Some("sent") => self.date_sent.or(self.date_updated),
            _ => self.date_updated,
        }
    }

    /// The price, if it is a plain decimal number.
    pub fn decimal_price(&self) -> Option<&str> {
        self.price.as_deref().filter(|p| {
            let digits = p.strip_prefix('-').unwrap_or(p);
            let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
            let number = |s: &str| (1..=30).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
            number(whole) && number(part)
        })
    }

    /// The number of segments; 0 means that it is not known yet.
    pub fn segments(&self) -> Option<i32> {
        self.num_segments.as_deref()?.parse().ok().filter(|&n| n > 0)
    }
}

/// A string, or a number as one. Anything else is nothing: what Twilio adds to its answers must not break them. PostgreSQL
/// has no NUL in texts.
fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text = match Value::deserialize(from)? {
        Value::String(text) => text.replace('\0', ""),
        Value::Number(number) => number.to_string(),
        _ => return Ok(None),
    };
    Ok((!text.is_empty()).then_some(text))
}

/// A date in the form of RFC 2822, as Twilio writes it: `Fri, 24 May 2019 17:18:28 +0000`.
fn date<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Time>, D::Error> {
    let text = text(from)?;
    Ok(text.and_then(|t| DateTime::parse_from_rfc2822(&t).ok()).map(|d| time(d.with_timezone(&Utc))))
}

/// One page of the list endpoint.
#[derive(Debug, Deserialize)]
pub struct Page {
    pub messages: Vec<Message>,
    /// Relative to the base URL; null at the end.
    #[serde(default)]
    pub next_page_uri: Option<String>,
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test says what it expected and stops")]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_twilio_writes_it() {
        let message: Message = serde_json::from_str(
            r#"{"sid":"SM1","status":"undelivered","error_code":30003,"error_message":null,"price":"-0.00750",
                "price_unit":"USD","num_segments":"2","date_sent":"Fri, 24 May 2019 17:18:28 +0000",
                "date_updated":"Fri, 24 May 2019 17:18:29 +0000","body":"hush","new":{"deep":[1]},"to":"+1\u0000555"}"#,
        )
        .expect("a message");
        assert_eq!(message.error_code.as_deref(), Some("30003"));
        assert_eq!(message.error_message, None);
        assert_eq!(message.decimal_price(), Some("-0.00750"));
        assert_eq!(message.segments(), Some(2));
        assert_eq!(message.to.as_deref(), Some("+1555"));
        assert_eq!(message.date_sent, Some(612_033_508_000_000));
        assert_eq!(message.changed_at(), Some(612_033_509_000_000));
        assert!(!format!("{message:?}").contains("hush"));
    }

    #[test]
    fn odd_fields_are_left_out_and_do_not_spoil_the_rest() {
        let message: Message = serde_json::from_str(
            r#"{"sid":"SM1","status":"sent","price":"free","num_segments":"many","date_sent":"yesterday","error_code":{}}"#,
        )
        .expect("a message");
        assert_eq!((message.decimal_price(), message.segments(), message.changed_at()), (None, None, None));
        assert_eq!(message.status.as_deref(), Some("sent"));
        for price in ["", "-", "1.", ".5", "1e5", "NaN", "1.2.3"] {
            assert_eq!(
                Message { price: Some(price.to_owned()), ..Message::default() }.decimal_price(),
                None,
                "{price}"
            );
        }
    }
}
