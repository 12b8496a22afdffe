//! The sessions that a case works in, and the script of what it did.

use crate::random::Case;
use crate::work::Statement;
use postgres::{Client, Config, NoTls};
use std::io::Write;
use std::sync::{Arc, Mutex};

/// What went wrong. The kind says of what sort it is: a smaller case has to fail in the same way.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    pub kind: String,
    pub text: String,
    pub sqlstate: Option<String>,
    pub hint: Option<String>,
    pub detail: Option<String>,
}

pub fn fail<T>(kind: &str, text: String) -> Result<T, Failure> {
    Err(Failure { kind: kind.to_owned(), text, ..Failure::default() })
}

impl From<postgres::Error> for Failure {
    fn from(error: postgres::Error) -> Failure {
        let Some(db) = error.as_db_error() else {
            return Failure { kind: "connection".to_owned(), text: format!("{error:?}"), ..Failure::default() };
        };
        Failure {
            kind: format!("error {}", db.code().code()),
            text: format!("{} {}", db.message(), db.detail().unwrap_or_default()),
            sqlstate: Some(db.code().code().to_owned()),
            hint: db.hint().map(str::to_owned),
            detail: db.detail().map(str::to_owned),
        }
    }
}

/// How much was done.
#[derive(Default, Debug)]
pub struct Counts {
    pub operations: u64,
    pub statements: u64,
    pub looks: u64,
    pub checks: u64,
    pub crossings: u64,
    pub cancels: u64,
    pub refused: u64,
    pub together: u64,
}

pub struct Server {
    config: Config,
    pub client: Client,
    other: Client,
    /// Holds a transaction open for a while.
    held: Option<Client>,
    pub prepares: bool,
    pub icu: bool,
    pub counts: Counts,
    script: Vec<String>,
    warnings: Arc<Mutex<Vec<String>>>,
}

pub fn connect(config: &Config) -> Result<Client, Failure> {
    Ok(config.connect(NoTls)?)
}

/// Sends SQL or a COPY.
pub fn execute(client: &mut Client, statement: &Statement) -> Result<(), Failure> {
    match statement {
        Statement::Sql(sql) => client.batch_execute(sql)?,
        Statement::Copy(sql, rows) => {
            let mut writer = client.copy_in(sql.as_str())?;
            // If the server did not take the rows, finish says why.
            let _ = writer.write_all(rows.as_bytes());
            writer.finish()?;
        }
    }
    Ok(())
}

pub fn as_script(statement: &Statement) -> String {
    match statement {
        Statement::Sql(sql) => format!("{sql};"),
        Statement::Copy(sql, rows) => format!("{sql};\n{rows}\\."),
    }
}

impl Server {
    pub fn new(url: &str) -> Result<Server, Failure> {
        let mut config: Config = url.parse().map_err(|e| Failure::from_text(format!("--url: {e}")))?;
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&warnings);
        // Nothing here takes long: who waits for ever is told so. A plan without an index costs so much that it would
        // be compiled each time, which is no work for a tester.
        config.options("-c statement_timeout=20s -c client_min_messages=warning -c jit=off").notice_callback(
            move |notice| {
                if let Ok(mut kept) = kept.lock() {
                    kept.push(notice.message().to_owned());
                }
            },
        );
        let (mut client, other) = (connect(&config)?, connect(&config)?);
        client.batch_execute("CREATE EXTENSION IF NOT EXISTS msgstatus")?;
        let prepared: String = client.query_one("SHOW max_prepared_transactions", &[])?.get(0);
        // A server without ICU may list its collations all the same.
        let icu = client
            .batch_execute(
                "BEGIN; CREATE COLLATION public.model_icu (provider = icu, locale = 'und', deterministic = false)",
            )
            .is_ok();
        client.batch_execute("ROLLBACK")?;
        Ok(Server {
            config,
            client,
            other,
            held: None,
            prepares: prepared != "0",
            icu,
            counts: Counts::default(),
            script: Vec::new(),
            warnings,
        })
    }

    pub fn another(&self) -> Result<Client, Failure> {
        let mut client = connect(&self.config)?;
        client.batch_execute("SET search_path = model; SET timezone = 'UTC'")?;
        Ok(client)
    }

    /// Makes room for a case, whatever the one before left behind.
    pub fn clear(&mut self, case: &Case) -> Result<(), Failure> {
        self.held = None;
        self.script.clear();
        if self.client.is_closed() || case.seed.is_multiple_of(10) {
            self.client = connect(&self.config)?;
        }
        if self.other.is_closed() {
            self.other = connect(&self.config)?;
        }
        self.other.batch_execute("ROLLBACK; RESET ALL")?;
        self.client.batch_execute("ROLLBACK; RESET ALL")?;
        for row in self.client.query("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()", &[])? {
            self.client.batch_execute(&format!("ROLLBACK PREPARED '{}'", row.get::<_, &str>(0)))?;
        }
        self.client.batch_execute("DROP SCHEMA IF EXISTS model CASCADE")?;
        self.client.batch_execute("DELETE FROM msgstatus.policy WHERE policy LIKE 'own%'")?;
        if let Ok(mut warnings) = self.warnings.lock() {
            warnings.clear();
        }
        Ok(())
    }

    pub fn is_gone(&self) -> bool {
        self.client.is_closed() && connect(&self.config).is_err()
    }

    pub fn script(&self) -> String {
        self.script.join("\n")
    }

    pub fn note(&mut self, text: &str) {
        self.script.push(text.to_owned());
    }

    pub fn sql(&mut self, sql: &str) -> Result<(), Failure> {
        self.send(&Statement::Sql(sql.to_owned()))
    }

    pub fn send(&mut self, statement: &Statement) -> Result<(), Failure> {
        self.script.push(as_script(statement));
        self.counts.statements += 1;
        execute(&mut self.client, statement)?;
        self.warned()
    }

    /// A warning of the extension's is a failure too.
    fn warned(&self) -> Result<(), Failure> {
        let warnings = self.warnings.lock().map(|mut w| std::mem::take(&mut *w)).unwrap_or_default();
        match warnings.into_iter().find(|w| w.contains("msgstatus") || w.contains("left out")) {
            Some(warning) => fail("warning", warning),
            None => Ok(()),
        }
    }

    pub fn send_other(&mut self, statement: &Statement) -> Result<(), Failure> {
        self.script.push(format!("-- in another session:\n{}", as_script(statement)));
        self.other.batch_execute("SET search_path = model; SET timezone = 'UTC'; SET statement_timeout = '5s'")?;
        execute(&mut self.other, statement)
    }

    /// Keeps a transaction open beside, from before what comes next.
    pub fn hold_back(&mut self) -> Result<(), Failure> {
        self.script.push("-- in another session, until the end:\nBEGIN; SELECT pg_current_xact_id();".to_owned());
        let mut client = connect(&self.config)?;
        client.batch_execute("BEGIN; SELECT pg_current_xact_id()")?;
        self.held = Some(client);
        Ok(())
    }

    /// One text.
    pub fn ask(&mut self, sql: &str) -> Result<String, Failure> {
        self.script.push(format!("{sql};"));
        let answer: Option<String> = self.client.query_one(sql, &[])?.get(0);
        self.warned()?;
        Ok(answer.unwrap_or_default())
    }

    /// One bigint.
    pub fn ask_number(&mut self, sql: &str) -> Result<i64, Failure> {
        self.script.push(format!("{sql};"));
        let answer = self.number(sql)?;
        self.warned()?;
        Ok(answer)
    }

    /// One bigint, without a line in the script.
    pub fn number(&mut self, sql: &str) -> Result<i64, Failure> {
        Ok(self.client.query_one(sql, &[])?.get(0))
    }

    pub fn texts(&mut self, sql: &str) -> Result<Vec<String>, Failure> {
        Ok(self.client.query(sql, &[])?.iter().filter_map(|row| row.get::<_, Option<String>>(0)).collect())
    }

    pub fn verify(&mut self, messages: &str) -> Result<(), Failure> {
        let sql = format!(
            "SELECT concat_ws(' ', message_key, \"column\", 'stored', coalesce(stored::text, 'NULL'), 'folded', coalesce(folded::text, 'NULL'))
               FROM msgstatus.verify(messages => '{messages}')"
        );
        let wrong = self.texts(&sql)?;
        if wrong.is_empty() {
            return Ok(());
        }
        self.script.push(format!("SELECT * FROM msgstatus.verify(messages => '{messages}');"));
        fail("verify", format!("verify lists {}", wrong.join(" / ")))
    }

    /// A time before all times is no reason for an error that a user can't understand.
    pub fn long_ago(&mut self) -> Result<(), Failure> {
        match self.ask_number("SELECT msgstatus.settle('100000 years')") {
            Ok(0) => Ok(()),
            Ok(n) => fail("settle", format!("settle gave {n} where nothing was to do")),
            Err(e) => {
                let told = e.detail.as_deref().unwrap_or_default();
                if e.sqlstate.as_deref() == Some("22008") && !told.contains("backtrace") && !told.contains(".rs") {
                    return Ok(());
                }
                fail("since", format!("settle of 100000 years: {} {}", e.kind, e.text))
            }
        }
    }
}

impl Failure {
    pub fn from_text(text: String) -> Failure {
        Failure { kind: "tester".to_owned(), text, ..Failure::default() }
    }
}
