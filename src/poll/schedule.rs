//! Schedules: when to ask about a message, by its status and age.

use crate::datum::text_datum;
use crate::encoding::to_server;
use crate::errors::Result;
use crate::spi::Spi;
use pgrx::pg_sys;

/// A schedule of `msgstatus.poll_schedule`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    pub name: String,
    /// Status, from which age on, and how often; the highest age first. Times are in the session's own form.
    pub tiers: Vec<(String, String, Option<String>)>,
}

impl Schedule {
    pub fn read(name: &str) -> Result<Schedule> {
        let spi = Spi::connect()?;
        let sql = "SELECT s.status::pg_catalog.text, s.min_age::pg_catalog.text, s.interval::pg_catalog.text \
                   FROM msgstatus.poll_schedule s WHERE s.schedule OPERATOR(pg_catalog.=) $1 \
                   ORDER BY s.status, s.min_age DESC";
        let rows = spi.once(sql, &[pg_sys::TEXTOID], &[Some(text_datum(&to_server(name)))])?;
        let tier = |i| Some((rows.string(i, 0)?, rows.string(i, 1)?, rows.string(i, 2)));
        Ok(Schedule { name: name.to_owned(), tiers: (0..rows.len()).filter_map(tier).collect() })
    }

    /// How often a message of this status and age is asked about, as SQL; NULL is never. The rows become part of the
    /// statement, which looks at thousands of messages. An unknown age is the longest.
    pub fn interval(&self, status: &str, age: &str) -> String {
        let quoted = |text: &str| pgrx::spi::quote_literal(text);
        let mut cases = String::new();
        let mut tiers = self.tiers.as_slice();
        while let Some((label, ..)) = tiers.first() {
            let end = tiers.iter().position(|t| t.0 != *label).unwrap_or(tiers.len());
            let (mine, rest) = tiers.split_at(end);
            cases.push_str(&format!(" WHEN {}::msgstatus.delivery_status THEN CASE", quoted(label)));
            for (i, (_, age_from, every)) in mine.iter().enumerate() {
                let unknown = if i == 0 { format!("{age} IS NULL OR ") } else { String::new() };
                let every = every.as_deref().map_or("NULL".to_owned(), quoted);
                cases.push_str(&format!(
                    " WHEN {unknown}{age} OPERATOR(pg_catalog.>=) {}::pg_catalog.interval THEN {every}::pg_catalog.interval",
                    quoted(age_from)
                ));
            }
            cases.push_str(" END");
            tiers = rest;
        }
        if cases.is_empty() {
            return "NULL::pg_catalog.interval".to_owned();
        }
        format!("(CASE {status}{cases} END)")
    }
}
