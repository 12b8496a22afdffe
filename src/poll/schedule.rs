//! Schedules: when to ask about a message, by its status and age.

use crate::datum::text_datum;
use crate::encoding::to_server;
use crate::errors::Result;
use crate::spi::Spi;
use pgrx::pg_sys;

/// Status, from which age on, and how often (or never again); times are in the session's own form.
type Tier = (String, String, Option<String>);

/// A schedule of `msgstatus.poll_schedule`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    pub name: String,
    /// By status, the highest age first.
    pub tiers: Vec<Tier>,
    /// The lowest age of all: a younger message is not asked about, whatever its status.
    pub from: Option<String>,
}

impl Schedule {
    pub fn read(name: &str) -> Result<Schedule> {
        let spi = Spi::connect()?;
        let sql = "SELECT s.status::pg_catalog.text, s.min_age::pg_catalog.text, s.interval::pg_catalog.text, \
                   (pg_catalog.min(s.min_age) OVER ())::pg_catalog.text FROM msgstatus.poll_schedule s \
                   WHERE s.schedule OPERATOR(pg_catalog.=) $1 ORDER BY s.status, s.min_age DESC";
        let rows = spi.once(sql, &[pg_sys::TEXTOID], &[Some(text_datum(&to_server(name)))])?;
        let tier = |i| Some((rows.string(i, 0)?, rows.string(i, 1)?, rows.string(i, 2)));
        Ok(Schedule {
            name: name.to_owned(),
            tiers: (0..rows.len()).filter_map(tier).collect(),
            from: rows.string(0, 3),
        })
    }

    /// How often a message of this status that began then is asked about, as SQL; NULL is never. The rows become part of the
    /// statement, which looks at thousands of messages. One that does not say when it began is as old as can be.
    pub fn interval(&self, status: &str, began: &str) -> String {
        let quoted = |text: &str| pgrx::spi::quote_literal(text);
        // Most statuses have the same tiers as another: each set is written once.
        let mut sets: Vec<(Vec<String>, Vec<&Tier>)> = Vec::new();
        for tiers in self.tiers.chunk_by(|a, b| a.0 == b.0) {
            let label = format!("{}::msgstatus.delivery_status", quoted(&tiers[0].0));
            let same = |set: &Tier, tier: &Tier| (&set.1, &set.2) == (&tier.1, &tier.2);
            let known = sets
                .iter_mut()
                .find(|(_, set)| set.len() == tiers.len() && set.iter().zip(tiers).all(|(set, tier)| same(set, tier)));
            match known {
                Some((labels, _)) => labels.push(label),
                None => sets.push((vec![label], tiers.iter().collect())),
            }
        }
        let mut cases = String::new();
        for (labels, tiers) in sets {
            let labels = labels.join(", ");
            cases.push_str(&format!(" WHEN {status} OPERATOR(pg_catalog.=) ANY (ARRAY[{labels}]) THEN CASE"));
            for (i, (_, age_from, every)) in tiers.into_iter().enumerate() {
                let unknown = if i == 0 { format!("{began} IS NULL OR ") } else { String::new() };
                let every = every.as_deref().map_or("NULL".to_owned(), quoted);
                cases.push_str(&format!(
                    " WHEN {unknown}{began} OPERATOR(pg_catalog.<=) (pg_catalog.now() OPERATOR(pg_catalog.-) \
                     {}::pg_catalog.interval) THEN {every}::pg_catalog.interval",
                    quoted(age_from)
                ));
            }
            cases.push_str(" END");
        }
        if cases.is_empty() {
            return "NULL::pg_catalog.interval".to_owned();
        }
        format!("(CASE{cases} END)")
    }
}
