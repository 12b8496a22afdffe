//! The statuses, their ranks, and what the providers' words mean; written from the manual.

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Status(pub usize);

pub const LABELS: [&str; 14] = [
    "receiving",
    "received",
    "accepted",
    "scheduled",
    "queued",
    "sending",
    "sent",
    "delivery_unknown",
    "partially_delivered",
    "undelivered",
    "failed",
    "canceled",
    "delivered",
    "read",
];
pub const UNDELIVERED: Status = Status(9);
pub const FAILED: Status = Status(10);
pub const CANCELED: Status = Status(11);
pub const DELIVERED: Status = Status(12);
pub const READ: Status = Status(13);

pub const RANKS: [i16; 14] = [-20, -10, 10, 20, 30, 40, 50, 60, 70, 80, 80, 80, 80, 90];

/// The milestones, in the order of the tables: sent_at, delivered_at, read_at, failed_at, canceled_at.
pub const MILESTONES: [&str; 5] = ["sent_at", "delivered_at", "read_at", "failed_at", "canceled_at"];
pub const MAP_KEYS: [&str; 5] = ["sent", "delivered", "read", "failed", "canceled"];

impl Status {
    pub fn label(self) -> &'static str {
        LABELS[self.0]
    }
    pub fn from_label(label: &str) -> Option<Status> {
        LABELS.iter().position(|l| *l == label).map(Status)
    }
    pub fn is_final(self) -> bool {
        matches!(self.label(), "received" | "undelivered" | "failed" | "canceled" | "delivered" | "read")
    }
    pub fn is_failing(self) -> bool {
        self == UNDELIVERED || self == FAILED
    }
    /// Whether an event of this status is evidence for a milestone.
    pub fn vouches(self, milestone: usize) -> bool {
        match milestone {
            0 => matches!(self.label(), "sent" | "partially_delivered" | "undelivered" | "delivered" | "read"),
            1 => self == DELIVERED || self == READ,
            2 => self == READ,
            3 => self.is_failing(),
            _ => self == CANCELED,
        }
    }
    pub fn bit(self) -> i64 {
        1 << self.0
    }
}

/// Words that are not simply labels of the enum: provider, words with commas between, what they mean.
const WORDS: [(&str, &str, &str); 32] = [
    ("whatsapp", "sent", "sent"),
    ("whatsapp", "delivered", "delivered"),
    ("whatsapp", "read,played", "read"),
    ("whatsapp", "failed", "failed"),
    ("whatsapp", "deleted", "canceled"),
    ("whatsapp", "accepted", "accepted"),
    ("whatsapp", "delivery_unknown", "delivery_unknown"),
    ("vonage", "submitted,accepted,buffered", "sent"),
    ("vonage", "delivered", "delivered"),
    ("vonage", "read", "read"),
    ("vonage", "expired,failed,undeliverable", "undelivered"),
    ("vonage", "rejected", "failed"),
    ("vonage", "unknown", "delivery_unknown"),
    ("plivo", "queued", "queued"),
    ("plivo", "sent", "sent"),
    ("plivo", "delivered", "delivered"),
    ("plivo", "read", "read"),
    ("plivo", "undelivered", "undelivered"),
    ("plivo", "failed,rejected", "failed"),
    ("sinch", "queued", "queued"),
    ("sinch", "dispatched", "sent"),
    ("sinch", "delivered", "delivered"),
    ("sinch", "expired,deleted,failed", "undelivered"),
    ("sinch", "aborted,rejected", "failed"),
    ("sinch", "cancelled,canceled", "canceled"),
    ("sinch", "unknown", "delivery_unknown"),
    ("smpp", "unknown", "delivery_unknown"),
    ("smpp", "scheduled", "scheduled"),
    ("smpp", "enroute,acceptd,accepted", "sent"),
    ("smpp", "delivrd,delivered", "delivered"),
    ("smpp", "undeliv,undeliverable,expired,deleted", "undelivered"),
    ("smpp", "rejectd,rejected,skipped", "failed"),
];
/// Providers that the tester's logs name. What is in no table of the manual's is read as twilio.
pub const PROVIDERS: [&str; 7] = ["twilio", "whatsapp", "vonage", "plivo", "sinch", "smpp", "nobody"];

/// What the manual says that a word means.
pub fn parse(word: &str, provider: &str) -> Option<Status> {
    let word = word.trim().to_lowercase();
    if WORDS.iter().all(|(p, _, _)| *p != provider) {
        let word = if word == "delivery-unknown" { "delivery_unknown" } else { &word };
        return Status::from_label(word);
    }
    let found = WORDS.iter().find(|(p, words, _)| *p == provider && words.split(',').any(|w| w == word));
    Status::from_label(found?.2)
}

/// A word of this provider's, or now and then one that it does not have.
pub fn random(rng: &mut fastrand::Rng, provider: &str) -> String {
    let of_it: Vec<&str> = WORDS.iter().filter(|(p, _, _)| *p == provider).flat_map(|(_, w, _)| w.split(',')).collect();
    let word = match rng.u8(..100) {
        0..4 => ["on its way", "", "bounced", "DELIVRD", "played", "enroute"][rng.usize(..6)],
        4..12 => LABELS[rng.usize(..14)],
        _ if of_it.is_empty() => outbound(rng).label(),
        _ => of_it[rng.usize(..of_it.len())],
    };
    match rng.u8(..20) {
        0 => word.to_uppercase(),
        1 => format!(" {word} "),
        _ => word.to_owned(),
    }
}

/// A status of an outbound message, the outcomes more often than the way there.
pub fn outbound(rng: &mut fastrand::Rng) -> Status {
    const OFTEN: [usize; 17] = [2, 3, 4, 5, 6, 6, 7, 8, 9, 9, 10, 10, 11, 12, 12, 13, 13];
    Status(OFTEN[rng.usize(..OFTEN.len())])
}
