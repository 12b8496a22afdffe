//! usage: msgstatus-model --url CONNSTRING --seconds N [--seed S] [--cases N] [--only KIND] [--errors no]
//!
//! Makes random schemas and random work, and compares what the extension makes of it with a second writing of the
//! rule. What differs is made smaller, and printed as SQL. The last line says how many cases passed and failed.

mod compare;
mod model;
mod random;
mod run;
mod schema;
mod server;
mod sessions;
mod setup;
mod shapes;
mod shrink;
mod snapshot;
mod time;
mod words;
mod work;
mod worker;

use random::{Case, KINDS, Kind};
use run::Runner;
use server::{Failure, Server};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: msgstatus-model --url CONNSTRING --seconds N [--seed S] [--cases N] [--only KIND] [--errors no] [--shrink N]";

struct Options {
    url: String,
    seconds: u64,
    seed: u64,
    cases: u64,
    only: Option<Kind>,
    /// Whether messages may have columns for errors.
    errors: bool,
    /// How many seconds a failing case may be made smaller.
    shrink: u64,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let mut all = Options {
        url: String::new(),
        seconds: 60,
        seed: fastrand::u64(..1_000_000_000),
        cases: u64::MAX,
        only: None,
        errors: true,
        shrink: 20,
    };
    while let Some(argument) = arguments.next() {
        let value = arguments.next()?;
        match argument.as_str() {
            "--url" => all.url = value,
            "--seconds" => all.seconds = value.parse().ok()?,
            "--seed" => all.seed = value.parse().ok()?,
            "--cases" => all.cases = value.parse().ok()?,
            "--only" => all.only = Some(KINDS.iter().find(|(_, name, _)| *name == value)?.0),
            "--shrink" => all.shrink = value.parse().ok()?,
            "--errors" => all.errors = value != "no",
            _ => return None,
        }
    }
    (!all.url.is_empty()).then_some(all)
}

/// Runs a case in a schema of its own. Ok(false): attach refused it, as it may.
fn run(server: &mut Server, case: &Case) -> Result<bool, Failure> {
    server.clear(case)?;
    if !setup::set_up(server, case)? {
        return Ok(false);
    }
    match case.kind {
        Kind::Sessions | Kind::Moves => sessions::run(server, case)?,
        Kind::Beside => shapes::beside(server, case)?,
        Kind::Opposite => shapes::opposite(server, case)?,
        Kind::Long => shapes::long(server, case)?,
        _ => Runner::new(server, case).run()?,
    }
    Ok(true)
}

/// Prints a failure as small as it can be made in the time.
fn report(server: &mut Server, case: Case, failure: &Failure, seconds: u64) {
    let (kind, seed) = (case.kind, case.seed);
    let threads = matches!(kind, Kind::Sessions | Kind::Beside | Kind::Moves | Kind::Opposite | Kind::Long);
    let mut small = case;
    if !threads {
        let until = Instant::now() + Duration::from_secs(seconds);
        small = shrink::shrink(small, until, |c| run(server, c).is_err_and(|f| f.kind == failure.kind));
    }
    // Once more, for its script. Threads may do better this time, and have told their story already.
    let (last, script) = if threads { (None, server.script()) } else { (run(server, &small).err(), server.script()) };
    println!("-- {}", last.as_ref().unwrap_or(failure).text);
    println!("-- again: --seed {seed} --only {} --cases 1", name_of(kind));
    println!("{script}\n");
}

fn name_of(kind: Kind) -> &'static str {
    KINDS.iter().find(|(k, _, _)| *k == kind).map_or("", |(_, name, _)| name)
}

fn main() -> ExitCode {
    let Some(options) = options(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut server = match Server::new(&options.url) {
        Ok(server) => server,
        Err(e) => {
            eprintln!("msgstatus-model: {}", e.text);
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    println!("seed {}", options.seed);
    let (mut passed, mut failed) = (0, 0);
    let mut by_kind: BTreeMap<&str, u64> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for n in 0..options.cases {
        if began.elapsed() >= Duration::from_secs(options.seconds) {
            break;
        }
        let case = random::case(options.seed.wrapping_add(n), options.only, server.icu, options.errors);
        // Once is enough of what takes seconds.
        let slow = matches!(case.kind, Kind::Long | Kind::Beside | Kind::Opposite);
        if slow && options.only.is_none() && by_kind.contains_key(name_of(case.kind)) {
            continue;
        }
        *by_kind.entry(name_of(case.kind)).or_default() += 1;
        match run(&mut server, &case) {
            Ok(ran) => {
                passed += 1;
                server.counts.refused += u64::from(!ran);
            }
            Err(failure) => {
                failed += 1;
                println!(
                    "FAIL  case {} ({} of its kind), after {:.1} s: {}: {}",
                    n + 1,
                    by_kind[name_of(case.kind)],
                    began.elapsed().as_secs_f32(),
                    failure.kind,
                    failure.text
                );
                if server.is_gone() {
                    println!("The server, or the database, is gone.");
                    break;
                }
                // The same over and over tells nothing new.
                if told.len() < 5 && told.insert((name_of(case.kind), failure.kind.clone())) {
                    report(&mut server, case, &failure, options.shrink);
                } else {
                    println!("      --seed {} --only {} --cases 1", case.seed, name_of(case.kind));
                }
            }
        }
    }
    let kinds: Vec<String> = by_kind.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    let c = &server.counts;
    println!("cases: {}; {} that attach refused", kinds.join(", "), c.refused);
    println!(
        "{} operations, {} statements, {} comparisons, {} checks, {} crossings, {} cancels, {} statements of sessions at once, {:.0} s",
        c.operations,
        c.statements,
        c.looks,
        c.checks,
        c.crossings,
        c.cancels,
        c.together,
        began.elapsed().as_secs_f32()
    );
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
