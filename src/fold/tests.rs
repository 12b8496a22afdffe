//! The rule over its whole domain: every multiset of up to four events, in every order, for every policy.

use super::*;
use crate::status::Milestone;
use proptest::prelude::*;

const FIRST_FINAL: Ranks = Ranks(DEFAULT_RANKS);

fn with(changes: &[(Status, i16)]) -> Ranks {
    let mut ranks = FIRST_FINAL;
    for &(s, r) in changes {
        ranks.0[s.index()] = r;
    }
    ranks
}

fn policies() -> [Ranks; 4] {
    [
        FIRST_FINAL,
        with(&[(Status::Delivered, 85)]),
        with(&[(Status::Undelivered, 99), (Status::Failed, 99), (Status::Canceled, 99)]),
        with(&[(Status::Queued, 90), (Status::Sent, 30)]),
    ]
}

fn event(status: Status, at: Time) -> Event {
    Event { status, at, untimed: false, error: None }
}

/// A table that holds everything, exactly.
const COMPLETE: Stored = Stored {
    status_at: Hold::Steps(1),
    seen: true,
    mapped: false,
    is_final: false,
    milestones: [Hold::Steps(1); MILESTONES],
    code_length: None,
    message_length: None,
};

/// One event at a time, as single callbacks arrive; the log is asked only where the row says so.
fn one_by_one(events: &[Event], ranks: &Ranks) -> Row {
    let mut row = Row::default();
    for i in 0..events.len() {
        row = match row.join(&all(&events[i..=i], ranks), ranks, &COMPLETE, None) {
            Join::Row(next) | Join::Locked(next) => next,
            Join::Undecided => row.join_log(&all(&events[..=i], ranks), ranks),
        };
    }
    row
}

fn all(events: &[Event], ranks: &Ranks) -> Fold {
    let mut fold = Fold::default();
    events.iter().for_each(|e| fold.add(e.clone(), ranks));
    fold
}

fn permutations(events: &[Event], f: &mut impl FnMut(&[Event])) {
    fn go(v: &mut Vec<Event>, k: usize, f: &mut impl FnMut(&[Event])) {
        if k == v.len() {
            return f(v);
        }
        for i in k..v.len() {
            v.swap(k, i);
            go(v, k + 1, f);
            v.swap(k, i);
        }
    }
    go(&mut events.to_vec(), 0, f);
}

/// The contract's sentences, written a second time and differently: maxima and minima over the whole set.
fn by_definition(events: &[Event], ranks: &Ranks) -> Row {
    let time_of = |of: &[Status]| events.iter().filter(|e| of.contains(&e.status)).map(|e| e.at).min();
    let top = events.iter().map(|e| ranks.of(e.status)).max();
    let stands =
        events.iter().filter(|e| Some(ranks.of(e.status)) == top).min_by_key(|e| (e.at, std::cmp::Reverse(e.status)));
    let error = events
        .iter()
        .filter(|e| e.error.is_some())
        .min_by_key(|e| (!e.status.is_failure(), e.at, e.error.clone()))
        .and_then(|e| e.error.clone());
    use Status::*;
    Row {
        status: stands.map(|e| e.status),
        status_at: stands.map(|e| e.at),
        milestones: [
            time_of(&[Sent, PartiallyDelivered, Undelivered, Delivered, Read]),
            time_of(&[Delivered, Read]),
            time_of(&[Read]),
            time_of(&[Undelivered, Failed]),
            time_of(&[Canceled]),
        ],
        seen: events.iter().fold(0, |bits, e| bits | e.status.bit()),
        mapped: None,
        error,
        is_final: None,
    }
}

#[test]
fn every_multiset_of_four_events_converges_in_every_order() {
    let domain: Vec<Event> = Status::ALL[2..].iter().flat_map(|&s| [event(s, 1), event(s, 2)]).collect();
    let n = domain.len();
    for ranks in policies() {
        for a in 0..n {
            for b in a..n {
                for c in b..n {
                    for d in c..n {
                        let set = [a, b, c, d].map(|i| domain[i].clone());
                        let expected = by_definition(&set, &ranks);
                        permutations(&set, &mut |p| assert_eq!(one_by_one(p, &ranks), expected, "{p:?}"));
                        assert_eq!(Row::default().join_log(&all(&set, &ranks), &ranks), expected);
                    }
                }
            }
        }
    }
}

fn arb_events() -> impl Strategy<Value = Vec<Event>> {
    let one = (2usize..COUNT, 0i64..5, arb_error()).prop_map(|(s, at, error)| Event {
        status: Status::ALL[s],
        at,
        untimed: false,
        error,
    });
    prop::collection::vec(one, 0..12)
}

proptest! {
    #[test]
    fn errors_and_batches_converge(
        events in arb_events(),
        order in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        policy in 0usize..3,
    ) {
        let ranks = policies()[policy];
        let expected = by_definition(&events, &ranks);
        let mut shuffled = events.clone();
        let by = order.index(shuffled.len().max(1));
        shuffled.rotate_left(by.min(events.len()));
        shuffled.reverse();
        prop_assert_eq!(one_by_one(&shuffled, &ranks), expected.clone());

        // Two statements of any sizes.
        let at = cut.index(events.len() + 1);
        let mut row = Row::default();
        for (part, so_far) in [(&events[..at], &events[..at]), (&events[at..], &events[..])] {
            row = match row.join(&all(part, &ranks), &ranks, &COMPLETE, None) {
                Join::Row(r) | Join::Locked(r) => r,
                Join::Undecided => row.join_log(&all(so_far, &ranks), &ranks),
            };
        }
        prop_assert_eq!(&row, &expected);

        // The log never moves a row that already says what the log says.
        prop_assert_eq!(&row.join_log(&all(&events, &ranks), &ranks), &expected);
    }

    /// The property: after any history, on tables that hold whatever they hold, a row is what its log and it itself make
    /// of it, a repeated event changes nothing, and what is remembered of the log gives what the log gives.
    #[test]
    fn a_row_is_always_what_its_log_makes_of_it(
        history in prop::collection::vec(arb_step(), 0..14),
        stored in arb_stored(),
        policy in 0usize..4,
    ) {
        let ranks = policies()[policy];
        let (mut row, mut log, mut told): (Row, Vec<Event>, Option<Told>) = (Row::default(), Vec::new(), None);
        row = stored.mask(row);
        let mut direct_writes = 0;
        for (now, step) in history.iter().enumerate() {
            let direct = Direct { ranks: &ranks, stored: &stored, now: now as Time * 700_000 };
            match step {
                Step::Callbacks(new) => {
                    let new: Vec<Event> = new.iter().map(|e| seen_through(e, &stored)).collect();
                    log.extend(new.iter().cloned());
                    let new = all(&new, &ranks);
                    let by_log = stored.mask(row.join_log(&all(&log, &ranks), &ranks));
                    let before = row.clone();
                    row = match row.join(&new, &ranks, &stored, told.as_ref()) {
                        Join::Row(after) | Join::Locked(after) => {
                            let after = stored.mask(after);
                            told = told.map(|told| told.and_then(&before, &after, &new));
                            after
                        }
                        Join::Undecided => {
                            told = Some(Told::of(&by_log, &all(&log, &ranks)));
                            by_log.clone()
                        }
                    };
                    prop_assert_eq!(&row, &by_log, "the short cut, of {:?} by {:?}", before, new);
                }
                Step::Forget => told = None,
                Step::Direct(write) => {
                    direct_writes += 1;
                    let (after, _) = direct.updated(&row, &write.onto(&row, &stored));
                    let after = stored.mask(after);
                    // As the guard does with an error that is new.
                    let asks = after.error.is_some() && after.error != row.error;
                    row = if asks { stored.mask(after.join_log(&all(&log, &ranks), &ranks)) } else { after };
                }
            }
            let folded = all(&log, &ranks);
            prop_assert_eq!(&stored.mask(row.join_log(&folded, &ranks)), &row, "verify");
            for event in &log {
                let again = all(std::slice::from_ref(event), &ranks);
                if let Join::Row(after) | Join::Locked(after) = row.join(&again, &ranks, &stored, told.as_ref()) {
                    prop_assert_eq!(&stored.mask(after), &row, "a repetition of {:?}", event);
                }
            }
        }
        if direct_writes == 0 {
            prop_assert_eq!(&row, &stored.mask(by_definition(&log, &ranks)), "the definition");
        }
    }
}

/// What happens to a message.
#[derive(Clone, Debug)]
enum Step {
    /// A statement with callbacks.
    Callbacks(Vec<Event>),
    Direct(Write),
    /// Another session goes on.
    Forget,
}

/// What an UPDATE sets.
#[derive(Clone, Debug)]
struct Write {
    status: Option<Status>,
    status_at: Option<Time>,
    milestones: [Option<Time>; MILESTONES],
    error: Option<Error>,
}

impl Write {
    /// The row as the UPDATE would leave it, as its columns hold it.
    fn onto(&self, row: &Row, stored: &Stored) -> Row {
        let mut new = row.clone();
        new.status = self.status.or(new.status);
        new.status_at = self.status_at.and_then(|t| stored.status_at.held(t)).or(new.status_at);
        for (i, t) in self.milestones.into_iter().enumerate() {
            new.milestones[i] = t.and_then(|t| stored.milestones[i].held(t)).or(new.milestones[i]);
        }
        new.error = self.error.clone().or(new.error);
        new
    }
}

fn seen_through(event: &Event, stored: &Stored) -> Event {
    Event { at: stored.round(event.at), ..event.clone() }
}

fn arb_time() -> impl Strategy<Value = Time> {
    prop_oneof![
        20 => (0i64..14).prop_map(|n| n * 300_000),
        1 => prop::sample::select(vec![Time::MIN, Time::MAX, -211_813_488_000_000_000, 9_223_371_331_199_999_999]),
    ]
}

fn arb_error() -> impl Strategy<Value = Option<Error>> {
    prop_oneof![
        3 => Just(None),
        2 => (0u8..3).prop_map(|c| Error::new(Some(&[b'1' + c]), None)),
        1 => Just(Error::new(None, Some(b"no code"))),
    ]
}

fn arb_step() -> impl Strategy<Value = Step> {
    let event = (2usize..COUNT, arb_time(), arb_error()).prop_map(|(s, at, error)| Event {
        status: Status::ALL[s],
        at,
        untimed: false,
        error,
    });
    let write = (
        prop::option::of(2usize..COUNT),
        prop::option::weighted(0.2, arb_time()),
        prop::array::uniform5(prop::option::weighted(0.1, arb_time())),
        arb_error(),
    )
        .prop_map(|(status, status_at, milestones, error)| Write {
            status: status.map(|s| Status::ALL[s]),
            status_at,
            milestones,
            error,
        });
    prop_oneof![
        6 => prop::collection::vec(event, 1..4).prop_map(Step::Callbacks),
        2 => write.prop_map(Step::Direct),
        1 => Just(Step::Forget),
    ]
}

fn arb_hold() -> impl Strategy<Value = Hold> {
    prop::sample::select(vec![Hold::Not, Hold::Steps(1), Hold::Steps(1), Hold::Steps(1000), Hold::Steps(1_000_000)])
}

fn arb_stored() -> impl Strategy<Value = Stored> {
    (arb_hold(), any::<bool>(), any::<bool>(), any::<bool>(), prop::array::uniform5(arb_hold())).prop_map(
        |(status_at, seen, mapped, is_final, milestones)| Stored {
            status_at,
            seen,
            mapped,
            is_final,
            milestones: milestones.map(|m| if mapped && m == Hold::Not { Hold::Iso } else { m }),
            code_length: None,
            message_length: None,
        },
    )
}

fn judge(before: &[Event], e: Event) -> Verdict {
    let row = one_by_one(before, &FIRST_FINAL);
    let mut after = before.to_vec();
    after.push(e.clone());
    Verdict::of(e.status, &row, &one_by_one(&after, &FIRST_FINAL), &FIRST_FINAL)
}

#[test]
fn verdicts() {
    use Status::*;
    let life = [event(Queued, 1), event(Sent, 2), event(Delivered, 3)];
    assert_eq!(judge(&life, event(Read, 4)), Verdict::Applied);
    assert_eq!(judge(&life, event(Sent, 9)), Verdict::Duplicate);
    assert_eq!(judge(&life, event(Delivered, 9)), Verdict::Duplicate);
    assert_eq!(judge(&life, event(Delivered, 2)), Verdict::Backfilled);
    assert_eq!(judge(&life, event(Sending, 9)), Verdict::Stale);
    assert_eq!(judge(&life, event(Failed, 9)), Verdict::Conflict);
    assert_eq!(judge(&life[2..], event(Sent, 9)), Verdict::Stale);
    assert_eq!(judge(&life[2..], event(Sent, 1)), Verdict::Backfilled);
    assert_eq!(judge(&[], event(Queued, 1)), Verdict::Applied);
}

#[test]
fn what_was_written_directly_stays() {
    let mut log = Fold::default();
    log.add(event(Status::Sent, 5), &FIRST_FINAL);
    let direct = Row {
        status: Some(Status::Delivered),
        status_at: Some(7),
        error: Error::new(Some(b"30003"), None),
        ..Row::default()
    };
    let joined = direct.join_log(&log, &FIRST_FINAL);
    assert_eq!(joined.status, Some(Status::Delivered));
    assert_eq!(joined.error, direct.error);
    assert_eq!(joined.milestones[Milestone::Sent as usize], Some(5));
}

#[test]
fn what_a_column_holds() {
    let second = Hold::Steps(1_000_000);
    assert_eq!(second.held(1_499_999), Some(1_000_000));
    assert_eq!(second.held(1_500_000), Some(2_000_000));
    assert_eq!(second.held(-1_500_001), Some(-2_000_000));
    assert_eq!(second.held(Time::MAX), Some(Time::MAX));
    assert_eq!(Hold::Iso.held(Time::MIN), Some(crate::status_map::FIRST));
    assert_eq!(Hold::Not.held(7), None);
    assert_eq!(Stored::cut("größer".as_bytes(), Some(3)), "grö".as_bytes());
    assert_eq!(Stored::cut(b"30003", Some(5)), b"30003");
}
