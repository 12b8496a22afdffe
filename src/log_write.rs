//! Writing events into a delivery log, with the rights of its owner: what providers answered and called back.

use crate::datum::{Columns, text_datum};
use crate::encoding::to_server_lossy;
use crate::errors::Result;
use crate::fold::Time;
use crate::pair::Pair;
use crate::session::Rights;
use crate::spi::Spi;
use pgrx::pg_sys::{self, Datum};

/// A row of a delivery log.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogRow<'a> {
    /// The message's key, as text.
    pub key: &'a str,
    pub status: &'a str,
    pub event_at: Option<Time>,
    pub error_code: Option<&'a str>,
    pub error_message: Option<&'a str>,
    /// JSON.
    pub payload: Option<&'a str>,
    pub provider: &'a str,
    pub source: &'a str,
    /// When it came, if that is not now.
    pub created_at: Option<Time>,
}

/// What of a row is given, in the order of [`sql::insert_events`](crate::pair::sql::insert_events).
type Given = [bool; 9];

/// Writes rows, and gives how many there are now: a log that holds labels has no place for a word that is none.
///
/// It takes one INSERT, in which columns that no row says anything of get their defaults; more only where a column of the
/// log is NOT NULL and some of the rows have nothing for it.
pub fn write(pair: &Pair, rows: &[LogRow]) -> Result<usize> {
    let text = |t: &str| Some(text_datum(&to_server_lossy(t)));
    let (texts, times) = (pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID);
    let mut parts: Vec<(Given, Given, Columns<9>)> = Vec::new();
    for row in rows {
        let values = [
            text(row.key),
            text(row.status),
            row.event_at.map(Datum::from),
            row.error_code.and_then(text),
            row.error_message.and_then(text),
            row.payload.and_then(text),
            text(row.provider),
            text(row.source),
            row.created_at.map(Datum::from),
        ];
        let given: Given = std::array::from_fn(|i| values[i].is_some());
        let needed = std::array::from_fn(|i| given[i] && pair.plans.shape.types.log_required[i]);
        let at = parts.iter().position(|part| part.0 == needed).unwrap_or_else(|| {
            let columns = Columns::new([texts, texts, times, texts, texts, texts, texts, texts, times]);
            parts.push((needed, [false; 9], columns));
            parts.len() - 1
        });
        let (_, of_part, columns) = &mut parts[at];
        *of_part = std::array::from_fn(|i| of_part[i] || given[i]);
        columns.push(values);
    }
    let mut written = 0;
    for (_, given, columns) in &parts {
        let statement = pair.plans.insert_events(&pair.mapping, *given, &columns.types());
        let _owner = Rights::Owner.on(&pair.log);
        let spi = Spi::connect()?;
        written += spi.run(statement.plan()?, &columns.arrays())?.len();
    }
    Ok(written)
}
