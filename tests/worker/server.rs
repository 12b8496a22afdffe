//! Servers to test on.

use crate::twilio::Twilio;
use postgres::types::ToSql;
use postgres::{Client, NoTls, Row};
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Databases of the shared server, one for each test.
const DATABASES: usize = 48;

pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Looks until there is something.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A cluster of scripts/cluster.
pub struct Server {
    name: String,
    major: String,
    pub env: HashMap<String, String>,
    /// What the server itself finds in its environment.
    pub environment: Vec<(&'static str, String)>,
    stop: bool,
}

fn script(arguments: &[&str]) -> String {
    script_with(arguments, &[])
}

fn script_with(arguments: &[&str], environment: &[(&'static str, String)]) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("scripts/cluster"))
        .args(arguments)
        .env_remove("PGHOST")
        .env_remove("PGPORT")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("scripts/cluster");
    assert!(output.status.success(), "scripts/cluster {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The major of the PostgreSQL that is tested, if there is one and a Twilio.
fn major() -> Option<String> {
    let (Ok(pg_config), Ok(_)) = (std::env::var("MSGSTATUS_PG_CONFIG"), std::env::var("MSGSTATUS_TWILIO")) else {
        eprintln!("skipped: MSGSTATUS_PG_CONFIG or MSGSTATUS_TWILIO is not set (make test sets them)");
        return None;
    };
    let version = Command::new(pg_config).arg("--version").output().expect("pg_config").stdout;
    let version = String::from_utf8_lossy(&version).into_owned();
    let digits: String = version.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    Some(digits)
}

impl Server {
    /// A fresh cluster with these settings, stopped at the end.
    pub fn fresh(name: &str, settings: &[&str]) -> Option<Server> {
        let major = major()?;
        let mut server =
            Server { name: name.to_owned(), major, env: HashMap::new(), environment: Vec::new(), stop: true };
        server.start(&[&["--fresh"], settings].concat());
        Some(server)
    }

    /// A standby of another one, with these settings.
    pub fn standby(name: &str, of: &Server, settings: &[&str]) -> Server {
        let mut server = Server {
            name: name.to_owned(),
            major: of.major.clone(),
            env: HashMap::new(),
            environment: Vec::new(),
            stop: true,
        };
        server.begin(&["standby", name, &of.major, &of.name], settings);
        server
    }

    /// Starts it with these settings, from where it was.
    pub fn start(&mut self, settings: &[&str]) {
        let (name, major) = (self.name.clone(), self.major.clone());
        self.begin(&["start", &name, &major], settings);
    }

    fn begin(&mut self, action: &[&str], settings: &[&str]) {
        let with: [&[&str]; 3] = [action, settings, &["shared_preload_libraries=msgstatus", "max_worker_processes=64"]];
        script_with(&with.concat(), &self.environment);
        self.env = script(&["env", &self.name, &self.major])
            .lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
    }

    pub fn stop(&self) {
        script(&["stop", &self.name, &self.major]);
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.env["MSGSTATUS_SERVER_LOG"]).expect("the server's log")
    }

    /// The directory of the cluster: of its data, its log, and files of tests.
    pub fn directory(&self) -> PathBuf {
        PathBuf::from(&self.env["MSGSTATUS_SERVER_LOG"]).parent().expect("a directory").to_owned()
    }

    pub fn try_connect(&self, database: &str) -> Result<Client, postgres::Error> {
        let (host, port) = (&self.env["PGHOST"], &self.env["PGPORT"]);
        let parameters = format!("host={host} port={port} user=postgres dbname='{database}' connect_timeout=5");
        Client::connect(&parameters, NoTls)
    }

    pub fn connect(&self, database: &str) -> Client {
        self.try_connect(database).expect("a connection")
    }

    /// Writes a file that only the server's user can read, and gives its path.
    pub fn secret_file(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
        let path = self.directory().join(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("permissions");
        let owner = std::fs::metadata(self.directory().join("data")).expect("the data directory").uid();
        chown(&path, Some(owner), None).expect("the owner of a file");
        path.display().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.stop && !std::thread::panicking() {
            script(&["drop", &self.name, &self.major]);
        } else if self.stop {
            self.stop();
        }
    }
}

/// The server that tests share which do it no harm.
fn shared() -> Option<&'static Server> {
    static SHARED: OnceLock<Option<Server>> = OnceLock::new();
    let server = SHARED.get_or_init(|| {
        let major = major()?;
        // The file is there before the server is, as a person would have it.
        let mut server =
            Server { name: "worker".to_owned(), major, env: HashMap::new(), environment: Vec::new(), stop: false };
        server.start(&["--fresh"]);
        let credentials: String = (0..DATABASES)
            .flat_map(|n| [0, 1, 2].map(|k| format!("[{}]\nauth_token = \"{}\"\n", account(n, k), token(n, k))))
            .collect();
        let file = server.secret_file("credentials.toml", &credentials);
        let names: Vec<String> = (0..DATABASES).map(|n| format!("w{n}")).collect();
        server.start(&[
            &format!("msgstatus.databases={}", names.join(", ")),
            &format!("msgstatus.credentials_file={file}"),
            "msgstatus.poll_interval=1",
            "max_connections=200",
        ]);
        // The process ends without dropping what is static.
        extern "C" fn stop() {
            if let Some(Some(server)) = SHARED.get() {
                server.stop();
            }
        }
        // SAFETY: registers a function that is there until the end.
        unsafe { libc::atexit(stop) };
        Some(server)
    });
    server.as_ref()
}

pub fn account(test: usize, k: usize) -> String {
    format!("AC{test:030x}{k:02x}")
}

fn token(test: usize, k: usize) -> String {
    format!("hush-{test}-{k}")
}

/// A database with messages, a worker that asks about them, and a Twilio of its own.
pub struct Bench {
    pub server: &'static Server,
    pub twilio: Twilio,
    pub client: Client,
    number: usize,
}

impl Bench {
    /// With these settings in the database.
    pub fn new(schedule: &str, settings: &[&str]) -> Option<Bench> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let server = shared()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(number < DATABASES, "there are more tests than databases: raise DATABASES");
        let twilio = Twilio::start(&[]);
        let tokens = [0, 1, 2].map(|k| (account(number, k), token(number, k)));
        twilio.accounts(&tokens.each_ref().map(|(sid, token)| (sid.as_str(), token.as_str())));
        // The worker connects as soon as there is a database of this name, and is to find it finished.
        let (database, making) = (format!("w{number}"), format!("making_w{number}"));
        let mut admin = server.connect("postgres");
        admin.batch_execute(&format!("CREATE DATABASE {making}")).expect("a database");
        let mut all = vec![format!("msgstatus.twilio_base_url = '{}'", twilio.url)];
        all.extend(settings.iter().map(|s| (*s).to_owned()));
        for setting in all {
            admin.batch_execute(&format!("ALTER DATABASE {making} SET {setting}")).expect("a setting");
        }
        let mut client = server.connect(&making);
        client
            .batch_execute(&format!(
                "CREATE EXTENSION msgstatus; SELECT msgstatus.create_tables();
                 SELECT msgstatus.detach('messages', 'delivery_log');
                 SELECT msgstatus.attach('messages', 'delivery_log', poll => '{schedule}');"
            ))
            .expect("tables");
        drop(client);
        wait_until("nobody is connected", || {
            admin.batch_execute(&format!("ALTER DATABASE {making} RENAME TO {database}")).is_ok()
        });
        let mut bench = Bench { server, client: server.connect(&database), twilio, number };
        wait_until("the worker's first round is over", || {
            bench.one(
                "SELECT EXISTS (SELECT FROM msgstatus.poll_run WHERE trigger = 'start' AND finished_at IS NOT NULL)",
            )
        });
        Some(bench)
    }

    pub fn account(&self, k: usize) -> String {
        account(self.number, k)
    }

    /// Messages of an account that were sent so long ago, in our table and, with this life, in Twilio's.
    pub fn stuck(&mut self, sids: &[&str], ago: &str, life: &str) {
        let account = self.account(0);
        // First there: of a message that Twilio does not know it is never asked again.
        self.at_twilio(sids, &account, ago, life);
        self.in_table(sids, &account, ago, "sent");
    }

    pub fn in_table(&mut self, sids: &[&str], account: &str, ago: &str, status: &str) {
        self.run(
            &format!(
                "INSERT INTO messages (sid, account_sid, created_at, status, status_at, sent_at)
                 SELECT sid, $2, at, '{status}', at, CASE WHEN '{status}' = 'sent' THEN at END
                   FROM unnest($1::text[]) sid, LATERAL (SELECT now() - '{ago}'::interval) AS t(at)"
            ),
            &[&sids, &account],
        );
    }

    pub fn at_twilio(&mut self, sids: &[&str], account: &str, ago: &str, life: &str) {
        let created: String = self.one(&format!(
            "SELECT to_char((now() - '{ago}'::interval) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
        ));
        let messages: Vec<String> = sids
            .iter()
            .map(|sid| {
                format!(r#"{{"sid":"{sid}","account_sid":"{account}","date_created":"{created}","life":{life}}}"#)
            })
            .collect();
        self.twilio.put_messages(&format!("[{}]", messages.join(",")));
    }

    pub fn run(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> u64 {
        self.client.execute(sql, parameters).expect(sql)
    }

    pub fn rows(&mut self, sql: &str) -> Vec<Row> {
        self.client.query(sql, &[]).expect(sql)
    }

    pub fn one<T: for<'a> postgres::types::FromSql<'a>>(&mut self, sql: &str) -> T {
        self.client.query_one(sql, &[]).expect(sql).get(0)
    }

    pub fn status(&mut self, sid: &str) -> String {
        self.one(&format!("SELECT status::text FROM messages WHERE sid = '{sid}'"))
    }

    pub fn until_status(&mut self, sid: &str, status: &str) {
        wait_until(&format!("{sid} is {status}"), || self.status(sid) == status);
    }

    /// Waits until a round has ended that began after now.
    pub fn a_round(&mut self) {
        let now: String = self.one("SELECT clock_timestamp()::text");
        wait_until("a round has ended", || {
            self.one(&format!(
                "SELECT EXISTS (SELECT FROM msgstatus.poll_run WHERE started_at > '{now}' AND finished_at IS NOT NULL)"
            ))
        });
    }

    pub fn worker(&mut self) -> i32 {
        wait_for("the worker runs", || {
            self.client
                .query_one("SELECT pid FROM msgstatus.worker WHERE database = current_database()", &[])
                .ok()?
                .get(0)
        })
    }
}

pub const DELIVERED: &str =
    r#"[{"after":0,"status":"queued"},{"after":1,"status":"sent"},{"after":3,"status":"delivered"}]"#;
pub const SENT: &str = r#"[{"after":0,"status":"queued"},{"after":1,"status":"sent"}]"#;
