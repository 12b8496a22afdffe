//! The delivery statuses and everything that is constant about them: labels, bits, milestones.
//!
//! This module is plain Rust. The SQL type of the same name is declared in `sql/10_types.sql`; the
//! in-server test `status_type_matches_rust` proves that the two agree.

pub mod functions;
pub mod oids;
pub mod words;

/// One delivery status. The discriminant is the position of the label in the SQL enum
/// `msgstatus.delivery_status`, which is also the number of its bit in `statuses_seen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Status {
    Receiving,
    Received,
    Accepted,
    Scheduled,
    Queued,
    Sending,
    Sent,
    DeliveryUnknown,
    PartiallyDelivered,
    Undelivered,
    Failed,
    Canceled,
    Delivered,
    Read,
}

/// A timestamp that a message reaches at most once. The discriminant indexes [`crate::fold::Row::milestones`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Milestone {
    Sent,
    Delivered,
    Read,
    Failed,
    Canceled,
}

/// How many statuses there are.
pub const COUNT: usize = 14;

/// How many milestones there are.
pub const MILESTONES: usize = 5;

impl Milestone {
    pub const ALL: [Milestone; MILESTONES] =
        [Milestone::Sent, Milestone::Delivered, Milestone::Read, Milestone::Failed, Milestone::Canceled];

    /// Its role, and the name of the column that plays it by default.
    pub const fn column(self) -> &'static str {
        match self {
            Milestone::Sent => "sent_at",
            Milestone::Delivered => "delivered_at",
            Milestone::Read => "read_at",
            Milestone::Failed => "failed_at",
            Milestone::Canceled => "canceled_at",
        }
    }

    /// The status that is this milestone when it arrives by itself, which is also its key in a `status_map`.
    pub const fn label(self) -> &'static str {
        match self {
            Milestone::Sent => "sent",
            Milestone::Delivered => "delivered",
            Milestone::Read => "read",
            Milestone::Failed => "failed",
            Milestone::Canceled => "canceled",
        }
    }
}

impl Status {
    /// Every status, in the order of the SQL enum.
    pub const ALL: [Status; COUNT] = [
        Status::Receiving,
        Status::Received,
        Status::Accepted,
        Status::Scheduled,
        Status::Queued,
        Status::Sending,
        Status::Sent,
        Status::DeliveryUnknown,
        Status::PartiallyDelivered,
        Status::Undelivered,
        Status::Failed,
        Status::Canceled,
        Status::Delivered,
        Status::Read,
    ];

    /// The label in the SQL enum.
    pub const fn label(self) -> &'static str {
        match self {
            Status::Receiving => "receiving",
            Status::Received => "received",
            Status::Accepted => "accepted",
            Status::Scheduled => "scheduled",
            Status::Queued => "queued",
            Status::Sending => "sending",
            Status::Sent => "sent",
            Status::DeliveryUnknown => "delivery_unknown",
            Status::PartiallyDelivered => "partially_delivered",
            Status::Undelivered => "undelivered",
            Status::Failed => "failed",
            Status::Canceled => "canceled",
            Status::Delivered => "delivered",
            Status::Read => "read",
        }
    }

    /// The status with this label, if there is one.
    pub fn from_label(label: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|s| s.label() == label)
    }

    /// The status at this position of the SQL enum, if there is one.
    pub fn from_index(index: u8) -> Option<Status> {
        Status::ALL.get(usize::from(index)).copied()
    }

    /// Position in the SQL enum.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The bit of this status in `statuses_seen`.
    pub const fn bit(self) -> i32 {
        1 << (self as u8)
    }

    /// Nothing but `read` is expected after it: no more checks, no more waiting.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Status::Received
                | Status::Undelivered
                | Status::Failed
                | Status::Canceled
                | Status::Delivered
                | Status::Read
        )
    }

    /// The provider says that the message did not arrive.
    pub const fn is_failure(self) -> bool {
        matches!(self, Status::Undelivered | Status::Failed)
    }

    /// The milestones that an event with this status is evidence of.
    ///
    /// A receipt of any later stage vouches for `sent`: a network that reports an outcome has taken
    /// the message first. WhatsApp leaves `delivered` out when `read` implies it.
    pub const fn milestones(self) -> &'static [Milestone] {
        match self {
            Status::Sent | Status::PartiallyDelivered => &[Milestone::Sent],
            Status::Undelivered => &[Milestone::Sent, Milestone::Failed],
            Status::Failed => &[Milestone::Failed],
            Status::Canceled => &[Milestone::Canceled],
            Status::Delivered => &[Milestone::Sent, Milestone::Delivered],
            Status::Read => &[Milestone::Sent, Milestone::Delivered, Milestone::Read],
            _ => &[],
        }
    }
}

/// The bits of the failing statuses, for asking `statuses_seen` whether one was among them.
pub const FAILURE_BITS: i32 = Status::Undelivered.bit() | Status::Failed.bit();

/// The default rank of every status, in the order of the enum: policy `first_final`.
///
/// The function `msgstatus.rank` gives these numbers; the rows of `msgstatus.policy` are compared with
/// them by the in-server tests.
pub const DEFAULT_RANKS: [i16; COUNT] = [-20, -10, 10, 20, 30, 40, 50, 60, 70, 80, 80, 80, 80, 90];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_round_trip_and_positions_are_dense() {
        for (i, s) in Status::ALL.into_iter().enumerate() {
            assert_eq!(s.index(), i);
            assert_eq!(Status::from_label(s.label()), Some(s));
            assert_eq!(Status::from_index(i as u8), Some(s));
        }
        assert_eq!(Status::from_index(COUNT as u8), None);
        assert_eq!(Status::from_label("bounced"), None);
    }

    #[test]
    fn enum_order_is_a_linear_extension_of_the_default_ranks() {
        for a in Status::ALL {
            for b in Status::ALL {
                if DEFAULT_RANKS[a.index()] < DEFAULT_RANKS[b.index()] {
                    assert!(a < b, "{a:?} must sort before {b:?}");
                }
            }
        }
    }

    #[test]
    fn statuses_seen_uses_bit_13_for_read() {
        assert_eq!(Status::Receiving.bit(), 1);
        assert_eq!(Status::Read.bit(), 1 << 13);
    }
}
