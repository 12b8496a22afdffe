::pgrx::pg_module_magic!(name, version);
pub mod fold;
pub mod status;
