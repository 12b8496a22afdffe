//! Cases of a fixed shape and a random size: many callbacks in opposite orders, many of one message, and callbacks
//! beside DDL.

use crate::random::Case;
use crate::run::Runner;
use crate::schema::{KeyType, Parts};
use crate::server::{Failure, Server, as_script, execute, fail};
use crate::snapshot;
use crate::work::{self, Ddl, Statement};
use fastrand::Rng;
use postgres::Client;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The key of message g, in SQL.
fn key(case: &Case) -> &'static str {
    match case.schema.key {
        KeyType::Bigint => "g::bigint",
        KeyType::Numeric => "g::numeric",
        KeyType::Uuid => "('00000000-0000-0000-0000-' || lpad(g::text, 12, '0'))::uuid",
        KeyType::Text | KeyType::Varchar => "'SM' || g",
    }
}

/// Two sessions, each with one statement of many callbacks, in the order of the keys and against it.
pub fn opposite(server: &mut Server, case: &Case) -> Result<(), Failure> {
    let mut rng = Rng::with_seed(case.seed);
    let n = rng.usize(1000..5000);
    let key = key(case);
    for m in &case.schema.messages {
        let sql = format!(
            "INSERT INTO {} (id, k, status) SELECT g, {key}, 'accepted' FROM generate_series(1, {n}) g",
            m.name
        );
        server.sql(&sql)?;
    }
    let barrier = Barrier::new(2);
    for word in ["sent", "delivered", "read"] {
        let mut outcomes = Vec::new();
        let statements = ["", " DESC"].map(|order| {
            let at = if case.schema.log.event_at.is_some() { ", event_at" } else { "" };
            let value = if at.is_empty() { String::new() } else { format!(", '2026-06-16 10:00:0{}+00'::timestamptz", rng.u8(..9)) };
            Statement::Sql(format!(
                "INSERT INTO l (k, status{at}) SELECT {key}, '{word}'{value} FROM generate_series(1, {n}) g ORDER BY g{order}"
            ))
        });
        let clients = [server.another()?, server.another()?];
        server.note("-- two sessions at once:");
        for statement in &statements {
            server.note(&as_script(statement));
        }
        std::thread::scope(|scope| {
            let threads: Vec<_> = clients
                .into_iter()
                .zip(&statements)
                .map(|(mut client, statement)| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        execute(&mut client, statement)
                    })
                })
                .collect();
            for thread in threads {
                outcomes.push(thread.join().unwrap_or_else(|_| fail("tester", "a session panicked".to_owned())));
            }
        });
        server.counts.together += 2;
        for outcome in outcomes {
            outcome?;
        }
    }
    let now = snapshot::read(&mut server.client, &case.schema)?;
    let mut runner = Runner::new(server, case);
    runner.now = now;
    runner.check(0)
}

/// The time that so many callbacks of one message take, one by one.
fn one_by_one(client: &mut Client, key: &str, rows: &[String], columns: &str) -> Result<Duration, Failure> {
    let began = Instant::now();
    for (n, row) in rows.iter().enumerate() {
        client.batch_execute(&format!("INSERT INTO l (k, {columns}) VALUES ({key}, {row})"))?;
        if began.elapsed() > Duration::from_secs(20) {
            return fail("slow", format!("{n} callbacks of one message took 20 s, and the last ones ever longer"));
        }
    }
    Ok(began.elapsed())
}

/// Callbacks of one message of which each has to ask the log: twice as many must not take four times as long.
pub fn long(server: &mut Server, case: &Case) -> Result<(), Failure> {
    let mut rng = Rng::with_seed(case.seed);
    let (few, many) = (2000, 4000);
    // What the log is asked about: which of two outcomes came first, or which of many errors.
    let outcomes = ["('delivered','failed')", "('failed','failed')"][rng.usize(..2)] == "('delivered','failed')";
    let ascending = rng.bool();
    let columns = "status, error_code, event_at";
    let rows = |n: usize, rng: &mut Rng| -> Vec<String> {
        (0..n)
            .map(|i| {
                let at = if ascending { i } else { rng.usize(..100_000) };
                let word = if outcomes && i % 2 == 0 { "delivered" } else { "failed" };
                format!("'{word}', '{}', timestamptz '2026-06-16 10:00:00+00' + {at} * interval '1 second'", 30_000 + i)
            })
            .collect()
    };
    let mut ratio = 0.0;
    let mut times = (Duration::ZERO, Duration::ZERO);
    // A busy machine may be slow once.
    for attempt in 0..2 {
        let g = attempt * 2;
        for id in [g + 1, g + 2] {
            server.sql(&format!(
                "INSERT INTO m1 (id, k, status) SELECT g, {}, 'queued' FROM (VALUES ({id})) v (g)",
                key(case)
            ))?;
        }
        let of = |g: i32| {
            key(case)
                .replace("lpad(g::text", &format!("lpad({g}::text"))
                .replace("|| g", &format!("|| {g}"))
                .replace("g::", &format!("{g}::"))
        };
        server.note(&format!("-- {few} INSERTs for one key, then {many} for another, such as"));
        let (first, second) = (rows(few, &mut rng), rows(many, &mut rng));
        server.note(&format!("INSERT INTO l (k, {columns}) VALUES ({}, {});", of(g + 1), first[0]));
        times.0 = one_by_one(&mut server.client, &of(g + 1), &first, columns)?;
        times.1 = one_by_one(&mut server.client, &of(g + 2), &second, columns)?;
        ratio = times.1.as_secs_f64() / times.0.as_secs_f64();
        if ratio <= 3.0 || times.1 < Duration::from_millis(700) {
            let now = snapshot::read(&mut server.client, &case.schema)?;
            let mut runner = Runner::new(server, case);
            runner.now = now;
            return runner.check(0);
        }
    }
    fail(
        "slow",
        format!(
            "{many} callbacks of one message took {:.1} s, {few} of them {:.1} s: {ratio:.1} times",
            times.1.as_secs_f32(),
            times.0.as_secs_f32()
        ),
    )
}

/// Callbacks without a message and pairs that cross, in a session that stays, while others change the tables' statistics
/// and columns, so that plans are made anew all the time.
pub fn beside(server: &mut Server, case: &Case) -> Result<(), Failure> {
    let mut rng = Rng::with_seed(case.seed);
    let (m, key) = (&case.schema.messages[0], key(case));
    let of = |g: i32| format!("(SELECT {key} FROM (VALUES ({g})) v (g))");
    server.sql(&format!("INSERT INTO m1 (id, k, status) SELECT g, {key}, 'read' FROM generate_series(1, 20) g"))?;
    let mut ddl = server.another()?;
    // ALTER TABLE waits for the one session, and the other behind it: there nothing can cross in one thread.
    let alter = m.parts == Parts::Whole && rng.bool();
    let newest = if m.parts == Parts::Created { "m1_new" } else { "m1" };
    let all = if alter { work::ddl(m, Ddl::AddColumn, 0) } else { format!("VACUUM ANALYZE {newest}") };
    server.note(&format!("-- in another session, over and over: {all};"));
    let working = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let working = &working;
        scope.spawn(move || {
            while working.load(Ordering::Relaxed) {
                for sql in all.split("; ") {
                    let _ = ddl.batch_execute(sql);
                }
                std::thread::sleep(Duration::from_millis(if alter { 10 } else { 1 }));
            }
        });
        let outcome = pairs(server, &of, &mut rng, !alter);
        working.store(false, Ordering::Relaxed);
        outcome
    })?;
    let now = snapshot::read(&mut server.client, &case.schema)?;
    let mut runner = Runner::new(server, case);
    runner.now = now;
    runner.check(0)
}

fn pairs(server: &mut Server, of: &impl Fn(i32) -> String, rng: &mut Rng, cross: bool) -> Result<(), Failure> {
    let until = Instant::now() + Duration::from_millis(1500);
    let mut n = 1000;
    while Instant::now() < until {
        n += 1;
        let callback = Statement::Sql(format!("INSERT INTO l (k, status) VALUES ({}, 'delivered')", of(n)));
        let message = Statement::Sql(format!("INSERT INTO m1 (id, k, status) VALUES ({n}, {}, 'queued')", of(n)));
        if cross && rng.u8(..10) == 0 {
            server.sql("BEGIN")?;
            server.send(&callback)?;
            server.send_other(&message)?;
            server.sql("COMMIT")?;
            server.counts.crossings += 1;
            continue;
        }
        let text = format!("SELECT msgstatus.apply_status({}::text, 'sent', messages => 'm1')::text", of(n));
        let verdict = server.ask(&text)?;
        if verdict != "unmatched" {
            return fail("verdict", format!("the verdict is {verdict}, must be unmatched, at the {}th", n - 1000));
        }
    }
    Ok(())
}
