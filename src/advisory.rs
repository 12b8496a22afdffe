//! The advisory locks of msgstatus.

use pgrx::pg_sys;

/// What a lock is for. Its number is the last field of the lock's tag, where users' own locks have 1 or 2, so they never
/// meet.
#[derive(Clone, Copy)]
pub enum Class {
    /// The last looks before a commit, see [`crate::commit`].
    Commit = 0x4D53,
    /// A round of asking, see [`crate::poll::runs`].
    Round = 0x4D54,
}

/// The tag of a lock in this database.
pub fn tag(class: Class, object: u32) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        // SAFETY: set once when the backend connected to its database.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: object,
        locktag_field3: 0,
        locktag_field4: class as u16,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}
