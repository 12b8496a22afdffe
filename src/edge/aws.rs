//! AWS End User Messaging: events of messages, also as SNS and EventBridge wrap them, or one the other.

use super::event::{Event, Parsed, error, object, refuse, text};
use super::{json, time};
use serde_json::Value;

/// Reads an event. What SNS says about subscriptions, inbound messages, calls and other events of the service give nothing.
pub fn parse(body: &Value) -> Parsed {
    let fields = object(body, "AWS")?;
    if let Some(kind) = text(fields.get("Type")) {
        return match (kind.as_str(), fields.get("Message")) {
            ("SubscriptionConfirmation" | "UnsubscribeConfirmation", _) => Ok(Vec::new()),
            ("Notification", Some(Value::String(message))) => match json::read(message.as_bytes()) {
                // One within another would be nobody's.
                Ok(inner) if inner.is_object() && inner.get("Type").is_none() => parse(&inner),
                _ => refuse("its Message holds no event"),
            },
            _ => refuse("it is no notification of SNS"),
        };
    }
    if let Some(detail) = fields.get("detail") {
        return match text(fields.get("source")).as_deref() {
            // Not all that it says is an event of its own.
            Some("aws.sms-voice") if detail.get("eventType").is_none() => Ok(Vec::new()),
            Some("aws.sms-voice") => of_service(detail),
            _ => refuse("its source is not aws.sms-voice"),
        };
    }
    of_service(body)
}

/// Reads what the service itself says.
fn of_service(said: &Value) -> Parsed {
    if said.get("inboundMessageId").is_some() {
        return Ok(Vec::new());
    }
    match (text(said.get("eventType")), text(said.get("messageId"))) {
        (None, _) => refuse("it has no eventType"),
        (Some(kind), None) if is_of_message(&kind) => refuse("it has no messageId"),
        (Some(_), None) => Ok(Vec::new()),
        _ => Ok(event(said).into_iter().collect()),
    }
}

/// Is an event of this type one of a message? Others are of calls and registrations.
fn is_of_message(kind: &str) -> bool {
    ["TEXT_", "MEDIA_", "RCS_", "WHATSAPP_"].iter().any(|channel| kind.starts_with(channel))
}

fn event(said: &Value) -> Option<Event> {
    let (sid, status) = (text(said.get("messageId"))?, text(said.get("eventType"))?);
    if !is_of_message(&status) {
        return None;
    }
    // There are no codes: the status says what went wrong, and a sentence beside it.
    let (error_code, error_message) = error("aws", &status, None, text(said.get("messageStatusDescription")));
    Some(Event {
        sid,
        status,
        error_code,
        error_message,
        at: time::read(said.get("eventTimestamp")),
        payload: said.clone(),
    })
}
