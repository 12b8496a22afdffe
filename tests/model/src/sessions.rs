//! Several sessions at once, interleaved as it happens: callbacks, the messages that they belong to, DDL beside, and
//! statements that are cut short. Each message is inserted by one session, and nothing is written directly, so that
//! the end does not depend on who came first.

use crate::model::{difference, join};
use crate::random::{Case, Kind};
use crate::run::Runner;
use crate::schema::Messages;
use crate::server::{Failure, Server, as_script, execute, fail};
use crate::snapshot::{self, Row};
use crate::work::{self, Callback, Ddl, How, Key, NewMessage, Statement};
use crate::worker::Worker;
use fastrand::Rng;
use postgres::{Client, NoTls};
use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What may happen to the statements of a case.
#[derive(Clone, Copy)]
struct Terms {
    /// Every transaction is one statement.
    single: bool,
    cancels: bool,
    ddl: bool,
}

impl Terms {
    /// Whether statements may deadlock: transactions of several can meet in different orders, and where a log feeds two
    /// tables, the last look of one may wait for a message of the first while it holds some of the second.
    fn may_deadlock(self, case: &Case) -> bool {
        !self.single || case.schema.messages.len() > 1
    }
}

/// What one session does, transaction by transaction, and in which isolation level each.
type Plan = Vec<(Vec<Statement>, bool)>;

type Outcome = Result<(), Failure>;

/// A message that a session may insert: of which table, and what.
type New = (usize, NewMessage);

pub fn run(server: &mut Server, case: &Case) -> Outcome {
    let mut rng = Rng::with_seed(case.seed ^ 0x5e55);
    let terms =
        Terms { single: case.kind == Kind::Moves || rng.bool(), cancels: rng.u8(..4) == 0, ddl: rng.u8(..3) == 0 };
    let (plans, bases) =
        if case.kind == Kind::Moves { moves(server, case, &mut rng)? } else { plans(server, case, &mut rng, terms)? };
    let (outcomes, mut scripts) = together(server, case, &plans, terms, &mut rng)?;
    scripts.insert(0, server.script());
    for script in &scripts[1..] {
        server.note(script);
    }
    server.counts.together += plans.iter().flatten().map(|(s, _)| s.len() as u64).sum::<u64>();
    for outcome in outcomes {
        outcome?;
    }
    finish_prepared(server)?;
    compare(server, case, &bases)
}

/// Mostly plain messages, whose rows are known without their log.
fn new_message(rng: &mut Rng, id: i32, n: u8) -> NewMessage {
    NewMessage {
        id,
        key: Some(Key { n, other: false }),
        status: Some(crate::words::Status([0, 2, 4][rng.usize(..3)])),
        status_at: Some(crate::time::Time::tenths(rng.i64(0..30))),
        created_at: crate::time::Time::tenths(rng.i64(0..600)),
        sets: vec![],
    }
}

fn plans(server: &mut Server, case: &Case, rng: &mut Rng, terms: Terms) -> Result<(Vec<Plan>, Vec<New>), Failure> {
    let schema = &case.schema;
    let sessions = rng.usize(2..=4);
    let mut given: Vec<Vec<New>> = vec![vec![]; sessions];
    let mut bases = Vec::new();
    let mut id = 0;
    let mut worker_rng = Rng::with_seed(rng.u64(..));
    let keys = Worker::new(&mut worker_rng, case.kind, schema).keys;
    for (t, m) in schema.messages.iter().enumerate() {
        for n in 1..=keys {
            id += 1;
            let message = new_message(rng, id, n);
            bases.push((t, message.clone()));
            match rng.u8(..10) {
                0..4 => server.send(&work::messages(schema, m, &[message], How::Values))?,
                4..9 => given[rng.usize(..sessions)].push((t, message)),
                _ => {}
            }
        }
    }
    let mut all = Vec::new();
    for (session, given) in given.into_iter().enumerate() {
        let mut worker = Worker::new(&mut worker_rng, case.kind, schema);
        worker.keys = keys;
        all.push(plan(&mut worker, case, given, session, terms, server.prepares));
    }
    Ok((all, bases))
}

fn plan(worker: &mut Worker, case: &Case, mut given: Vec<New>, session: usize, terms: Terms, prepares: bool) -> Plan {
    let schema = &case.schema;
    let mut plan = Plan::new();
    let units = worker.rng.usize(8..25);
    for unit in 0..units {
        let mut unit_work = Vec::new();
        let statements = if terms.single { 1 } else { worker.rng.usize(1..4) };
        for n in 0..statements {
            if !given.is_empty() && worker.rng.usize(..units) < given.len() * 2 {
                let (t, message) = given.remove(0);
                unit_work.push(work::messages(schema, &schema.messages[t], &[message], How::Values));
                continue;
            }
            // The client that we use loses its way when a COPY is cancelled.
            let ways = if terms.cancels { 3 } else { 4 };
            let how = [How::Values, How::Values, How::Select, How::Copy][worker.rng.usize(..ways)];
            let rows: Vec<Callback> = worker.callbacks(6).into_iter().collect();
            if !terms.single && worker.rng.u8(..6) == 0 {
                unit_work.push(Statement::Sql(format!("SAVEPOINT a{n}")));
                unit_work.extend(work::callbacks(schema, &rows, how));
                unit_work.push(Statement::Sql(format!("ROLLBACK TO a{n}")));
            } else {
                unit_work.extend(work::callbacks(schema, &rows, how));
            }
        }
        let mut repeatable = false;
        if !terms.single {
            repeatable = worker.rng.u8(..10) == 0;
            let level = if repeatable { " ISOLATION LEVEL REPEATABLE READ" } else { "" };
            unit_work.insert(0, Statement::Sql(format!("BEGIN{level}")));
            let gid = format!("model-{session}-{unit}");
            match worker.rng.u8(..10) {
                0 => unit_work.push(Statement::Sql("ROLLBACK".to_owned())),
                1 if prepares => {
                    let end = if worker.rng.bool() { "COMMIT" } else { "ROLLBACK" };
                    unit_work.push(Statement::Sql(format!("PREPARE TRANSACTION '{gid}'")));
                    unit_work.push(Statement::Sql(format!("{end} PREPARED '{gid}'")));
                }
                _ => unit_work.push(Statement::Sql("COMMIT".to_owned())),
            }
        }
        plan.push((unit_work, repeatable));
    }
    plan
}

/// Messages that reach their outcome by the callbacks of three sessions at the same moment.
fn moves(server: &mut Server, case: &Case, rng: &mut Rng) -> Result<(Vec<Plan>, Vec<New>), Failure> {
    let schema = &case.schema;
    let keys = 100;
    let mut bases = Vec::new();
    for n in 1..=keys {
        bases.push((0, new_message(rng, i32::from(n), n)));
    }
    let rows: Vec<NewMessage> = bases.iter().map(|(_, m)| m.clone()).collect();
    server.send(&work::messages(schema, &schema.messages[0], &rows, How::Values))?;
    let mut all = Vec::new();
    for _ in 0..3 {
        let mut plan = Plan::new();
        let mut worker = Worker::new(rng, case.kind, schema);
        for n in 1..=keys {
            let word = ["delivered", "failed", "sent", "read"][worker.rng.usize(..4)].to_owned();
            let callback = Callback {
                key: Some(Key { n, other: false }),
                word: Some(word),
                provider: Some("twilio".to_owned()),
                ..worker.callback()
            };
            plan.push((work::callbacks(schema, &[callback], How::Values), false));
        }
        all.push(plan);
    }
    Ok((all, bases))
}

/// Runs the plans at the same time, and gives what became of each, and its script.
fn together(
    server: &Server,
    case: &Case,
    plans: &[Plan],
    terms: Terms,
    rng: &mut Rng,
) -> Result<(Vec<Outcome>, Vec<String>), Failure> {
    let mut clients = Vec::new();
    for _ in plans {
        clients.push(server.another()?);
    }
    let tokens: Vec<_> = clients.iter().map(Client::cancel_token).collect();
    let mut beside = server.another()?;
    let deadlocks = terms.may_deadlock(case);
    let barrier = Barrier::new(plans.len());
    let working = AtomicBool::new(true);
    let mut rng = Rng::with_seed(rng.u64(..));
    let done: Vec<(Outcome, String)> = std::thread::scope(|scope| {
        let threads: Vec<_> = plans
            .iter()
            .zip(clients)
            .map(|(plan, client)| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    session(client, plan, terms, deadlocks)
                })
            })
            .collect();
        let working = &working;
        if terms.cancels || terms.ddl && case.kind != Kind::Moves {
            scope.spawn(move || {
                while working.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(rng.u64(1..8)));
                    if terms.cancels && case.kind != Kind::Moves {
                        // If it does not reach the server, nothing is cancelled.
                        let _ = tokens[rng.usize(..tokens.len())].cancel_query(NoTls);
                    }
                    if terms.ddl && case.kind != Kind::Moves {
                        let all = [Ddl::AddColumn, Ddl::AddColumn, Ddl::Analyze, Ddl::Vacuum, Ddl::Reindex];
                        let what = work::ddl(&case.schema.messages[0], all[rng.usize(..5)], 0);
                        for sql in what.split("; ") {
                            // It may lose against the others; it is they who must not.
                            let _ = beside.batch_execute(sql);
                        }
                    }
                }
            });
        }
        let done = threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|_| (fail("tester", "a session panicked".to_owned()), String::new())))
            .collect();
        working.store(false, Ordering::Relaxed);
        done
    });
    let mut outcomes = Vec::new();
    let mut scripts = Vec::new();
    for (n, (outcome, script)) in done.into_iter().enumerate() {
        outcomes.push(outcome);
        scripts.push(format!("-- session {}, at the same time as the others:\n{script}", n + 1));
    }
    Ok((outcomes, scripts))
}

/// One session's work. An error that may be ends its transaction only.
fn session(mut client: Client, plan: &Plan, terms: Terms, deadlocks: bool) -> (Outcome, String) {
    let mut script = String::new();
    for (unit, repeatable) in plan {
        for statement in unit {
            script.push_str(&as_script(statement));
            script.push('\n');
            let Err(error) = execute(&mut client, statement) else { continue };
            let allowed = match error.sqlstate.as_deref() {
                Some("57014") => terms.cancels,
                // DDL takes the tables in an order of its own.
                Some("40P01") => deadlocks || error.text.contains("AccessExclusiveLock"),
                Some("40001") => *repeatable,
                _ => false,
            };
            if !allowed {
                let text = format!(
                    "in {} sessions at once: {}",
                    if terms.single { "single statements of" } else { "transactions of" },
                    error.text
                );
                return (Err(Failure { text, ..error }), script);
            }
            script.push_str(&format!("-- (error {}, as may be)\n", error.sqlstate.unwrap_or_default()));
            while client.batch_execute("ROLLBACK").is_err() && !client.is_closed() {}
            break;
        }
    }
    (Ok(()), script)
}

/// What a cancel left prepared.
fn finish_prepared(server: &mut Server) -> Result<(), Failure> {
    for gid in server.texts("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")? {
        server.sql(&format!("COMMIT PREPARED '{gid}'"))?;
    }
    Ok(())
}

fn base(case: &Case, m: &Messages, new: &NewMessage) -> Row {
    let schema = &case.schema;
    Row {
        key: new.key.map(|k| schema.normal(&work::key(schema, k))),
        status: new.status,
        status_at: m.status_at.and_then(|column| Some(column.round(new.status_at?))),
        at: [None; 5],
        map: [const { None }; 5],
        code: None,
        message: None,
        seen: if m.seen.is_some() { new.status.map_or(0, |s| s.bit()) } else { 0 },
        is_final: m.is_final.then(|| new.status.is_some_and(|s| s.is_final())),
        checks: None,
        checked: None,
        note: None,
        place: String::new(),
    }
}

fn compare(server: &mut Server, case: &Case, bases: &[New]) -> Result<(), Failure> {
    let now = snapshot::read(&mut server.client, &case.schema)?;
    let known: BTreeMap<(usize, i32), &NewMessage> = bases.iter().map(|(t, new)| ((*t, new.id), new)).collect();
    for (t, m) in case.schema.messages.iter().enumerate() {
        for (id, row) in &now.tables[t] {
            let Some(new) = known.get(&(t, *id)) else { return fail("row", format!("message {id} appeared")) };
            let events = now.events(row.key.as_ref());
            let mut wanted = join(m, &base(case, m, new), events, now.now());
            // Which answers found their message there depends on who came first.
            wanted.checks = row.checks;
            let polls = if case.schema.log.source { now.polls(row.key.as_ref()) } else { 0 };
            if row.checks.is_some_and(|n| n > polls) {
                return fail("row", format!("message {id} of {}: {:?} checks of {polls}", m.name, row.checks));
            }
            if let Some(difference) = difference(m, &wanted, row) {
                let key = row.key.as_deref().unwrap_or("NULL");
                return fail("row", format!("message {id} ({key}) of {}: {difference}", m.name));
            }
        }
    }
    let mut runner = Runner::new(server, case);
    runner.now = now;
    runner.check(0)
}
