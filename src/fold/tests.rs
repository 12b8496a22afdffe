//! The rule over its whole domain: every multiset of up to four events, in every order, for every policy.

use super::*;
use proptest::prelude::*;

const FIRST_FINAL: Ranks = Ranks(DEFAULT_RANKS);

fn with(changes: &[(Status, i16)]) -> Ranks {
    let mut ranks = FIRST_FINAL;
    for &(s, r) in changes {
        ranks.0[s.index()] = r;
    }
    ranks
}

fn policies() -> [Ranks; 3] {
    [
        FIRST_FINAL,
        with(&[(Status::Delivered, 85)]),
        with(&[(Status::Undelivered, 99), (Status::Failed, 99), (Status::Canceled, 99)]),
    ]
}

fn event(status: Status, at: Time) -> Event {
    Event { status, at, error: None }
}

/// One event at a time, as single callbacks arrive; the log is asked only where the row says so.
fn one_by_one(events: &[Event], ranks: &Ranks) -> Row {
    let mut row = Row::default();
    for (i, e) in events.iter().enumerate() {
        let mut fold = Fold::default();
        fold.add(e.clone(), ranks);
        row = match row.join(&fold, ranks) {
            Join::Row(next) => next,
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
    let failing = events.iter().any(|e| e.status.is_failure());
    let error = events
        .iter()
        .filter(|e| e.error.is_some() && e.status.is_failure() == failing)
        .min_by_key(|e| (e.at, e.error.clone()))
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
    let error = prop_oneof![
        3 => Just(None),
        2 => (0u8..3).prop_map(|c| Error::new(Some(&[b'1' + c]), None)),
        1 => Just(Error::new(None, Some(b"no code"))),
    ];
    let one = (2usize..COUNT, 0i64..5, error).prop_map(|(s, at, error)| Event { status: Status::ALL[s], at, error });
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
            row = match row.join(&all(part, &ranks), &ranks) {
                Join::Row(r) => r,
                Join::Undecided => row.join_log(&all(so_far, &ranks), &ranks),
            };
        }
        prop_assert_eq!(&row, &expected);

        // The log never moves a row that already says what the log says.
        prop_assert_eq!(&row.join_log(&all(&events, &ranks), &ranks), &expected);
    }

    #[test]
    fn a_table_without_status_at_keeps_the_status_of_one_with_it(events in arb_events(), policy in 0usize..3) {
        let ranks = policies()[policy];
        let mask = Stored {
            status_at: Hold::Not,
            seen: false,
            mapped: false,
            is_final: true,
            milestones: [Hold::Not; MILESTONES],
            code_length: None,
            message_length: None,
        };
        let mut row = Row::default();
        for i in 0..events.len() {
            row = match row.join(&all(&events[i..=i], &ranks), &ranks) {
                Join::Row(r) => r,
                Join::Undecided => row.join_log(&all(&events[..=i], &ranks), &ranks),
            };
            row = mask.mask(row);
        }
        prop_assert_eq!(row.status, by_definition(&events, &ranks).status);
        prop_assert_eq!(row.is_final, row.status.map(Status::is_final));
    }
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
