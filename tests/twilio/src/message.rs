//! A message, its life, and the resource that it is at a given moment.

use crate::clock::Moment;
use serde::Serialize;
use std::sync::Arc;

pub const API_VERSION: &str = "2010-04-01";

/// From this long after its creation a message has this status.
#[derive(Clone, Debug)]
pub struct Step {
    pub after_millis: i64,
    pub status: Arc<str>,
    pub error_code: Option<i64>,
    pub error_message: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
pub struct Price {
    pub amount: Arc<str>,
    /// When it becomes known: at Twilio after the final status, up to a day after.
    pub after_millis: i64,
}

/// What becomes of a message. Many messages may share one.
#[derive(Debug, Default)]
pub struct Course {
    /// In order of time.
    pub steps: Vec<Step>,
    /// When date_sent appears.
    pub sent_after_millis: Option<i64>,
    pub price: Option<Price>,
}

/// A message with its whole life, past and to come.
#[derive(Clone, Debug)]
pub struct Message {
    pub sid: Arc<str>,
    pub account: Arc<str>,
    pub service: Option<Arc<str>>,
    pub from: Arc<str>,
    pub to: Arc<str>,
    pub body: Arc<str>,
    pub direction: Arc<str>,
    pub num_segments: Arc<str>,
    pub num_media: Arc<str>,
    pub created: Moment,
    pub course: Arc<Course>,
    pub price_unit: Arc<str>,
}

/// Whether a message with this status has left Twilio, or has come in.
pub fn has_gone(status: &str) -> bool {
    matches!(status, "sent" | "delivered" | "undelivered" | "read" | "partially_delivered" | "received")
}

impl Message {
    /// The step that the message has taken last.
    fn step(&self, now: Moment) -> Option<&Step> {
        let taken = self.course.steps.partition_point(|step| self.at(step.after_millis) <= now);
        taken.checked_sub(1).and_then(|last| self.course.steps.get(last))
    }

    fn at(&self, after_millis: i64) -> Moment {
        self.created.plus_millis(after_millis)
    }

    /// What it is before its first step (Twilio's guide to status callbacks: accepted with a messaging service, else
    /// queued).
    fn first_status(&self) -> &str {
        match (&*self.direction, &self.service) {
            ("inbound", _) => "receiving",
            (_, Some(_)) => "accepted",
            (_, None) => "queued",
        }
    }

    /// When date_sent appears, and what it says then.
    pub fn sent(&self) -> Option<Moment> {
        self.course.sent_after_millis.map(|after| self.at(after))
    }

    /// date_sent, if it has appeared.
    pub fn sent_by(&self, now: Moment) -> Option<Moment> {
        self.sent().filter(|sent| *sent <= now)
    }

    pub fn resource(&self, now: Moment) -> Resource<'_> {
        let step = self.step(now);
        let status = step.map_or_else(|| self.first_status(), |step| &step.status);
        let price = self.course.price.as_ref().filter(|price| self.at(price.after_millis) <= now);
        let changes = [
            step.map(|step| self.at(step.after_millis)),
            self.sent_by(now),
            price.map(|price| self.at(price.after_millis)),
            Some(self.created),
        ];
        // With a messaging service the sender is chosen late (Twilio's OpenAPI, Message: num_segments is 0 until then,
        // and its examples of scheduled and canceled messages have no sender).
        let senderless = self.service.is_some() && matches!(status, "accepted" | "scheduled" | "canceled");
        let uri = format!("/{API_VERSION}/Accounts/{}/Messages/{}", self.account, self.sid);
        Resource {
            account_sid: &self.account,
            api_version: API_VERSION,
            body: &self.body,
            date_created: self.created.rfc2822(),
            date_sent: self.sent_by(now).map(Moment::rfc2822),
            date_updated: changes.into_iter().flatten().max().unwrap_or(self.created).rfc2822(),
            direction: &self.direction,
            error_code: step.and_then(|step| step.error_code),
            error_message: step.and_then(|step| step.error_message.as_deref()),
            from: (!senderless).then_some(&*self.from),
            messaging_service_sid: self.service.as_deref(),
            num_media: &self.num_media,
            num_segments: if senderless { "0" } else { &self.num_segments },
            price: price.map(|price| &*price.amount),
            price_unit: (!senderless || status == "canceled").then_some(&*self.price_unit),
            sid: &self.sid,
            status,
            subresource_uris: Subresources {
                media: format!("{uri}/Media.json"),
                feedback: (status != "scheduled").then(|| format!("{uri}/Feedback.json")),
            },
            to: &self.to,
            uri: format!("{uri}.json"),
        }
    }
}

/// The Message resource (Twilio's OpenAPI, api.v2010.account.message): all its fields, price and the counts as strings,
/// error_code a number.
#[derive(Serialize)]
pub struct Resource<'a> {
    account_sid: &'a str,
    api_version: &'a str,
    body: &'a str,
    date_created: String,
    date_sent: Option<String>,
    date_updated: String,
    direction: &'a str,
    error_code: Option<i64>,
    error_message: Option<&'a str>,
    from: Option<&'a str>,
    messaging_service_sid: Option<&'a str>,
    num_media: &'a str,
    num_segments: &'a str,
    price: Option<&'a str>,
    price_unit: Option<&'a str>,
    sid: &'a str,
    status: &'a str,
    subresource_uris: Subresources,
    to: &'a str,
    uri: String,
}

#[derive(Serialize)]
struct Subresources {
    media: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    feedback: Option<String>,
}

#[cfg(test)]
mod tests;
