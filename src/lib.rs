//! msgstatus: the delivery status of SMS and WhatsApp messages, kept true inside PostgreSQL.
//!
//! | module | what it is |
//! |---|---|
//! | [`status`] | the statuses, the providers' words for them |
//! | [`fold`] | the rule: what a set of events makes of a message |
//! | [`log_trigger`], [`gather`] | log rows in |
//! | [`log_write`] | log rows that msgstatus writes itself |
//! | [`apply`] | folds to messages: read, decide, lock in key order, write |
//! | [`replay`], [`commit`] | callbacks that came before their message, in this transaction or a concurrent one |
//! | [`replicated`] | what a subscription prepares |
//! | [`waiting`] | those of them that have no key for the log yet |
//! | [`guard`] | the rule against every other writer |
//! | [`planner`] | the engine's statements go by an index |
//! | [`executor`] | statements that the triggers on messages can't concern, spared from them |
//! | [`attach`] | `attach`, `detach`, `create_tables`, `convert_status` |
//! | [`inspect`], [`mend`] | `history`, `verify`, …; `rebuild`, `settle`, `apply_status` |
//! | [`own_rows`] | the extension's own tables, in replication and dumps |
//! | [`twilio`] | Twilio's API: what to ask, how, and on which thread |
//! | [`poll`] | asking it: which messages, and what becomes of the answers |
//! | [`edge`], [`webhook`] | what providers send: parsers and signatures, and all of it in SQL |
//! | [`credentials`] | with what Twilio is asked, and callbacks are vouched for |
//! | [`worker`] | the background worker that does so all the time |

::pgrx::pg_module_magic!(name, version);

pub mod advisory;
pub mod apply;
pub mod attach;
pub mod boundary;
pub mod commit;
pub mod credentials;
pub mod datum;
pub mod edge;
pub mod encoding;
pub mod errors;
pub mod executor;
pub mod fold;
pub mod function;
pub mod gather;
pub mod guard;
pub mod gucs;
pub mod inspect;
pub mod key;
pub mod log_trigger;
pub mod log_write;
pub mod mend;
pub mod own_rows;
pub mod pair;
pub mod planner;
pub mod poll;
pub mod replay;
pub mod replicated;
pub mod session;
pub mod spi;
pub mod status;
pub mod status_map;
pub mod subtransaction;
pub mod trigger;
pub mod twilio;
pub mod waiting;
pub mod webhook;
pub mod worker;

#[cfg(not(panic = "unwind"))]
compile_error!("PostgreSQL errors unwind through Rust frames: build with panic = \"unwind\"");

/// Called when PostgreSQL loads the library.
#[allow(non_snake_case)]
#[pgrx::pg_guard]
pub extern "C-unwind" fn _PG_init() {
    // SAFETY: reads two variables of the process that loads the library.
    let (preloading, upgrading) =
        unsafe { (pgrx::pg_sys::process_shared_preload_libraries_in_progress, pgrx::pg_sys::IsBinaryUpgrade) };
    gucs::init(preloading);
    executor::init();
    planner::init();
    gather::init();
    commit::init();
    if preloading && !upgrading {
        worker::register();
    }
}

pgrx::extension_sql_file!("../sql/10_types.sql", name = "types", bootstrap);
pgrx::extension_sql_file!("../sql/20_tables.sql", name = "tables", requires = ["types"]);
pgrx::extension_sql_file!("../sql/30_engine.sql", name = "engine", requires = ["tables"]);
pgrx::extension_sql_file!("../sql/35_convert_status.sql", name = "convert_status", requires = ["engine"]);
pgrx::extension_sql_file!("../sql/40_functions.sql", name = "functions", requires = ["convert_status"]);
pgrx::extension_sql_file!("../sql/50_polling.sql", name = "polling", requires = ["functions"]);
pgrx::extension_sql_file!("../sql/60_edge.sql", name = "edge", requires = ["polling"]);
pgrx::extension_sql_file!("../sql/62_callbacks.sql", name = "callbacks", requires = ["edge"]);
pgrx::extension_sql_file!("../sql/65_error_codes.sql", name = "error_codes", requires = ["callbacks"]);
pgrx::extension_sql_file!("../sql/error_codes/twilio.sql", name = "error_codes_twilio", requires = ["error_codes"]);
pgrx::extension_sql_file!(
    "../sql/error_codes/others.sql",
    name = "error_codes_others",
    requires = ["error_codes_twilio"]
);
pgrx::extension_sql_file!("../sql/66_describe_error.sql", name = "describe_error", requires = ["error_codes_others"]);
pgrx::extension_sql_file!("../sql/80_local.sql", name = "local", requires = ["describe_error"]);
pgrx::extension_sql_file!("../sql/90_rights.sql", name = "rights", finalize);

#[cfg(any(test, feature = "pg_test"))]
#[allow(clippy::expect_used, reason = "a test says what it expected and stops")]
mod in_server;

/// What pgrx's test framework asks for.
#[cfg(test)]
pub mod pg_test {
    pub fn setup(_options: Vec<&str>) {}

    #[must_use]
    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec![]
    }
}
