//! Schemas: which roles there are, of which types, and how the tables are cut and indexed; as SQL.

use crate::time::Time;
use crate::words::{LABELS, MILESTONES, RANKS, Status};
use std::fmt::Write;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyType {
    Text,
    Varchar,
    Bigint,
    Uuid,
    Numeric,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Collation {
    Default,
    C,
    Posix,
    /// Nondeterministic: capitals do not count. Only where the server has ICU.
    NoCase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeType {
    pub zone: bool,
    pub digits: Option<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parts {
    Whole,
    Hash,
    /// By the plain boolean that plays final: the engine writes it, and the row moves.
    Final,
    /// By created_at, which is in the unique index beside the key.
    Created,
    /// Two levels, by two columns.
    Levels,
}

/// What leads to a message by its key when work begins. All but the usual come after attach, which wants a good one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Index {
    Usual,
    Dropped,
    Partial,
    OtherCollation,
    Invalid,
    /// Made in a transaction that changed the table: older snapshots may not use it.
    JustMade,
    /// None until attach says what it wants.
    AsHinted,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    pub name: String,
    pub ranks: [i16; 14],
}

/// A text column: None has no end, else it is cut to so many characters.
pub type Width = Option<usize>;

#[derive(Clone, Debug)]
pub struct Messages {
    pub name: String,
    pub status_at: Option<TimeType>,
    pub milestones: [Option<TimeType>; 5],
    pub map: bool,
    pub error_code: Option<Width>,
    pub error_message: Option<Width>,
    /// Whether it is bigint.
    pub seen: Option<bool>,
    pub is_final: bool,
    pub checks: bool,
    pub checked: bool,
    pub parts: Parts,
    pub index: Index,
    pub policy: Policy,
}

#[derive(Clone, Debug)]
pub struct Log {
    pub event_at: Option<TimeType>,
    pub created_at: Option<TimeType>,
    pub provider: bool,
    pub error_code: bool,
    pub error_message: bool,
    pub delivery_id: bool,
    pub source: bool,
    pub parts: bool,
    pub index: bool,
    pub typed: bool,
}

#[derive(Clone, Debug)]
pub struct Schema {
    pub key: KeyType,
    pub collation: Collation,
    /// The log's, where it is another.
    pub log_collation: Collation,
    pub messages: Vec<Messages>,
    pub log: Log,
    pub row_level: bool,
    pub provider: String,
}

impl TimeType {
    pub fn sql(self) -> String {
        let digits = self.digits.map_or(String::new(), |d| format!("({d})"));
        format!("{}{digits}", if self.zone { "timestamptz" } else { "timestamp" })
    }
    pub fn round(self, time: Time) -> Time {
        time.round(self.digits)
    }
}

impl KeyType {
    pub fn is_text(self) -> bool {
        self == KeyType::Text || self == KeyType::Varchar
    }
    fn sql(self) -> &'static str {
        match self {
            KeyType::Text => "text",
            KeyType::Varchar => "varchar",
            KeyType::Bigint => "bigint",
            KeyType::Uuid => "uuid",
            KeyType::Numeric => "numeric",
        }
    }
}

impl Collation {
    fn sql(self) -> &'static str {
        match self {
            Collation::Default => "",
            Collation::C => " COLLATE \"C\"",
            Collation::Posix => " COLLATE \"POSIX\"",
            Collation::NoCase => " COLLATE nocase",
        }
    }
}

impl Policy {
    pub fn built_in(n: usize) -> Policy {
        let mut ranks = RANKS;
        let name = ["first_final", "delivery_wins", "failure_wins"][n];
        match n {
            1 => ranks[12] = 85,
            2 => ranks[9..=11].fill(99),
            _ => {}
        }
        Policy { name: name.to_owned(), ranks }
    }
    pub fn is_own(&self) -> bool {
        self.name.starts_with("own")
    }
    pub fn rank(&self, status: Status) -> i16 {
        self.ranks[status.0]
    }
}

impl Messages {
    pub fn width_of(column: Width) -> String {
        column.map_or("text".to_owned(), |n| format!("varchar({n})"))
    }

    /// The columns of its unique index.
    fn index_columns(&self, collation: &str) -> String {
        let beside = match self.parts {
            Parts::Whole | Parts::Hash => "",
            Parts::Final => ", final",
            Parts::Created => ", created_at",
            Parts::Levels => ", shard, created_at",
        };
        format!("(k{collation}{beside})")
    }

    pub fn index_sql(&self) -> String {
        format!("CREATE UNIQUE INDEX {0}_key ON {0} {1}", self.name, self.index_columns(""))
    }

    fn create(&self, key: &str) -> String {
        let m = &self.name;
        let mut sql = format!("CREATE TABLE {m} (id integer NOT NULL, k {key}, status msgstatus.delivery_status");
        if let Some(t) = self.status_at {
            let _ = write!(sql, ", status_at {}", t.sql());
        }
        for (t, name) in self.milestones.iter().zip(MILESTONES) {
            if let Some(t) = t {
                let _ = write!(sql, ", {name} {}", t.sql());
            }
        }
        for (column, name) in [(self.error_code, "error_code"), (self.error_message, "error_message")] {
            if let Some(width) = column {
                let _ = write!(sql, ", {name} {}", Self::width_of(width));
            }
        }
        if let Some(big) = self.seen {
            let _ = write!(sql, ", statuses_seen {} DEFAULT 0", if big { "bigint" } else { "integer" });
        }
        for (there, column) in [
            (self.map, "status_map jsonb DEFAULT '{}'"),
            (self.is_final, "final boolean"),
            (self.checks, "check_count integer DEFAULT 0"),
            (self.checked, "last_checked_at timestamptz"),
            (matches!(self.parts, Parts::Created | Parts::Levels), "created_at timestamptz NOT NULL DEFAULT now()"),
            (self.parts == Parts::Levels, "shard integer NOT NULL DEFAULT 1"),
        ] {
            if there {
                let _ = write!(sql, ", {column}");
            }
        }
        sql.push_str(", note text)");
        sql.push_str(&match self.parts {
            Parts::Whole => String::new(),
            Parts::Hash => format!(
                " PARTITION BY HASH (k);
CREATE TABLE {m}_0 PARTITION OF {m} FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE {m}_1 PARTITION OF {m} FOR VALUES WITH (MODULUS 2, REMAINDER 1)"
            ),
            Parts::Final => format!(
                " PARTITION BY LIST (final);
CREATE TABLE {m}_open PARTITION OF {m} FOR VALUES IN (false, NULL);
CREATE TABLE {m}_done PARTITION OF {m} FOR VALUES IN (true)"
            ),
            Parts::Created => format!(
                " PARTITION BY RANGE (created_at);
CREATE TABLE {m}_old PARTITION OF {m} FOR VALUES FROM (MINVALUE) TO ('2026-06-16 10:00:30+00');
CREATE TABLE {m}_new PARTITION OF {m} FOR VALUES FROM ('2026-06-16 10:00:30+00') TO (MAXVALUE)"
            ),
            Parts::Levels => format!(
                " PARTITION BY LIST (shard);
CREATE TABLE {m}_s PARTITION OF {m} DEFAULT PARTITION BY RANGE (created_at);
CREATE TABLE {m}_s_d PARTITION OF {m}_s DEFAULT"
            ),
        });
        sql
    }

    /// What makes the index nasty, once attach has seen a good one.
    fn spoil(&self, collation: Collation) -> Vec<String> {
        let m = &self.name;
        let drop = format!("DROP INDEX {m}_key");
        match self.index {
            Index::Usual | Index::AsHinted => vec![],
            Index::Dropped => vec![drop],
            Index::Partial => {
                vec![drop, format!("CREATE UNIQUE INDEX {m}_part ON {m} {} WHERE note IS NULL", self.index_columns(""))]
            }
            Index::OtherCollation => {
                let other = if collation == Collation::C { Collation::Posix } else { Collation::C };
                vec![drop, format!("CREATE UNIQUE INDEX {m}_coll ON {m} {}", self.index_columns(other.sql()))]
            }
            Index::Invalid => {
                vec![format!("UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{m}_key'::regclass")]
            }
            Index::JustMade => vec![
                drop,
                format!("INSERT INTO {m} (id, status) VALUES (-1, 'queued')"),
                format!("BEGIN; UPDATE {m} SET note = 'changed' WHERE id = -1; {}; COMMIT", self.index_sql()),
                format!("DELETE FROM {m} WHERE id = -1"),
            ],
        }
    }
}

impl Schema {
    fn key_sql(&self, collation: Collation) -> String {
        format!("{}{}", self.key.sql(), if self.key.is_text() { collation.sql() } else { "" })
    }

    /// The tables, up to attach.
    pub fn create(&self) -> Vec<String> {
        let mut all = vec!["CREATE SCHEMA model".to_owned(), "SET search_path = model".to_owned()];
        if self.key.is_text() && [self.collation, self.log_collation].contains(&Collation::NoCase) {
            all.push(
                "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
                    .to_owned(),
            );
        }
        for m in &self.messages {
            all.push(m.create(&self.key_sql(self.collation)));
            if m.policy.is_own() {
                let rows: Vec<String> = (0..14)
                    .filter(|i| m.policy.ranks[*i] != RANKS[*i])
                    .map(|i| format!("('{}', '{}', {})", m.policy.name, LABELS[i], m.policy.ranks[i]))
                    .collect();
                all.push(format!("INSERT INTO msgstatus.policy VALUES {}", rows.join(", ")));
            }
            if m.index != Index::AsHinted {
                all.push(m.index_sql());
            }
        }
        let l = &self.log;
        let id = if l.delivery_id { "delivery_id" } else { "row_id" };
        let mut sql = format!(
            "CREATE TABLE l ({id} bigserial, k {}, status {}",
            self.key_sql(self.log_collation),
            if l.typed { "msgstatus.delivery_status" } else { "text" }
        );
        if let Some(t) = l.event_at {
            let _ = write!(sql, ", event_at {}", t.sql());
        }
        if let Some(t) = l.created_at {
            let _ = write!(sql, ", created_at {} DEFAULT clock_timestamp()", t.sql());
        }
        for (there, column) in [
            (l.provider, "provider text"),
            (l.error_code, "error_code text"),
            (l.error_message, "error_message text"),
            (l.source, "source text"),
        ] {
            if there {
                let _ = write!(sql, ", {column}");
            }
        }
        sql.push(')');
        if l.parts {
            sql.push_str(
                " PARTITION BY HASH (k);
CREATE TABLE l_0 PARTITION OF l FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE l_1 PARTITION OF l FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
            );
        }
        all.push(sql);
        if self.messages.iter().all(|m| m.index != Index::AsHinted) {
            all.push("CREATE INDEX l_key ON l (k)".to_owned());
        }
        all
    }

    pub fn attach(&self, m: &Messages) -> String {
        let mut sql = format!("SELECT msgstatus.attach('{}', 'l', message_key => 'k', log_key => 'k'", m.name);
        if m.policy.name != "first_final" {
            let _ = write!(sql, ", policy => '{}'", m.policy.name);
        }
        if self.row_level {
            sql.push_str(", level => 'row'");
        }
        if self.provider != "twilio" {
            let _ = write!(sql, ", provider => '{}'", self.provider);
        }
        sql.push(')');
        sql
    }

    /// What comes behind attach.
    pub fn spoil(&self) -> Vec<String> {
        let mut all: Vec<String> = self.messages.iter().flat_map(|m| m.spoil(self.collation)).collect();
        if !self.log.index && self.messages.iter().all(|m| m.index != Index::AsHinted) {
            all.push("DROP INDEX l_key".to_owned());
        }
        all
    }

    /// A key as one value for all texts that are equal to it.
    pub fn normal(&self, key: &str) -> String {
        match self.key {
            KeyType::Numeric if key.contains('.') => key.trim_end_matches('0').trim_end_matches('.').to_owned(),
            KeyType::Text | KeyType::Varchar if self.collation == Collation::NoCase => key.to_lowercase(),
            _ => key.to_owned(),
        }
    }

    /// Whether two messages of one key can be told apart by the unique index alone: then it is the tester who sees
    /// to it that there is one.
    pub fn loosely_unique(m: &Messages) -> bool {
        !matches!(m.parts, Parts::Whole | Parts::Hash) || m.index != Index::Usual
    }

    /// Whether an event may have no time of its own, and gets the start of the transaction.
    pub fn may_lack_times(&self) -> bool {
        self.log.event_at.is_none() || self.log.created_at.is_none()
    }
}
