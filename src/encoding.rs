//! Names and texts between Rust, which has UTF-8, and a database, which may have another encoding.
//!
//! Keys, words and errors stay bytes of the database throughout; only what becomes part of SQL text or of JSON is
//! converted.

use pgrx::pg_sys;

/// Do the database's bytes need no conversion?
fn is_plain() -> bool {
    // SAFETY: reads what the backend set when it connected.
    let encoding = unsafe { pg_sys::GetDatabaseEncoding() };
    encoding == pg_sys::pg_enc::PG_UTF8 as i32 || encoding == pg_sys::pg_enc::PG_SQL_ASCII as i32
}

/// A text of the database in Rust's encoding.
pub fn from_server(text: &[u8]) -> String {
    if is_plain() || text.is_ascii() {
        // Nearly always valid, which is found out faster than what is not is replaced.
        return std::str::from_utf8(text).map_or_else(|_| String::from_utf8_lossy(text).into_owned(), str::to_owned);
    }
    // SAFETY: converts as many bytes as there are; gives a palloc'd string with a NUL behind it.
    unsafe {
        let utf8 = pg_sys::pg_server_to_any(text.as_ptr().cast(), text.len() as i32, pg_sys::pg_enc::PG_UTF8 as i32);
        std::ffi::CStr::from_ptr(utf8).to_string_lossy().into_owned()
    }
}

/// A text of Rust in the database's encoding. What that does not have is PostgreSQL's usual error, 22P05.
pub fn to_server(text: &str) -> Vec<u8> {
    if is_plain() || text.is_ascii() {
        return text.as_bytes().to_vec();
    }
    // SAFETY: as above, the other way.
    unsafe {
        let server = pg_sys::pg_any_to_server(text.as_ptr().cast(), text.len() as i32, pg_sys::pg_enc::PG_UTF8 as i32);
        std::ffi::CStr::from_ptr(server).to_bytes().to_vec()
    }
}

/// The same of what somebody else wrote, which may be anything: characters that the database's encoding lacks become
/// question marks.
pub fn to_server_lossy(text: &str) -> Vec<u8> {
    if is_plain() || text.is_ascii() {
        return text.as_bytes().to_vec();
    }
    let known: String = text.chars().map(|c| if c.is_ascii() || is_in_server(c) { c } else { '?' }).collect();
    to_server(&known)
}

/// Has the database's encoding every character of a text?
pub fn is_in_encoding(text: &str) -> bool {
    is_plain() || text.chars().all(|c| c.is_ascii() || is_in_server(c))
}

/// Has the database's encoding this character?
fn is_in_server(c: char) -> bool {
    let (mut from, mut to) = ([0; 4], [0; 16]);
    let bytes = c.encode_utf8(&mut from).len() as i32;
    // SAFETY: looks the conversion up, and has it convert the bytes of one character, which need fewer than there is room
    // for in any encoding; without an error it says how many of them it converted.
    unsafe {
        let (utf8, server) = (pg_sys::pg_enc::PG_UTF8 as i32, pg_sys::GetDatabaseEncoding());
        let conversion = pg_sys::FindDefaultConversionProc(utf8, server);
        conversion != pg_sys::InvalidOid
            && pg_sys::pg_do_encoding_conversion_buf(
                conversion,
                utf8,
                server,
                from.as_mut_ptr(),
                bytes,
                to.as_mut_ptr(),
                to.len() as i32,
                true,
            ) == bytes
    }
}

/// A WARNING. Its text is in the database's encoding as far as ASCII goes.
pub fn warn(text: &str) {
    if is_plain() || text.is_ascii() {
        pgrx::warning!("{text}");
    } else {
        let known: String = text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
        pgrx::warning!("{known}");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    fn sources(dir: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                sources(&path, found)?;
            } else {
                found.push(path);
            }
        }
        Ok(())
    }

    /// What reaches a database has to exist in every encoding: install scripts, statements, error messages.
    #[test]
    fn only_comments_have_other_characters_than_ascii() -> std::io::Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut found = Vec::new();
        sources(&root.join("sql"), &mut found)?;
        sources(&root.join("src"), &mut found)?;
        assert!(found.len() > 20, "{found:?}");
        for path in found.iter().filter(|p| !p.ends_with("fold/tests.rs")) {
            for (i, line) in fs::read_to_string(path)?.lines().enumerate() {
                let comment = line.trim_start().starts_with("//");
                assert!(comment || line.is_ascii(), "{}:{}: {line}", path.display(), i + 1);
            }
        }
        Ok(())
    }
}
