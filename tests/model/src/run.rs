//! Runs a case in one session (and, where two have to cross, a second one), and compares with the model as it goes.
//!
//! The model needs no books of its own about transactions: the log and the rows are read as the session sees them, and
//! each row must be what the rule makes of the row before and of all of its log. What a rollback leaves is compared
//! with what was read when the transaction, or the savepoint, began.

use crate::model::{self, difference, join};
use crate::random::Case;
use crate::schema::{Messages, Schema};
use crate::server::{Failure, Server, fail};
use crate::snapshot::{self, Snapshot};
use crate::work::{self, Callback, Ddl, Key, NewMessage, Op, Set, Statement};
use std::collections::{BTreeMap, BTreeSet};

pub struct Runner<'a> {
    pub server: &'a mut Server,
    pub case: &'a Case,
    /// What the tables held when we last looked.
    pub now: Snapshot,
    /// What they held when the transaction began, and each of its savepoints.
    stack: Vec<Snapshot>,
    /// Rows that were written directly since we last looked: table and id.
    pub touched: BTreeSet<(usize, i32)>,
    /// Those of them that are perhaps not the same message any more.
    pub replaced: BTreeSet<(usize, i32)>,
    /// Messages inserted since we last looked, of which we know what they are without their log.
    pub plain: Vec<(usize, NewMessage)>,
}

/// Errors that a direct write of messages may meet: a key that is there already.
const TAKEN: &[&str] = &["23505"];

impl<'a> Runner<'a> {
    pub fn new(server: &'a mut Server, case: &'a Case) -> Runner<'a> {
        Runner {
            server,
            case,
            now: Snapshot::default(),
            stack: Vec::new(),
            touched: BTreeSet::new(),
            replaced: BTreeSet::new(),
            plain: Vec::new(),
        }
    }

    pub fn schema(&self) -> &'a Schema {
        &self.case.schema
    }

    pub fn table(&self, table: usize) -> Option<&'a Messages> {
        self.case.schema.messages.get(table)
    }

    /// Whether each statement is in a transaction block. Where an event has the time of its transaction, we have to
    /// look before that one is over.
    fn blocks(&self) -> bool {
        self.case.setting.blocks || self.case.schema.may_lack_times()
    }

    pub fn in_block(&self) -> bool {
        !self.stack.is_empty()
    }

    pub fn run(&mut self) -> Result<(), Failure> {
        let schema = self.schema();
        self.now = snapshot::read(&mut self.server.client, schema)?;
        for (n, op) in self.case.work.iter().enumerate() {
            self.op(n, op)?;
            self.server.counts.operations += 1;
        }
        if self.in_block() {
            self.op(0, &Op::Commit)?;
        }
        self.check(self.case.work.len())
    }

    fn op(&mut self, n: usize, op: &Op) -> Result<(), Failure> {
        let schema = self.schema();
        match op {
            Op::Callbacks(rows, how) => {
                let allowed: &[&str] = if *how == work::How::Failing { &["22012"] } else { &[] };
                self.write(work::callbacks(schema, rows, *how), allowed)
            }
            Op::Apply(table, callback) => self.apply(*table, callback),
            Op::Messages(table, rows, how) => self.messages(*table, rows, *how),
            Op::Upsert(table, row, sets) => self.upsert(*table, row, sets),
            Op::Update(table, key, sets) => {
                let Some(m) = self.table(*table) else { return Ok(()) };
                let Some(list) = work::set_list(schema, m, sets) else { return Ok(()) };
                let text = work::key(schema, *key);
                let before = self.touch(*table, &text, false)?;
                let sql = format!("UPDATE {} SET {list} WHERE k = {}", m.name, work::quoted(&text));
                self.write(vec![Statement::Sql(sql)], TAKEN)?;
                if self.case.setting.each { self.updated(*table, &before, sets) } else { Ok(()) }
            }
            Op::Rekey(table, id, sets) => {
                let Some(m) = self.table(*table) else { return Ok(()) };
                let Some(list) = work::set_list(schema, m, sets) else { return Ok(()) };
                if Schema::loosely_unique(m) {
                    self.look()?;
                    let to = sets.iter().find_map(|s| if let Set::Key(k) = s { *k } else { None });
                    if to.is_some_and(|k| self.now.has_key(*table, &schema.normal(&work::key(schema, k)))) {
                        return Ok(());
                    }
                }
                self.touched.insert((*table, *id));
                self.replaced.insert((*table, *id));
                self.write(vec![Statement::Sql(format!("UPDATE {} SET {list} WHERE id = {id}", m.name))], TAKEN)
            }
            Op::Delete(table, key) => {
                let Some(m) = self.table(*table) else { return Ok(()) };
                let text = work::key(schema, *key);
                self.touch(*table, &text, true)?;
                let sql = format!("DELETE FROM {} WHERE k = {}", m.name, work::quoted(&text));
                self.write(vec![Statement::Sql(sql)], &[])
            }
            Op::Forget(key) => {
                // What is equal for one table and not for the other can't be forgotten as a whole.
                if schema.collation != schema.log_collation {
                    return Ok(());
                }
                let text = work::key(schema, *key);
                self.look()?;
                for table in 0..schema.messages.len() {
                    self.mark(table, &text, false);
                }
                self.write(vec![Statement::Sql(format!("DELETE FROM l WHERE k = {}", work::quoted(&text)))], &[])
            }
            Op::Begin if !self.in_block() => self.begin(),
            Op::Commit if self.in_block() => self.commit(&["COMMIT"]),
            Op::Prepared(true) if self.in_block() && self.server.prepares => {
                self.commit(&["PREPARE TRANSACTION 'model'", "COMMIT PREPARED 'model'"])
            }
            Op::Prepared(false) if self.in_block() && self.server.prepares => {
                self.sql("PREPARE TRANSACTION 'model'")?;
                self.roll_back("ROLLBACK PREPARED 'model'")
            }
            Op::Prepared(commit) if self.in_block() => self.op(n, if *commit { &Op::Commit } else { &Op::Rollback }),
            Op::Rollback if self.in_block() => self.roll_back("ROLLBACK"),
            Op::Savepoint if self.in_block() => {
                self.look()?;
                self.sql(&format!("SAVEPOINT s{}", self.stack.len()))?;
                self.stack.push(self.now.clone());
                Ok(())
            }
            Op::RollbackTo if self.stack.len() > 1 => self.roll_back_to_savepoint(),
            Op::Release if self.stack.len() > 1 => {
                self.stack.pop();
                self.sql(&format!("RELEASE s{}", self.stack.len()))
            }
            Op::Unseen(rows, replica) if !self.in_block() => self.unseen(rows, *replica),
            Op::Hurried(rows) => self.hurried(rows),
            Op::Repeat(n) => self.repeat(*n),
            Op::Crossed(table, callbacks, messages, first) if !self.in_block() => {
                self.crossed(*table, callbacks, messages, *first)
            }
            Op::Ddl(table, what) => {
                let Some(m) = self.table(*table) else { return Ok(()) };
                if self.in_block() && matches!(what, Ddl::Vacuum | Ddl::VacuumFull | Ddl::Reindex) {
                    return Ok(());
                }
                for part in work::ddl(m, *what, n).split("; ") {
                    self.sql(part)?;
                }
                self.look()
            }
            Op::Check => self.check(n),
            // What does not fit where we are, because something before it was left out.
            _ => Ok(()),
        }
    }

    /// A statement that has no reason to fail.
    fn sql(&mut self, sql: &str) -> Result<(), Failure> {
        self.server.sql(sql)
    }

    fn begin(&mut self) -> Result<(), Failure> {
        self.look()?;
        self.sql("BEGIN")?;
        self.stack.push(self.now.clone());
        Ok(())
    }

    fn commit(&mut self, how: &[&str]) -> Result<(), Failure> {
        // Before it, too: what has no time of its own has that of this transaction.
        self.look()?;
        self.stack.clear();
        for sql in how {
            self.sql(sql)?;
        }
        self.look()
    }

    fn roll_back(&mut self, how: &str) -> Result<(), Failure> {
        self.sql(how)?;
        self.now = self.stack.swap_remove(0);
        self.stack.clear();
        self.forget_writes();
        self.look()
    }

    fn roll_back_to_savepoint(&mut self) -> Result<(), Failure> {
        self.sql(&format!("ROLLBACK TO s{}", self.stack.len() - 1))?;
        if let Some(then) = self.stack.last() {
            self.now = then.clone();
        }
        self.forget_writes();
        self.look()
    }

    pub fn forget_writes(&mut self) {
        self.touched.clear();
        self.replaced.clear();
        self.plain.clear();
    }

    /// Statements that write. An error that is allowed undoes the transaction, or what came behind its savepoint.
    fn write(&mut self, statements: Vec<Statement>, allowed: &[&str]) -> Result<(), Failure> {
        let own_block = self.blocks() && !self.in_block();
        if own_block {
            // Without looking: what is marked is about to be written.
            self.sql("BEGIN")?;
            self.stack.push(self.now.clone());
        }
        for statement in &statements {
            if let Err(error) = self.server.send(statement) {
                if !error.sqlstate.as_deref().is_some_and(|code| allowed.contains(&code)) {
                    return Err(error);
                }
                self.server.note(&format!("-- (error {}, as may be)", error.sqlstate.unwrap_or_default()));
                return self.recover();
            }
            if self.case.setting.each {
                self.look()?;
            }
        }
        match (own_block, self.in_block()) {
            (true, _) => self.commit(&["COMMIT"]),
            (false, false) => self.look(),
            (false, true) => Ok(()),
        }
    }

    fn recover(&mut self) -> Result<(), Failure> {
        match self.stack.len() {
            0 => {
                self.forget_writes();
                self.look()
            }
            1 => self.roll_back("ROLLBACK"),
            _ => self.roll_back_to_savepoint(),
        }
    }

    /// Looks, then marks the messages of a key as written directly, and gives them as they are.
    fn touch(&mut self, table: usize, key: &str, gone: bool) -> Result<BTreeMap<i32, snapshot::Row>, Failure> {
        self.look()?;
        Ok(self.mark(table, key, gone))
    }

    fn mark(&mut self, table: usize, key: &str, gone: bool) -> BTreeMap<i32, snapshot::Row> {
        let key = self.schema().normal(key);
        let ids = self.now.ids_of(table, &key);
        for id in &ids {
            self.touched.insert((table, *id));
            if gone {
                self.replaced.insert((table, *id));
            }
        }
        ids.into_iter().filter_map(|id| Some((id, self.now.tables[table].get(&id)?.clone()))).collect()
    }

    fn messages(&mut self, table: usize, rows: &[NewMessage], how: work::How) -> Result<(), Failure> {
        let schema = self.schema();
        let Some(m) = self.table(table) else { return Ok(()) };
        let mut rows = rows.to_vec();
        if rows.len() > 1 || Schema::loosely_unique(m) {
            self.look()?;
            rows = self.without_taken(table, rows);
        }
        let batches: Vec<Vec<NewMessage>> =
            if how == work::How::Single { rows.into_iter().map(|r| vec![r]).collect() } else { vec![rows] };
        for batch in batches.iter().filter(|b| !b.is_empty()) {
            self.inserted(table, batch);
            self.write(vec![work::messages(schema, m, batch, how)], TAKEN)?;
        }
        Ok(())
    }

    fn inserted(&mut self, table: usize, rows: &[NewMessage]) {
        for row in rows {
            self.touched.insert((table, row.id));
            self.replaced.insert((table, row.id));
            self.plain.push((table, row.clone()));
        }
    }

    /// Without those whose key another message has.
    fn without_taken(&self, table: usize, rows: Vec<NewMessage>) -> Vec<NewMessage> {
        let mut taken = BTreeSet::new();
        rows.into_iter()
            .filter(|row| match row.key {
                None => true,
                Some(key) => {
                    let key = self.schema().normal(&work::key(self.schema(), key));
                    !self.now.has_key(table, &key) && taken.insert(key)
                }
            })
            .collect()
    }

    fn upsert(&mut self, table: usize, row: &NewMessage, sets: &[Set]) -> Result<(), Failure> {
        let schema = self.schema();
        let Some(m) = self.table(table) else { return Ok(()) };
        let (Some(list), Some(key)) = (work::set_list(schema, m, sets), row.key) else { return Ok(()) };
        if Schema::loosely_unique(m) {
            return Ok(());
        }
        let Statement::Sql(insert) = work::messages(schema, m, std::slice::from_ref(row), work::How::Values) else {
            return Ok(());
        };
        self.touch(table, &work::key(schema, key), false)?;
        self.touched.insert((table, row.id));
        self.write(vec![Statement::Sql(format!("{insert} ON CONFLICT (k) DO UPDATE SET {list}"))], TAKEN)
    }

    fn apply(&mut self, table: usize, callback: &Callback) -> Result<(), Failure> {
        let Some(m) = self.table(table) else { return Ok(()) };
        let (Some(sql), Some(key)) = (work::apply(self.schema(), table, callback), callback.key) else { return Ok(()) };
        self.look()?;
        let own_block = self.blocks() && !self.in_block();
        if own_block {
            self.begin()?;
        }
        let verdict = match self.server.ask(&sql) {
            Ok(verdict) => verdict,
            // The log's column has the type, and takes no word that is none.
            Err(e) if self.schema().log.typed && e.sqlstate.as_deref() == Some("22P02") => return self.recover(),
            Err(e) => return Err(e),
        };
        let old = self.now.clone();
        self.look()?;
        self.verdict(table, m, callback, &self.schema().normal(&work::key(self.schema(), key)), &old, &verdict)?;
        if own_block { self.commit(&["COMMIT"]) } else { Ok(()) }
    }

    fn verdict(
        &self,
        table: usize,
        m: &Messages,
        callback: &Callback,
        key: &str,
        old: &Snapshot,
        is: &str,
    ) -> Result<(), Failure> {
        let provider = if self.schema().log.provider { callback.provider.as_deref() } else { None };
        let word = callback.word.as_deref().unwrap_or_default();
        let status = crate::words::parse(word, provider.unwrap_or(&self.schema().provider));
        let allowed = match (status, old.ids_of(table, key).first()) {
            (None, _) => vec!["unrecognized"],
            (_, None) => vec!["unmatched"],
            (Some(status), Some(id)) => {
                let (Some(before), Some(after)) = (old.tables[table].get(id), self.now.tables[table].get(id)) else {
                    return Ok(());
                };
                let events = old.log.get(key).map_or(&[][..], Vec::as_slice);
                model::verdicts(m, status, before, after, events)
            }
        };
        if allowed.contains(&is) {
            Ok(())
        } else {
            fail("verdict", format!("the verdict is {is}, must be {allowed:?}"))
        }
    }

    fn unseen(&mut self, rows: &[Callback], replica: bool) -> Result<(), Failure> {
        let schema = self.schema();
        // An answer that no trigger saw is not counted, and the engine does not say which it saw.
        let rows: Vec<Callback> = rows.iter().cloned().map(|c| Callback { poll: false, ..c }).collect();
        self.look()?;
        for key in rows.iter().filter_map(|c| c.key) {
            for table in 0..schema.messages.len() {
                self.mark(table, &work::key(schema, key), false);
            }
        }
        let insert = work::callbacks(schema, &rows, work::How::Values);
        if replica {
            self.sql("BEGIN")?;
            self.sql("SET LOCAL session_replication_role = replica")?;
        } else {
            self.sql("ALTER TABLE l DISABLE TRIGGER USER")?;
        }
        for statement in &insert {
            self.server.send(statement)?;
        }
        self.sql(if replica { "COMMIT" } else { "ALTER TABLE l ENABLE TRIGGER USER" })?;
        self.sql("BEGIN")?;
        let loaded = snapshot::read(&mut self.server.client, schema)?;
        let (mut wrong, mut unsure) = (0, 0);
        for (m, rows) in schema.messages.iter().zip(&loaded.tables) {
            for row in rows.values().filter(|row| !loaded.events(row.key.as_ref()).is_empty()) {
                let wanted = join(m, row, loaded.events(row.key.as_ref()), loaded.now());
                let behind = difference(m, &wanted, row).is_some();
                // How a map holds a time that it can't write, and whether it does already, only the engine knows.
                let strange = m.map && (0..5).any(|i| wanted.map[i].as_ref().is_some_and(|t| !is_ordinary(t)));
                (wrong, unsure) = (wrong + i64::from(behind), unsure + i64::from(strange && !behind));
            }
        }
        let settled = self.server.ask_number("SELECT msgstatus.settle(NULL)")?;
        self.sql("COMMIT")?;
        if !(wrong..=wrong + unsure).contains(&settled) {
            return fail("settle", format!("settle rewrote {settled} messages, {wrong} were behind their log"));
        }
        self.look()
    }

    fn hurried(&mut self, rows: &[Callback]) -> Result<(), Failure> {
        let local = if self.in_block() { " LOCAL" } else { "" };
        if self.blocks() && !self.in_block() {
            return Ok(());
        }
        self.look()?;
        self.sql(&format!("SET{local} statement_timeout = '{}ms'", 1 + rows.len() % 3))?;
        let mut cancelled = false;
        for statement in work::callbacks(self.schema(), rows, work::How::Values) {
            match self.server.send(&statement) {
                Err(e) if e.sqlstate.as_deref() == Some("57014") => cancelled = true,
                other => other?,
            }
        }
        if cancelled {
            self.server.counts.cancels += 1;
            if self.in_block() {
                self.recover()?;
            }
        }
        let local = if self.in_block() { " LOCAL" } else { "" };
        // The next statement may be cut short, too, as the time is set.
        while let Err(e) = self.sql(&format!("SET{local} statement_timeout = '20s'")) {
            if e.sqlstate.as_deref() != Some("57014") {
                return Err(e);
            }
            if self.in_block() {
                self.recover()?;
            }
        }
        self.look()
    }

    /// An exact copy of a log row writes nothing.
    pub fn repeat(&mut self, n: usize) -> Result<(), Failure> {
        if self.blocks() && !self.in_block() {
            self.begin()?;
            self.repeat(n)?;
            return self.commit(&["COMMIT"]);
        }
        self.look()?;
        let l = &self.schema().log;
        let id = if l.delivery_id { "delivery_id" } else { "row_id" };
        // An answer of the provider's counts each time that it comes.
        let of = if l.source { " WHERE source <> 'poll'" } else { "" };
        let rows = self.server.number(&format!("SELECT count(*) FROM l{of}"))?;
        if rows == 0 {
            return Ok(());
        }
        let before = self.places();
        let columns = work::log_columns(self.schema()).join(", ");
        let row = n as i64 % rows;
        let sql = format!("INSERT INTO l ({columns}) SELECT {columns} FROM l{of} ORDER BY {id} OFFSET {row} LIMIT 1");
        self.server.sql(&sql)?;
        self.look()?;
        if before == self.places() {
            Ok(())
        } else {
            fail("repeat", "an exact repetition of a log row wrote".to_owned())
        }
    }

    pub fn places(&self) -> Vec<BTreeMap<i32, String>> {
        self.now.tables.iter().map(|t| t.iter().map(|(id, row)| (*id, row.place.clone())).collect()).collect()
    }

    /// Two sessions that write a callback and its message, neither seeing the other's. Who commits last has to see it.
    fn crossed(
        &mut self,
        table: usize,
        callbacks: &[Callback],
        messages: &[NewMessage],
        callbacks_first: bool,
    ) -> Result<(), Failure> {
        let schema = self.schema();
        let Some(m) = self.table(table) else { return Ok(()) };
        self.look()?;
        // Only of messages that are not there, or the two would wait for each other.
        let absent =
            |key: Option<Key>| key.is_some_and(|k| !self.now.has_key(table, &schema.normal(&work::key(schema, k))));
        let callbacks: Vec<Callback> =
            callbacks.iter().filter(|c| absent(c.key)).cloned().map(|c| Callback { poll: false, ..c }).collect();
        let messages: Vec<NewMessage> =
            self.without_taken(table, messages.to_vec()).into_iter().filter(|row| absent(row.key)).collect();
        if callbacks.is_empty() || messages.is_empty() {
            return Ok(());
        }
        for key in callbacks.iter().filter_map(|c| c.key) {
            for other in (0..schema.messages.len()).filter(|other| *other != table) {
                self.mark(other, &work::key(schema, key), false);
            }
        }
        for row in &messages {
            self.touched.insert((table, row.id));
            self.replaced.insert((table, row.id));
        }
        let mut first = work::callbacks(schema, &callbacks, work::How::Values);
        let mut second = vec![work::messages(schema, m, &messages, work::How::Values)];
        if !callbacks_first {
            std::mem::swap(&mut first, &mut second);
        }
        self.sql("BEGIN")?;
        for statement in &first {
            self.server.send(statement)?;
        }
        for statement in &second {
            self.server.send_other(statement)?;
        }
        self.sql("COMMIT")?;
        self.server.counts.crossings += 1;
        self.look()
    }
}

fn is_ordinary(in_map: &Result<crate::time::Time, String>) -> bool {
    in_map.as_ref().is_ok_and(|t| t.is_ordinary())
}
