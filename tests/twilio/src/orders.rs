//! Messages as a test orders them, with what it leaves out.

use crate::clock::Moment;
use crate::message::{Course, Message, Price, Step, has_gone};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};
use std::sync::Arc;

/// The length of a SID.
const SID: usize = 34;

/// How long after its last step a message has its price, if nobody says otherwise.
const PRICE_AFTER_MILLIS: i64 = 60_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewStep {
    after: f64,
    status: Arc<str>,
    error_code: Option<i64>,
    error_message: Option<Arc<str>>,
}

impl NewStep {
    fn step(self) -> Step {
        Step {
            after_millis: millis(self.after),
            status: self.status,
            error_code: self.error_code,
            error_message: self.error_message,
        }
    }
}

/// Text, or a number that stands for it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Text(Arc<str>),
    Number(u64),
}

impl Text {
    fn or(text: Option<Text>, default: &str) -> Arc<str> {
        match text {
            None => Arc::from(default),
            Some(Text::Text(text)) => text,
            Some(Text::Number(number)) => Arc::from(number.to_string()),
        }
    }
}

/// Distinguishes null from what is not there.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Arc<str>>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

/// What of its course a test gives.
struct NewCourse {
    life: Option<Vec<NewStep>>,
    inbound: bool,
    price: Option<Option<Arc<str>>>,
    price_after: Option<f64>,
    sent_after: Option<f64>,
}

impl NewCourse {
    fn course(self) -> Arc<Course> {
        let step = |after_millis, status: &str| Step {
            after_millis,
            status: Arc::from(status),
            error_code: None,
            error_message: None,
        };
        let mut steps: Vec<Step> = match self.life {
            Some(life) => life.into_iter().map(NewStep::step).collect(),
            None if self.inbound => vec![step(0, "received")],
            None => vec![step(0, "queued"), step(1000, "sent"), step(3000, "delivered")],
        };
        steps.sort_by_key(|step| step.after_millis);
        let gone = steps.iter().find(|step| has_gone(&step.status)).map(|step| step.after_millis);
        let last = steps.last();
        // What failed is not charged (Twilio's support, article 223181728).
        let charged = gone.is_some() && last.is_some_and(|step| &*step.status != "failed");
        let amount = self.price.unwrap_or_else(|| charged.then(|| Arc::from("-0.00750")));
        let end = last.map_or(0, |step| step.after_millis).saturating_add(PRICE_AFTER_MILLIS);
        let after_millis = self.price_after.map_or(end, millis);
        Arc::new(Course {
            sent_after_millis: self.sent_after.map(millis).or(gone),
            price: amount.map(|amount| Price { amount, after_millis }),
            steps,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    sid: Arc<str>,
    account_sid: Arc<str>,
    from: Option<Arc<str>>,
    to: Option<Arc<str>>,
    body: Option<Arc<str>>,
    direction: Option<Arc<str>>,
    messaging_service_sid: Option<Arc<str>>,
    date_created: Option<DateTime<Utc>>,
    num_segments: Option<Text>,
    num_media: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    price: Option<Option<Arc<str>>>,
    price_unit: Option<Arc<str>>,
    price_after: Option<f64>,
    sent_after: Option<f64>,
    life: Option<Vec<NewStep>>,
}

impl NewMessage {
    pub fn message(self, now: Moment) -> Message {
        let direction = self.direction.unwrap_or_else(|| Arc::from("outbound-api"));
        let course = NewCourse {
            life: self.life,
            inbound: &*direction == "inbound",
            price: self.price,
            price_after: self.price_after,
            sent_after: self.sent_after,
        };
        Message {
            sid: self.sid,
            account: self.account_sid,
            service: self.messaging_service_sid,
            from: self.from.unwrap_or_else(|| Arc::from("+15005550006")),
            to: self.to.unwrap_or_else(|| Arc::from("+15005550010")),
            body: self.body.unwrap_or_else(|| Arc::from("simulated")),
            direction,
            num_segments: Text::or(self.num_segments, "1"),
            num_media: Text::or(self.num_media, "0"),
            price_unit: self.price_unit.unwrap_or_else(|| Arc::from("USD")),
            created: self.date_created.map_or(now, Moment::from),
            course: course.course(),
        }
    }
}

/// Many messages of one kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    account_sid: Arc<str>,
    count: u64,
    sid_prefix: String,
    /// The number in the first SID.
    #[serde(default)]
    start: u64,
    /// When the first and the last are created; the others evenly between.
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    sender: Option<Arc<str>>,
    recipient: Option<Arc<str>>,
    messaging_service_sid: Option<Arc<str>>,
    #[serde(default, deserialize_with = "given")]
    price: Option<Option<Arc<str>>>,
    price_unit: Option<Arc<str>>,
    price_after: Option<f64>,
    life: Option<Vec<NewStep>>,
}

impl Generate {
    /// The messages, or why they can't be.
    pub fn messages(self) -> Result<Vec<Message>, String> {
        let last = self.start.saturating_add(self.count.saturating_sub(1));
        let digits = SID.saturating_sub(self.sid_prefix.len());
        if format!("{last:x}").len() > digits {
            return Err(format!("the numbers of {} messages do not fit behind {}", self.count, self.sid_prefix));
        }
        let course = NewCourse {
            life: self.life,
            inbound: false,
            price: self.price,
            price_after: self.price_after,
            sent_after: None,
        };
        let (first, span) = (Moment::from(self.from), (self.to - self.from).num_milliseconds());
        let nobody: Arc<str> = Arc::from("");
        let model = Message {
            sid: nobody.clone(),
            account: self.account_sid,
            service: self.messaging_service_sid,
            from: self.sender.unwrap_or_else(|| Arc::from("+15005550006")),
            to: nobody,
            body: Arc::from("simulated"),
            direction: Arc::from("outbound-api"),
            num_segments: Arc::from("1"),
            num_media: Arc::from("0"),
            price_unit: self.price_unit.unwrap_or_else(|| Arc::from("USD")),
            created: first,
            course: course.course(),
        };
        let gaps = i128::from(self.count.saturating_sub(1).max(1));
        let message = |number: u64| {
            let into = i128::from(span) * i128::from(number) / gaps;
            let serial = self.start + number;
            Message {
                sid: Arc::from(format!("{}{serial:0digits$x}", self.sid_prefix)),
                to: match &self.recipient {
                    Some(recipient) => recipient.clone(),
                    None => Arc::from(format!("+1555{:07}", serial % 10_000_000)),
                },
                created: first.plus_millis(i64::try_from(into).unwrap_or(span)),
                ..model.clone()
            }
        };
        Ok((0..self.count).map(message).collect())
    }
}
