//! Who is at the other end of a socket.

use std::ffi::CStr;

use crate::domain::view::Role;
use crate::engine::{Engine, EngineError};

/// What a peer over TCP is called.
const STRANGER: &str = "tcp";

/// Whoever opened the connection, as the kernel vouches for it, and what they may do.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) role: Role,
    /// Whether the kernel says who it is.
    vouched: bool,
}

impl Peer {
    /// The peer of a Unix stream (SO_PEERCRED), with the role that the engine gives to it.
    pub(super) fn of(stream: &tokio::net::UnixStream, engine: &Engine) -> Self {
        let Ok(credentials) = stream.peer_cred() else {
            return Self { name: "unknown".into(), role: Role::Viewer, vouched: false };
        };
        let name = user_name(credentials.uid());
        Self { role: engine.role_of(credentials.uid(), &name), name, vouched: true }
    }

    /// A peer that nobody vouches for.
    pub(super) fn stranger() -> Self {
        Self { name: STRANGER.into(), role: Role::Viewer, vouched: false }
    }

    /// The name, if the role is enough.
    pub(super) fn may(self, needed: Role) -> Result<String, EngineError> {
        if self.role >= needed {
            return Ok(self.name);
        }
        if !self.vouched {
            return Err(EngineError::Refused(
                "nobody vouches for who asks here, so it may look, not act: act over the workspace's socket".into(),
            ));
        }
        let list = if needed == Role::Approver { "access.approvers" } else { "access.operators" };
        Err(EngineError::Refused(format!(
            "{} may look, not act: an administrator can add the name to {list} in config.yaml",
            self.name
        )))
    }
}

/// The user's name, or `uid:N` where the system knows none.
pub(super) fn user_name(uid: u32) -> String {
    let mut buffer = vec![0; 4096];
    // SAFETY: an all-zero passwd is a valid value for getpwuid_r to overwrite.
    let mut record: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: record, buffer and found live through the call, and the length is the buffer's.
    let failed = unsafe { libc::getpwuid_r(uid, &mut record, buffer.as_mut_ptr(), buffer.len(), &mut found) };
    if failed != 0 || found.is_null() || record.pw_name.is_null() {
        return format!("uid:{uid}");
    }
    // SAFETY: on success pw_name points to a string in `buffer`, which is still alive.
    unsafe { CStr::from_ptr(record.pw_name) }.to_string_lossy().into_owned()
}
