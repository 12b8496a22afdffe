//! sqlx. Declare the enum with its schema in type_name (DeliveryStatus below), and leave msgstatus off the search_path:
//! then it is bound and read in binary, alone and in a Vec. Without an enum: bind a str, and read status::text.
#![cfg(test)]

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{query, query_as, query_scalar, Connection, Executor, FromRow, QueryBuilder};

#[derive(Clone, Copy, Debug, PartialEq, sqlx::Type)]
#[sqlx(type_name = "msgstatus.delivery_status", rename_all = "snake_case")]
enum DeliveryStatus {
    Receiving,
    Received,
    Accepted,
    Scheduled,
    Queued,
    Sending,
    Sent,
    DeliveryUnknown,
    PartiallyDelivered,
    Undelivered,
    Failed,
    Canceled,
    Delivered,
    Read,
}

type Time = Option<DateTime<Utc>>;

struct Callback {
    sid: String,
    status: String,
    error_code: Option<String>,
    event_at: Time,
}

#[derive(Debug, FromRow)]
struct Message {
    sid: Option<String>,
    status: DeliveryStatus,
    word: String,
    error_code: Option<String>,
    sent_at: Time,
    delivered_at: Time,
    read_at: Time,
    failed_at: Time,
}

/// The rows of a data file. No field of these files is quoted.
fn rows(file: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    file.lines().skip(1).map(|line| line.split(',').collect())
}

fn some(field: &str) -> Option<String> {
    (!field.is_empty()).then(|| field.to_owned())
}

fn time(field: &str) -> Time {
    some(field).map(|time| time.parse().unwrap())
}

fn callbacks() -> Vec<Callback> {
    rows(include_str!("../callbacks.csv"))
        .map(|row| Callback {
            sid: row[0].to_owned(),
            status: row[1].to_owned(),
            error_code: some(row[2]),
            event_at: time(row[3]),
        })
        .collect()
}

/// The message that is stored when its callbacks are there already.
const LATE: &str = "SMlate";

/// Fresh tables, in a schema of their own, as tests run side by side. PGHOST and the others say which server.
async fn tables(search_path: &str) -> PgConnection {
    let schema = search_path.split(',').next().unwrap();
    let options = PgConnectOptions::new().options([("search_path", search_path), ("client_min_messages", "warning")]);
    let mut db = PgConnection::connect_with(&options).await.unwrap();
    let ddl =
        format!("DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}; SELECT msgstatus.create_tables()");
    db.execute(ddl.as_str()).await.unwrap();
    db
}

/// The same with all messages but the late one.
async fn messages(schema: &str) -> PgConnection {
    let mut db = tables(schema).await;
    let early: Vec<_> = rows(include_str!("../messages.csv")).map(|row| row[0]).filter(|sid| *sid != LATE).collect();
    query("INSERT INTO messages (sid) SELECT unnest($1)").bind(early).execute(&mut db).await.unwrap();
    db
}

async fn check(mut db: PgConnection) {
    query("INSERT INTO messages (sid) VALUES ($1)").bind(LATE).execute(&mut db).await.unwrap();
    let stored: Vec<Message> = query_as(
        "SELECT sid, status, status::text AS word, error_code, sent_at, delivered_at, read_at, failed_at
           FROM messages ORDER BY sid",
    )
    .fetch_all(&mut db)
    .await
    .unwrap();
    let expected: Vec<_> = rows(include_str!("../messages.csv")).collect();
    assert_eq!(stored.len(), expected.len());
    for (stored, row) in stored.iter().zip(expected) {
        assert_eq!((stored.sid.as_deref(), stored.word.as_str()), (Some(row[0]), row[1]), "{stored:?}");
        assert_eq!(format!("{:?}", stored.status).to_lowercase(), row[1], "{stored:?}");
        assert_eq!(stored.error_code, some(row[2]), "{stored:?}");
        let times = [stored.sent_at, stored.delivered_at, stored.read_at, stored.failed_at];
        assert_eq!(times, [3, 4, 5, 6].map(|i| time(row[i])), "{stored:?}");
    }
}

const INSERT: &str = "INSERT INTO delivery_log (sid, status, error_code, event_at) ";

#[tokio::test]
async fn callbacks_by_a_prepared_statement() {
    let mut db = messages("prepared").await;
    let insert = format!("{INSERT} VALUES ($1, $2, $3, $4)");
    for c in callbacks() {
        let insert = query(&insert).bind(c.sid).bind(c.status).bind(c.error_code).bind(c.event_at);
        insert.execute(&mut db).await.unwrap();
    }
    let prepared = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'INSERT INTO delivery_log%'";
    assert_eq!(query_scalar::<_, i64>(prepared).fetch_one(&mut db).await.unwrap(), 1);
    check(db).await;
}

#[tokio::test]
async fn callbacks_by_push_values() {
    let mut db = messages("push_values").await;
    let mut insert = QueryBuilder::new(INSERT);
    insert.push_values(callbacks(), |mut row, c| {
        row.push_bind(c.sid).push_bind(c.status).push_bind(c.error_code).push_bind(c.event_at);
    });
    insert.build().execute(&mut db).await.unwrap();
    check(db).await;
}

#[tokio::test]
async fn callbacks_as_arrays_with_unnest() {
    let mut db = messages("arrays").await;
    query(&format!("{INSERT} SELECT * FROM unnest($1, $2, $3, $4)"))
        .bind(callbacks().into_iter().map(|c| c.sid).collect::<Vec<_>>())
        .bind(callbacks().into_iter().map(|c| c.status).collect::<Vec<_>>())
        .bind(callbacks().into_iter().map(|c| c.error_code).collect::<Vec<_>>())
        .bind(callbacks().into_iter().map(|c| c.event_at).collect::<Vec<_>>())
        .execute(&mut db)
        .await
        .unwrap();
    check(db).await;
}

#[tokio::test]
async fn callbacks_by_copy() {
    let mut db = messages("copy").await;
    let copy = "COPY delivery_log (sid, status, error_code, event_at) FROM STDIN (FORMAT csv, HEADER)";
    let mut copy = db.copy_in_raw(copy).await.unwrap();
    copy.send(include_bytes!("../callbacks.csv").as_slice()).await.unwrap();
    copy.finish().await.unwrap();
    check(db).await;
}

/// What a single SELECT or RETURNING gives as the enum.
async fn status(db: &mut PgConnection, sql: &str, parameter: DeliveryStatus) -> Option<DeliveryStatus> {
    query_scalar(sql).bind(parameter).fetch_optional(db).await.unwrap()
}

#[tokio::test]
async fn the_enum_is_bound_and_read() {
    use DeliveryStatus::*;
    let mut db = tables("enum").await;
    let insert = "INSERT INTO messages (sid, status) VALUES ('SM1', $1) RETURNING status";
    assert_eq!(status(&mut db, insert, Sent).await, Some(Sent));
    let update = "UPDATE messages SET status = $1 RETURNING status";
    assert_eq!(status(&mut db, update, Delivered).await, Some(Delivered));
    assert_eq!(status(&mut db, update, Queued).await, Some(Delivered)); // a step back is absorbed
    let compare = "SELECT status FROM messages WHERE status >= $1";
    assert_eq!(status(&mut db, compare, Delivered).await, Some(Delivered));
    assert_eq!(status(&mut db, compare, Read).await, None);
    let log = "INSERT INTO delivery_log (sid, status) VALUES ('SM1', $1) RETURNING delivery_status";
    assert_eq!(status(&mut db, log, PartiallyDelivered).await, Some(PartiallyDelivered));

    // Every label has its variant, else this could not be read.
    let all = "SELECT enum_range(NULL::msgstatus.delivery_status)";
    let all: Vec<DeliveryStatus> = query_scalar(all).fetch_one(&mut db).await.unwrap();
    assert_eq!((all.len(), all[0], all[13]), (14, Receiving, Read));
    let any = query_scalar::<_, DeliveryStatus>("SELECT status FROM messages WHERE status = ANY ($1)").bind(all);
    assert_eq!(any.fetch_all(&mut db).await.unwrap(), [Delivered]);
}

fn code(error: sqlx::Error) -> String {
    error.as_database_error().and_then(|error| error.code()).unwrap().into_owned()
}

#[tokio::test]
async fn a_str_is_bound_and_text_read() {
    let mut db = tables("str").await;
    let insert = "INSERT INTO messages (sid, status) VALUES ('SM1', $1) RETURNING status::text";
    let update = "UPDATE messages SET status = $1 RETURNING status::text";
    for (sql, word, stored) in [(insert, "sent", "sent"), (update, "read", "read"), (update, "queued", "read")] {
        assert_eq!(query_scalar::<_, String>(sql).bind(word).fetch_one(&mut db).await.unwrap(), stored);
    }
    assert_eq!(code(query(update).bind("bounced").execute(&mut db).await.unwrap_err()), "22P02");

    // A str is declared as text to the server, and an enum has no operators with text.
    let compare = "SELECT sid FROM messages WHERE status = $1";
    assert_eq!(code(query(compare).bind("read").execute(&mut db).await.unwrap_err()), "42883");
    let compare = "SELECT sid FROM messages WHERE status = $1::msgstatus.delivery_status";
    assert_eq!(query_scalar::<_, String>(compare).bind("read").fetch_all(&mut db).await.unwrap(), ["SM1"]);

    let read = query_scalar::<_, String>("SELECT status FROM messages").fetch_one(&mut db).await;
    assert!(matches!(read, Err(sqlx::Error::ColumnDecode { .. })), "{read:?}");
}

/// sqlx knows a type by the name that the server prints: without the schema if that is on the search_path.
#[derive(Debug, PartialEq, sqlx::Type)]
#[sqlx(type_name = "delivery_status", rename_all = "snake_case")]
enum WithoutSchema {
    Queued,
}

#[tokio::test]
async fn type_name_without_the_schema_needs_the_search_path() {
    use WithoutSchema::*;
    let mut db = tables("without_schema").await;
    let insert = "INSERT INTO messages (sid, status) VALUES ('SM1', $1)";
    assert_eq!(code(query(insert).bind(Queued).execute(&mut db).await.unwrap_err()), "42704");

    let mut db = tables("with_path,msgstatus").await;
    query(insert).bind(Queued).execute(&mut db).await.unwrap();
    let read = "SELECT status FROM messages";
    assert_eq!(query_scalar::<_, WithoutSchema>(read).fetch_one(&mut db).await.unwrap(), Queued);
    let read = query_scalar::<_, DeliveryStatus>(read).fetch_one(&mut db).await;
    assert!(matches!(read, Err(sqlx::Error::ColumnDecode { .. })), "{read:?}");
}
