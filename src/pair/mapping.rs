//! Which column plays which role: what `attach` works out and the triggers carry.

use crate::errors::{Code, Fault, Result};
use crate::status::Milestone;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The argument of every trigger of a pair.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Mapping {
    /// The row in `msgstatus.tracked`.
    pub pair: i32,
    /// Qualified and quoted names, for where `tracked` has no row.
    pub messages: String,
    pub log: String,
    pub m: MessageColumns,
    pub l: LogColumns,
    #[serde(default, skip_serializing_if = "PollColumns::is_empty")]
    pub p: PollColumns,
    /// Whose words the log holds if it has no provider column.
    pub provider: String,
    pub policy: String,
    pub on_regression: OnRegression,
    /// Columns of the log that rows written by msgstatus take over from the message, and from which of its columns.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub copy: BTreeMap<String, String>,
}

/// What a direct UPDATE that would move the status back gets.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OnRegression {
    Absorb,
    Error,
}

/// Columns of the messages table by role; `None` is a role that no column plays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct MessageColumns {
    pub key: String,
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canceled_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statuses_seen: Option<String>,
    /// A jsonb column kept as `{"sent": iso time, …}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_map: Option<String>,
    /// A plain boolean column kept as `is_final(status)`.
    #[serde(rename = "final", skip_serializing_if = "Option::is_none")]
    pub final_: Option<String>,
}

/// Columns of the messages table that asking the provider goes by.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct PollColumns {
    /// The provider's id of the message, where that is not the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled_for: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_checked_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_count: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_check_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_sid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_unit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_segments: Option<String>,
}

impl PollColumns {
    fn is_empty(&self) -> bool {
        *self == PollColumns::default()
    }

    /// Does the table say how often and when the provider was asked?
    pub fn keeps_checks(&self) -> bool {
        self.check_count.is_some() || self.last_checked_at.is_some()
    }
}

/// Columns of the delivery log by role.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct LogColumns {
    pub key: String,
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

impl MessageColumns {
    /// The timestamp column of a milestone.
    pub fn milestone(&self, milestone: Milestone) -> Option<&str> {
        match milestone {
            Milestone::Sent => self.sent_at.as_deref(),
            Milestone::Delivered => self.delivered_at.as_deref(),
            Milestone::Read => self.read_at.as_deref(),
            Milestone::Failed => self.failed_at.as_deref(),
            Milestone::Canceled => self.canceled_at.as_deref(),
        }
    }
}

impl Mapping {
    /// Reads the argument of a trigger, or what `tracked` holds.
    pub fn read(text: &[u8]) -> Result<Mapping> {
        serde_json::from_str(&crate::encoding::from_server(text)).map_err(|e| {
            Fault::new(
                Code::InvalidArgument,
                format!("a mapping of msgstatus can't be read: {e}"),
                "Mappings are made by msgstatus.attach: run msgstatus.detach and attach again.",
            )
        })
    }

    /// Does the table keep errors at all?
    pub fn keeps_errors(&self) -> bool {
        self.m.error_code.is_some() || self.m.error_message.is_some()
    }
}
