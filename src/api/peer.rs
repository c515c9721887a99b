//! Who is at the other end of a socket.

use std::ffi::CStr;

/// The name of whoever opened the connection, as the kernel vouches for it.
#[derive(Clone, Debug)]
pub(super) struct Peer(pub(super) String);

impl Peer {
    /// The peer of a Unix stream (SO_PEERCRED).
    pub(super) fn of(stream: &tokio::net::UnixStream) -> Self {
        match stream.peer_cred() {
            Ok(credentials) => Self(user_name(credentials.uid())),
            Err(_) => Self("unknown".into()),
        }
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
