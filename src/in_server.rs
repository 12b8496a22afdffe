//! Tests inside the server: that the SQL side says what the Rust side says, and the generated SQL as text.

#[pgrx::pg_schema]
mod tests {
    use crate::fold::{Event, Fold, Ranks};
    use crate::pair::log_rules::LogRules;
    use crate::pair::mapping::{LogColumns, Mapping, MessageColumns, OnRegression, PollColumns};
    use crate::pair::sql::{self, Insert, Lock, Repeated, Shape, Types};
    use crate::poll::schedule::Schedule;
    use crate::status::words::{PROVIDERS, Provider};
    use crate::status::{DEFAULT_RANKS, Status};
    use pgrx::prelude::*;
    use std::collections::HashMap;

    fn one<T: FromDatum + IntoDatum>(sql: &str) -> T {
        Spi::get_one::<T>(sql).expect("query").expect("a value")
    }

    #[pg_test]
    fn status_type_matches_rust() {
        let labels: Vec<String> = one("SELECT enum_range(NULL::msgstatus.delivery_status)::text[]");
        assert_eq!(labels, Status::ALL.map(|s| s.label().to_owned()));
        for s in Status::ALL {
            let of = |f: &str| one::<bool>(&format!("SELECT msgstatus.{f}('{}')", s.label()));
            assert_eq!(of("is_final"), s.is_final(), "{s:?}");
            assert_eq!(of("is_failure"), s.is_failure(), "{s:?}");
            assert_eq!(of("is_success"), matches!(s, Status::Delivered | Status::Read), "{s:?}");
            let rank: i16 = one(&format!("SELECT msgstatus.rank('{}')", s.label()));
            assert_eq!(rank, DEFAULT_RANKS[s.index()], "{s:?}");
        }
    }

    #[pg_test]
    fn built_in_policies() {
        for (policy, changed) in [
            ("first_final", vec![]),
            ("delivery_wins", vec![(Status::Delivered, 85)]),
            ("failure_wins", vec![(Status::Undelivered, 99), (Status::Failed, 99), (Status::Canceled, 99)]),
        ] {
            let mut expected = Ranks(DEFAULT_RANKS);
            for (s, rank) in changed {
                expected.0[s.index()] = rank;
            }
            let stored = crate::pair::resolve::ranks(policy).expect("a policy");
            assert_eq!(stored, expected, "{policy}");
        }
    }

    /// `<<` and `supersedes` are a strict partial order, each other's mirror, and the enum's order extends them.
    #[pg_test]
    fn order_is_a_strict_partial_order() {
        let wrong: i64 = one("
        WITH s AS (SELECT unnest(enum_range(NULL::msgstatus.delivery_status)) AS s),
             r AS (SELECT a.s AS a, b.s AS b, a.s OPERATOR(msgstatus.<<) b.s AS before,
                          b.s OPERATOR(msgstatus.>>) a.s AS after, msgstatus.supersedes(b.s, a.s) AS superseded
                     FROM s a, s b)
        SELECT (SELECT count(*) FROM r WHERE before <> after OR before <> superseded
                                          OR before <> (msgstatus.rank(a) < msgstatus.rank(b)))
             + (SELECT count(*) FROM r WHERE before AND (a >= b))
             + (SELECT count(*) FROM r x JOIN r y ON x.a = y.b AND x.b = y.a WHERE x.before AND y.before)
             + (SELECT count(*) FROM r x JOIN r y ON x.b = y.a JOIN r z ON z.a = x.a AND z.b = y.b
                 WHERE x.before AND y.before AND NOT z.before)");
        assert_eq!(wrong, 0);
    }

    #[pg_test]
    fn words_match_rust() {
        for (name, words) in PROVIDERS {
            for (word, status) in words {
                let sql = format!("SELECT msgstatus.parse_status(' {} ', '{name}')::text", word.to_uppercase());
                assert_eq!(one::<String>(&sql), status.label(), "{name} {word}");
            }
        }
        assert_eq!(Spi::get_one::<String>("SELECT msgstatus.parse_status('bounced')::text"), Ok(None));
        assert_eq!(Provider::named(b"nobody").parse(b"sent"), Some(Status::Sent));
    }

    /// The aggregate is the rule of `fold::Ranks`, over every pair of events at equal and different times, in both orders.
    #[pg_test]
    fn aggregate_matches_rust() {
        let ranks = Ranks(DEFAULT_RANKS);
        for a in Status::ALL {
            for b in Status::ALL {
                for later in [0i64, 1] {
                    let mut fold = Fold::default();
                    fold.add(Event { status: a, at: 0, untimed: false, error: None }, &ranks);
                    fold.add(Event { status: b, at: later * 1_000_000, untimed: false, error: None }, &ranks);
                    let expected = fold.stands().map(|s| s.0.label().to_owned());
                    let sql = format!(
                    "SELECT msgstatus.fold(s::msgstatus.delivery_status, timestamptz '2000-01-01+00' + t * interval '1 s' ORDER BY o)::text
                       FROM (VALUES ('{}', 0, 1), ('{}', {later}, 1), (NULL, 9, 2)) v(s, t, o)",
                    a.label(),
                    b.label()
                );
                    assert_eq!(Spi::get_one::<String>(&sql), Ok(expected.clone()), "{a:?} {b:?} {later}");
                    let turned = sql.replace("ORDER BY o", "ORDER BY s DESC, o DESC");
                    assert_eq!(Spi::get_one::<String>(&turned), Ok(expected), "{a:?} {b:?} {later}");
                }
            }
        }
    }

    fn mapping() -> Mapping {
        Mapping {
            pair: 7,
            messages: "app.messages".into(),
            log: "app.log".into(),
            m: MessageColumns {
                key: "sid".into(),
                status: "State".into(),
                sent_at: Some("sent_on".into()),
                error_code: Some("code".into()),
                ..MessageColumns::default()
            },
            l: LogColumns { key: "sid".into(), status: "status".into(), ..LogColumns::default() },
            p: PollColumns::default(),
            provider: "twilio".into(),
            policy: "first_final".into(),
            on_regression: OnRegression::Absorb,
            copy: [("org_id".to_owned(), "organisation".to_owned())].into(),
        }
    }

    fn shape() -> Shape {
        let mut types = Types { error_code: Some("character varying(8)".into()), ..Types::default() };
        types.milestones[0] = Some("timestamp(0) without time zone".into());
        Shape {
            messages: "app.messages".into(),
            log: "app.log".into(),
            key_type: "pg_catalog.text".into(),
            equals: "OPERATOR(pg_catalog.=)".into(),
            greater: "OPERATOR(pg_catalog.>)".into(),
            collate: " COLLATE \"C\"".into(),
            partitioned: false,
            key_collation: String::new(),
            labels: false,
            final_column: Some("done".into()),
            found_by: None,
            types,
        }
    }

    #[pg_test]
    fn update_as_text() {
        let naive = "pg_catalog.timezone('UTC', msgstatus.decided_time(2))";
        let row = "m.\"State\", NULL::pg_catalog.timestamptz, pg_catalog.timezone('UTC', CASE WHEN pg_catalog.isfinite(m.sent_on) \
                   THEN least(m.sent_on, '294276-12-31 23:59:59.999999'::pg_catalog.timestamp) ELSE m.sent_on END), \
                   NULL::pg_catalog.timestamptz, NULL::pg_catalog.timestamptz, NULL::pg_catalog.timestamptz, \
                   NULL::pg_catalog.timestamptz, 0, m.code::pg_catalog.text, NULL::pg_catalog.text, \
                   NULL::pg_catalog.text, NULL::boolean";
        assert_eq!(
            sql::update_decided(&mapping(), &shape(), false),
            format!(
                "UPDATE ONLY app.messages m SET \"State\" = msgstatus.decided_status(0), sent_on = {naive}, \
                 code = msgstatus.decided_text(8)::character varying(8) \
                 WHERE m.sid OPERATOR(pg_catalog.=) $1 AND CASE WHEN m.sid OPERATOR(pg_catalog.=) $1 \
                 THEN msgstatus.decide({row}, 1, m.tableoid, m.ctid) ELSE false END"
            )
        );
        let polled = Mapping {
            p: PollColumns {
                check_count: Some("checks".into()),
                last_checked_at: Some("asked".into()),
                ..PollColumns::default()
            },
            ..mapping()
        };
        assert!(sql::update_decided(&polled, &shape(), true).contains(
            ", checks = coalesce(m.checks, 0) OPERATOR(pg_catalog.+) msgstatus.decided_checks(), \
             asked = greatest(m.asked, msgstatus.decided_checked_at()) WHERE "
        ));
        assert_eq!(
            sql::update_one(&mapping(), &shape()),
            "UPDATE ONLY app.messages m SET \"State\" = $5, sent_on = pg_catalog.timezone('UTC', $6), \
         code = $7::character varying(8) WHERE m.ctid OPERATOR(pg_catalog.=) $2 AND m.xmin OPERATOR(pg_catalog.=) $3 \
         AND $1::pg_catalog.oid IS NOT NULL AND $4::pg_catalog.text IS NOT NULL"
        );
        assert_eq!(
            sql::update_many(&mapping(), &shape(), 0b011),
            "UPDATE ONLY app.messages m SET \"State\" = v.v2, sent_on = pg_catalog.timezone('UTC', v.v3) \
         FROM unnest($1::pg_catalog.tid[], $2::msgstatus.delivery_status[], $3::pg_catalog.timestamptz[]) \
         AS v(tid, v2, v3) WHERE m.ctid OPERATOR(pg_catalog.=) v.tid"
        );
        let partitioned = Shape { partitioned: true, ..shape() };
        assert_eq!(
            sql::update_many(&mapping(), &partitioned, 0b001),
            "UPDATE app.messages m SET \"State\" = v.v4 \
         FROM unnest($1::pg_catalog.tid[], $2::pg_catalog.oid[], $3::pg_catalog.text[], $4::msgstatus.delivery_status[]) \
         AS v(tid, tbl, key, v4) WHERE m.ctid OPERATOR(pg_catalog.=) v.tid \
         AND m.sid OPERATOR(pg_catalog.=) v.key AND m.tableoid OPERATOR(pg_catalog.=) v.tbl"
        );
    }

    #[pg_test]
    fn selects_as_text() {
        let columns = "m.tableoid, m.ctid, m.xmin, m.\"State\", NULL::pg_catalog.timestamptz, \
                   pg_catalog.timezone('UTC', CASE WHEN pg_catalog.isfinite(m.sent_on) \
                   THEN least(m.sent_on, '294276-12-31 23:59:59.999999'::pg_catalog.timestamp) ELSE m.sent_on END), NULL::pg_catalog.timestamptz, NULL::pg_catalog.timestamptz, \
                   NULL::pg_catalog.timestamptz, NULL::pg_catalog.timestamptz, 0, m.code::pg_catalog.text, \
                   NULL::pg_catalog.text, NULL::pg_catalog.text, NULL::boolean";
        assert_eq!(
            sql::select_one(&mapping(), &shape(), true),
            format!(
                "SELECT 1::bigint, {columns} FROM ONLY app.messages m WHERE m.sid OPERATOR(pg_catalog.=) $1 \
             FOR NO KEY UPDATE"
            )
        );
        assert_eq!(
            sql::select_many(&mapping(), &shape(), Lock::Wait),
            format!(
                "SELECT k.ord, {columns} FROM pg_catalog.unnest($1::pg_catalog.text[]) WITH ORDINALITY AS k(key, ord) \
             JOIN ONLY app.messages m ON m.sid OPERATOR(pg_catalog.=) k.key \
             ORDER BY m.sid COLLATE \"C\" FOR NO KEY UPDATE OF m"
            )
        );
        assert_eq!(
            sql::insert_event(&mapping(), &shape(), [true, true, false, false, false, false, true, true]),
            "INSERT INTO app.log (sid, status, org_id) SELECT e.key, e.status, m.organisation \
         FROM (SELECT $1, $2, $3, $4, $5, $6, $7, $8) \
         AS e(key, status, event_at, error_code, error_message, payload, provider, source) \
         LEFT JOIN ONLY app.messages m ON m.sid OPERATOR(pg_catalog.=) e.key"
        );
    }

    /// What asking the provider makes of a table with every column that it can use, compared with tests/sql/polling.sql.
    #[pg_test]
    fn polling_as_text() {
        let named = |name: &str| Some(name.to_owned());
        let base = mapping();
        let m = Mapping {
            m: MessageColumns { key: "id".into(), status_at: named("state_at"), ..base.m },
            p: PollColumns {
                sid: named("Sid"),
                provider: named("provider"),
                direction: named("way"),
                created_at: named("created"),
                scheduled_for: named("not_before"),
                last_checked_at: named("asked"),
                check_count: named("checks"),
                next_check_at: named("next"),
                account_sid: named("account"),
                batch: named("batch"),
                price: named("price"),
                price_unit: named("unit"),
                num_segments: named("parts"),
            },
            l: LogColumns {
                event_at: named("at"),
                created_at: named("arrived"),
                error_code: named("code"),
                error_message: named("text"),
                payload: named("payload"),
                provider: named("provider"),
                source: named("source"),
                ..base.l
            },
            ..base
        };
        let shape = Shape {
            key_type: "pg_catalog.int8".into(),
            collate: String::new(),
            types: Types {
                next_check_at: named("timestamp without time zone"),
                price: named("numeric(10,5)"),
                log_payload: named("jsonb"),
                ..shape().types
            },
            found_by: named("Sid"),
            ..shape()
        };
        let rules = LogRules {
            once: named("sid, status"),
            defaults: std::array::from_fn(|i| (i == 3).then(|| "'none'::text".to_owned())),
            ..LogRules::default()
        };
        let tier = |status: &str, from: &str, every: Option<&str>| {
            (status.to_owned(), from.to_owned(), every.map(str::to_owned))
        };
        let schedule = Schedule {
            name: "ours".to_owned(),
            tiers: vec![
                tier("queued", "3 days", None),
                tier("queued", "01:00:00", Some("00:30:00")),
                tier("sent", "02:00:00", Some("01:00:00")),
            ],
            from: named("01:00:00"),
        };
        let all = Insert { given: [true; 9], single: false, repeated: Repeated::Refused };
        let few = Insert { given: std::array::from_fn(|i| i < 2), repeated: Repeated::LeftOut, ..all };
        let statements = [
            ("take_due", sql::take_due(sql::select_due(&m, &shape, &schedule))),
            ("list_due", sql::list_due(sql::select_due(&m, &shape, &Schedule::default()))),
            ("lease", sql::lease(&m, &shape).unwrap_or_default()),
            ("end_leases", sql::end_leases(&m, &shape).unwrap_or_default()),
            ("want", sql::want(&m, &shape).unwrap_or_default()),
            ("select_by_sid", sql::select_by_sid(&m, &shape, &schedule)),
            ("select_asked", sql::select_asked(&m, &shape, sql::By::Batch).unwrap_or_default()),
            ("select_statuses", sql::select_statuses(&m, &shape)),
            ("lock_answered", sql::lock_answered(&m, &shape)),
            ("keep_books", sql::keep_books(&m, &shape).unwrap_or_default()),
            ("insert_events", sql::insert_events(&m, &shape, &rules, all)),
            ("insert_few", sql::insert_events(&m, &shape, &rules, few)),
            ("insert_single", sql::insert_events(&m, &shape, &rules, Insert { single: true, ..few })),
            ("select_keys_by_sid", sql::select_keys_by_sid(&m, &shape).unwrap_or_default()),
            ("select_unknown", sql::select_unknown(&m, &shape).unwrap_or_default()),
        ];
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let expected: HashMap<&str, String> = include_str!("../tests/sql/polling.sql")
            .split("\n-- ")
            .filter_map(|part| part.split_once('\n'))
            .map(|(name, text)| (name, words(text.trim_end().trim_end_matches(';'))))
            .collect();
        for (name, text) in statements {
            assert_eq!(expected.get(name), Some(&words(&text)), "{name}");
        }
    }

    /// Every statement takes and gives what the code around it expects, also for the tables that create_tables makes.
    #[pg_test]
    fn a_callback_moves_its_message() {
        Spi::run("CREATE SCHEMA t; SELECT msgstatus.create_tables('t')").expect("tables");
        Spi::run("INSERT INTO t.messages (sid) VALUES ('SM1')").expect("message");
        Spi::run("INSERT INTO t.delivery_log (sid, status) VALUES ('SM1', 'sent'), ('SM1', 'delivered')").expect("log");
        assert_eq!(one::<String>("SELECT status::text FROM t.messages"), "delivered");
        assert_eq!(one::<i64>("SELECT count(*) FROM msgstatus.verify()"), 0);
    }
}
