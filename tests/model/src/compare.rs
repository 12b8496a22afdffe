//! The comparison: what the tables hold, against what the rule makes of what they held before; and the invariants.

use crate::model::{self, carries, difference, fault, join};
use crate::run::Runner;
use crate::schema::Messages;
use crate::server::{Failure, fail};
use crate::snapshot::{self, Snapshot};
use crate::work::{self, Set};
use std::collections::BTreeMap;

impl Runner<'_> {
    /// Reads the tables, and compares them with what the rule makes of what they held before.
    pub fn look(&mut self) -> Result<(), Failure> {
        let schema = self.schema();
        let new = snapshot::read(&mut self.server.client, schema)?;
        let old = std::mem::replace(&mut self.now, new);
        self.server.counts.looks += 1;
        for (t, m) in schema.messages.iter().enumerate() {
            for (id, row) in &self.now.tables[t] {
                self.compare(t, m, *id, row, &old)?;
            }
            for id in old.tables[t].keys() {
                if !self.now.tables[t].contains_key(id) && !self.replaced.contains(&(t, *id)) {
                    return fail("row", format!("message {id} of {} is gone", m.name));
                }
            }
        }
        self.forget_writes();
        Ok(())
    }

    fn compare(&self, t: usize, m: &Messages, id: i32, row: &snapshot::Row, old: &Snapshot) -> Result<(), Failure> {
        let events = self.now.events(row.key.as_ref());
        let before = old.tables[t].get(&id);
        let tell =
            |what: &str| format!("message {id} ({}) of {}: {what}", row.key.as_deref().unwrap_or("NULL"), m.name);
        if !self.touched.contains(&(t, id)) {
            let Some(before) = before else { return fail("row", tell("appeared")) };
            let mut wanted = join(m, before, events, self.now.now());
            let came = self.now.polls(row.key.as_ref()) - old.polls(row.key.as_ref());
            let schema_has_source = self.schema().log.source;
            wanted.checks = before.checks.map(|n| n + if schema_has_source { came } else { 0 });
            if let Some(difference) = difference(m, &wanted, row) {
                return fail("row", tell(&difference));
            }
            let checked = schema_has_source && came > 0;
            if m.checked && (checked && row.checked.is_none() || !checked && row.checked != before.checked) {
                return fail("row", tell(&format!("last_checked_at is {:?} after {came} answers", row.checked)));
            }
        } else if let Some(before) = before.filter(|b| b.key == row.key && !self.replaced.contains(&(t, id)))
            && let Some(broken) = model::broken_promise(m, before, row)
        {
            return fail("guard", tell(&broken));
        } else if let Some(base) = self.inserted_as(t, m, id) {
            let wanted = join(m, &base, events, self.now.now());
            if let Some(difference) = difference(m, &wanted, row) {
                return fail("insert", tell(&difference));
            }
        }
        let wanted = join(m, row, events, self.now.now());
        match difference(m, &wanted, row) {
            Some(difference) => fail("row", tell(&format!("by its log {difference}"))),
            None => Ok(()),
        }
    }

    /// What a message that was just inserted is without its log, where nothing but the manual's words is needed.
    fn inserted_as(&self, t: usize, m: &Messages, id: i32) -> Option<snapshot::Row> {
        let (_, new) = self.plain.iter().find(|(table, new)| *table == t && new.id == id)?;
        let status = new.status.filter(|s| (0..5).all(|i| !s.vouches(i)))?;
        if !new.sets.is_empty() || !self.case.setting.each || m.status_at.is_some() && new.status_at.is_none() {
            return None;
        }
        Some(snapshot::Row {
            key: new.key.map(|k| self.schema().normal(&work::key(self.schema(), k))),
            status: Some(status),
            status_at: m.status_at.and_then(|column| Some(column.round(new.status_at?))),
            at: [None; 5],
            map: [const { None }; 5],
            code: None,
            message: None,
            seen: m.seen.map_or(0, |_| status.bit()),
            is_final: m.is_final.then(|| status.is_final()),
            checks: m.checks.then_some(0),
            checked: None,
            note: None,
            place: String::new(),
        })
    }

    /// What an UPDATE by key has to have done, as far as the manual says so.
    pub fn updated(&self, t: usize, before: &BTreeMap<i32, snapshot::Row>, sets: &[Set]) -> Result<(), Failure> {
        let Some(m) = self.table(t) else { return Ok(()) };
        for (id, old) in before {
            let Some(new) = self.now.tables[t].get(id).filter(|new| new.key == old.key) else { continue };
            if let Some(wrong) = self.wrong_update(m, old, new, sets) {
                return fail("guard", format!("message {id} of {} after its UPDATE: {wrong}", m.name));
            }
        }
        Ok(())
    }

    fn wrong_update(&self, m: &Messages, old: &snapshot::Row, new: &snapshot::Row, sets: &[Set]) -> Option<String> {
        let events = self.now.events(new.key.as_ref());
        let mut error = (old.code.clone(), old.message.clone());
        for set in sets {
            match set {
                Set::Note(note) if new.note.as_ref() != Some(note) => {
                    return Some("the rest of the UPDATE did not go through".to_owned());
                }
                Set::Status(s) => {
                    if m.seen.is_some() && new.seen & s.bit() == 0 {
                        return Some(format!("the bit of {} is not set", s.label()));
                    }
                    if old.status.is_some() && new.status.is_none_or(|n| m.policy.rank(n) < m.policy.rank(*s)) {
                        return Some(format!("{} was not taken", s.label()));
                    }
                    if let Some(i) =
                        (0..5).find(|i| s.vouches(*i) && m.milestones[*i].is_some() && new.at[*i].is_none())
                    {
                        return Some(format!("{} is not set", crate::words::MILESTONES[i]));
                    }
                }
                Set::Milestone(i, Some(t)) => {
                    if let Some(column) = m.milestones[*i]
                        && new.at[*i].is_none_or(|n| n > column.round(*t))
                    {
                        return Some(format!("{} was not taken", crate::words::MILESTONES[*i]));
                    }
                }
                Set::Code(code) if m.error_code.is_some() => error.0 = fault(m, code.as_ref(), None).and_then(|f| f.0),
                Set::Message(text) if m.error_message.is_some() => {
                    error.1 = fault(m, None, text.as_ref()).and_then(|f| f.1);
                }
                _ => {}
            }
        }
        if !sets.iter().any(|s| matches!(s, Set::Status(_) | Set::StatusAt(_))) && new.status != old.status {
            return Some("the status changed".to_owned());
        }
        if error == (None, None) {
            error = (old.code.clone(), old.message.clone());
        }
        if carries(m, events, &error) {
            error = model::log_fault(m, events, self.now.now())?;
        }
        let is = (new.code.clone(), new.message.clone());
        // Where it had no error and sets none, the log's is taken; the row is compared with that elsewhere.
        (error != (None, None) && error != is).then(|| format!("the error is {is:?}, must be {error:?}"))
    }

    /// The invariants.
    pub fn check(&mut self, n: usize) -> Result<(), Failure> {
        let schema = self.schema();
        self.look()?;
        for (t, m) in schema.messages.iter().enumerate() {
            self.server.verify(&m.name)?;
            self.unmatched(t, m)?;
        }
        let before = self.places();
        let settled = self.server.ask_number("SELECT msgstatus.settle(NULL)")?;
        self.look()?;
        if settled != 0 || before != self.places() {
            return fail("settle", format!("settle gave {settled} where nothing was to do, or wrote"));
        }
        if self.case.kind == crate::random::Kind::Times && !self.in_block() {
            self.server.long_ago()?;
        }
        self.server.counts.checks += 1;
        self.repeat(n)
    }

    fn unmatched(&mut self, t: usize, m: &Messages) -> Result<(), Failure> {
        let schema = self.schema();
        let mut is: BTreeMap<String, usize> = BTreeMap::new();
        for key in self.server.texts(&format!("SELECT message_key::text FROM msgstatus.unmatched('{}')", m.name))? {
            *is.entry(schema.normal(&key)).or_default() += 1;
        }
        let wanted: BTreeMap<String, usize> = (self.now.log.iter())
            .filter(|(key, _)| !self.now.has_key(t, key))
            .map(|(key, events)| (key.clone(), events.len()))
            .collect();
        if is == wanted {
            return Ok(());
        }
        fail("unmatched", format!("unmatched('{}') lists {is:?}, must list {wanted:?}", m.name))
    }
}
