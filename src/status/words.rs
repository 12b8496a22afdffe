//! The words that providers use, and the statuses that they mean.
//!
//! The mapping follows each provider's public documentation of its receipts. A word that is not listed is
//! unknown: the callback is kept, and changes nothing.

use super::Status::{self, *};

type Words = &'static [(&'static str, Status)];

/// Twilio Message resource, `MessageStatus`; `delivery_unknown` is ours (and Twilio's billing pages').
const TWILIO: Words = &[
    ("delivered", Delivered),
    ("sent", Sent),
    ("queued", Queued),
    ("sending", Sending),
    ("read", Read),
    ("undelivered", Undelivered),
    ("failed", Failed),
    ("accepted", Accepted),
    ("scheduled", Scheduled),
    ("canceled", Canceled),
    ("receiving", Receiving),
    ("received", Received),
    ("partially_delivered", PartiallyDelivered),
    ("delivery_unknown", DeliveryUnknown),
    ("delivery-unknown", DeliveryUnknown),
];

/// WhatsApp Cloud API, `statuses[].status`, and `accepted` of its send response; `played` is the first play of
/// a voice message, after `read`.
const WHATSAPP: Words = &[
    ("sent", Sent),
    ("delivered", Delivered),
    ("read", Read),
    ("played", Read),
    ("failed", Failed),
    ("deleted", Canceled),
    ("accepted", Accepted),
    ("delivery_unknown", DeliveryUnknown),
];

/// Vonage SMS receipts and Messages API.
const VONAGE: Words = &[
    ("submitted", Sent),
    ("accepted", Sent),
    ("buffered", Sent),
    ("delivered", Delivered),
    ("read", Read),
    ("expired", Undelivered),
    ("failed", Undelivered),
    ("undeliverable", Undelivered),
    ("rejected", Failed),
    ("unknown", DeliveryUnknown),
];

/// MessageBird, and Bird's second API.
const MESSAGEBIRD: Words = &[
    ("accepted", Accepted),
    ("pending", Accepted),
    ("scheduled", Scheduled),
    ("processing", Queued),
    ("sent", Sent),
    ("buffered", Sent),
    ("delivered", Delivered),
    ("delivery_failed", Undelivered),
    ("expired", Undelivered),
    ("deleted", Undelivered),
    ("rejected", Failed),
    ("sending_failed", Failed),
    ("skipped", Failed),
];

const PLIVO: Words = &[
    ("queued", Queued),
    ("sent", Sent),
    ("delivered", Delivered),
    ("read", Read),
    ("undelivered", Undelivered),
    ("failed", Failed),
    ("rejected", Failed),
];

const SINCH: Words = &[
    ("queued", Queued),
    ("dispatched", Sent),
    ("delivered", Delivered),
    ("expired", Undelivered),
    ("deleted", Undelivered),
    ("failed", Undelivered),
    ("aborted", Failed),
    ("rejected", Failed),
    ("cancelled", Canceled),
    ("canceled", Canceled),
    ("unknown", DeliveryUnknown),
];

const TELNYX: Words = &[
    ("scheduled", Scheduled),
    ("queued", Queued),
    ("sending", Sending),
    ("sent", Sent),
    ("delivered", Delivered),
    ("read", Read),
    ("delivery_failed", Undelivered),
    ("expired", Undelivered),
    ("sending_failed", Failed),
    ("delivery_unconfirmed", DeliveryUnknown),
];

/// AWS End User Messaging, event types of SMS, MMS and RCS messages. `TEXT_SUCCESSFUL` and `TEXT_DELIVERED` differ by
/// country, not by outcome. After `RCS_FALLEN_BACK_TO_SMS` the events are those of an SMS; it is none of a status.
const AWS: Words = &[
    ("text_queued", Queued),
    ("text_pending", Queued),
    ("text_sent", Sent),
    ("text_delivered", Delivered),
    ("text_successful", Delivered),
    ("text_unreachable", Undelivered),
    ("text_carrier_unreachable", Undelivered),
    ("text_carrier_blocked", Undelivered),
    ("text_ttl_expired", Undelivered),
    ("text_invalid", Undelivered),
    ("text_blocked", Failed),
    ("text_invalid_message", Failed),
    ("text_spam", Failed),
    ("text_protect_blocked", Failed),
    ("text_unknown", DeliveryUnknown),
    ("media_queued", Queued),
    ("media_pending", Queued),
    ("media_delivered", Delivered),
    ("media_successful", Delivered),
    ("media_unreachable", Undelivered),
    ("media_carrier_unreachable", Undelivered),
    ("media_carrier_blocked", Undelivered),
    ("media_ttl_expired", Undelivered),
    ("media_invalid", Undelivered),
    ("media_blocked", Failed),
    ("media_invalid_message", Failed),
    ("media_spam", Failed),
    ("media_file_inaccessible", Failed),
    ("media_file_type_unsupported", Failed),
    ("media_file_size_exceeded", Failed),
    ("media_unknown", DeliveryUnknown),
    ("rcs_queued", Queued),
    ("rcs_sent", Sent),
    ("rcs_delivered", Delivered),
    ("rcs_read", Read),
    ("rcs_ttl_expired", Undelivered),
    ("rcs_failed", Failed),
    ("rcs_protect_blocked", Failed),
];

/// Infobip: status groups, and the names whose group says too little; `seen` is what a seen report says, which has a time
/// and no word.
const INFOBIP: Words = &[
    ("accepted", Accepted),
    ("pending", Queued),
    ("delivered_to_operator", Sent),
    ("delivered_to_handset", Delivered),
    ("delivered", Delivered),
    ("undeliverable", Undelivered),
    ("expired", Undelivered),
    ("expired_dlr_unknown", DeliveryUnknown),
    ("rejected", Failed),
    ("seen", Read),
];

/// SMPP 3.4 and 5.0 receipts (`stat:`), and the long names of the message states.
const SMPP: Words = &[
    ("scheduled", Scheduled),
    ("enroute", Sent),
    ("acceptd", Sent),
    ("accepted", Sent),
    ("delivrd", Delivered),
    ("delivered", Delivered),
    ("undeliv", Undelivered),
    ("undeliverable", Undelivered),
    ("expired", Undelivered),
    ("deleted", Undelivered),
    ("rejectd", Failed),
    ("rejected", Failed),
    ("skipped", Failed),
    ("unknown", DeliveryUnknown),
];

/// A provider whose words are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider(Words);

impl Provider {
    /// The default, and what an unknown name is read as.
    pub const TWILIO: Provider = Provider(TWILIO);

    /// The provider of that name, in any case; Twilio for a name that is not known.
    pub fn named(name: &[u8]) -> Provider {
        // Nearly every row says the same two names: compare those without the list.
        if name == b"twilio" {
            return Provider(TWILIO);
        }
        PROVIDERS
            .iter()
            .find(|(n, _)| n.as_bytes().eq_ignore_ascii_case(name.trim_ascii()))
            .map_or(Provider(TWILIO), |(_, words)| Provider(words))
    }

    /// The status that `word` means, in any case and with blanks around it; `None` if it means nothing.
    pub fn parse(self, word: &[u8]) -> Option<Status> {
        let word = word.trim_ascii();
        self.0.iter().find(|(w, _)| w.as_bytes().eq_ignore_ascii_case(word)).map(|&(_, s)| s)
    }
}

/// The names that `parse_status` takes for a provider.
pub const PROVIDERS: [(&str, Words); 10] = [
    ("twilio", TWILIO),
    ("whatsapp", WHATSAPP),
    ("vonage", VONAGE),
    ("messagebird", MESSAGEBIRD),
    ("plivo", PLIVO),
    ("sinch", SINCH),
    ("telnyx", TELNYX),
    ("aws", AWS),
    ("infobip", INFOBIP),
    ("smpp", SMPP),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twilio_knows_every_label() {
        for s in Status::ALL {
            assert_eq!(Provider::TWILIO.parse(s.label().as_bytes()), Some(s));
        }
    }

    #[test]
    fn any_case_and_blanks_are_read() {
        assert_eq!(Provider::TWILIO.parse(b" \tDelivered\r\n"), Some(Delivered));
        assert_eq!(Provider::named(b"SMPP").parse(b"DELIVRD"), Some(Delivered));
    }

    #[test]
    fn unknown_words_and_providers() {
        assert_eq!(Provider::TWILIO.parse(b"bounced"), None);
        assert_eq!(Provider::TWILIO.parse(b""), None);
        assert_eq!(Provider::named(b"no such").parse(b"sent"), Some(Sent));
    }

    #[test]
    fn no_provider_lists_a_word_twice() {
        for (name, words) in PROVIDERS {
            for (i, (w, _)) in words.iter().enumerate() {
                assert_eq!(*w, w.to_ascii_lowercase(), "{name}: words are stored in lower case");
                assert!(!words[..i].iter().any(|(v, _)| v == w), "{name} lists {w} twice");
            }
        }
    }
}
