//! Every file operation of the engine's threads, in the order in which they happen.
//!
//! A thread that calls [`Tracer::enter`] hands its file operations, and those of all threads that it starts, to a
//! supervising thread of the same process (seccomp's user notification, no ptrace, no wrapped library): whoever asks the
//! kernel is seen, the C library or not. The supervisor carries each out itself, one after the other, with the same
//! descriptors and the same memory, so that the log's order is the order in which they took effect; or it fails one
//! instead. The filter cannot be taken off again: a process of its own does this and ends.

use std::ffi::{CStr, OsStr};
use std::fs;
use std::io;
use std::mem::size_of;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};

use super::op::Op;

/// System calls that are handed over, beside writable shared mappings.
const CALLS: &[i64] = &[
    libc::SYS_openat,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_ftruncate,
    libc::SYS_truncate,
    libc::SYS_fallocate,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_sync,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_creat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
];

/// The same calls in the form that names a folder's descriptor, as every architecture has it.
fn general(call: i64, args: [u64; 6]) -> (i64, [u64; 6]) {
    #[cfg(target_arch = "x86_64")]
    {
        let here = libc::AT_FDCWD as u64;
        let [a, b, c, ..] = args;
        match call {
            libc::SYS_open => return (libc::SYS_openat, [here, a, b, c, 0, 0]),
            libc::SYS_creat => {
                return (libc::SYS_openat, [here, a, (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as u64, b, 0, 0]);
            }
            libc::SYS_rename => return (libc::SYS_renameat2, [here, a, here, b, 0, 0]),
            libc::SYS_link => return (libc::SYS_linkat, [here, a, here, b, 0, 0]),
            libc::SYS_symlink => return (libc::SYS_symlinkat, [a, here, b, 0, 0, 0]),
            libc::SYS_unlink => return (libc::SYS_unlinkat, [here, a, 0, 0, 0, 0]),
            libc::SYS_rmdir => return (libc::SYS_unlinkat, [here, a, libc::AT_REMOVEDIR as u64, 0, 0, 0]),
            libc::SYS_mkdir => return (libc::SYS_mkdirat, [here, a, b, 0, 0, 0]),
            _ => {}
        }
    }
    if call == libc::SYS_renameat {
        return (libc::SYS_renameat2, [args[0], args[1], args[2], args[3], 0, 0]);
    }
    (call, args)
}

/// A failure to come.
#[derive(Clone, Copy, Debug)]
struct Armed {
    /// Calls below the folder that still succeed.
    after: u64,
}

#[derive(Default)]
struct Log {
    root: PathBuf,
    ops: Vec<Op>,
    /// Calls below the folder.
    calls: u64,
    armed: Option<Armed>,
    /// A thread whose calls do not fail.
    spared: Option<u32>,
    /// Files whose names hold this find no room.
    refused: Option<&'static str>,
    /// What was failed.
    failed: Option<String>,
    /// What was done that the log has no name for: its replay would be a lie.
    unknown: Option<String>,
}

/// The log, shared with the supervisor.
pub(super) struct Tracer {
    log: Arc<Mutex<Log>>,
    listener: Sender<RawFd>,
}

impl Tracer {
    /// Starts the supervisor; nothing is traced yet.
    pub(super) fn start() -> Self {
        let log = Arc::new(Mutex::new(Log::default()));
        let (listener, receiver) = channel();
        let shared = Arc::clone(&log);
        std::thread::spawn(move || receiver.into_iter().for_each(|listener| supervise(listener, &shared)));
        Self { log, listener }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    /// Hands the file operations of this thread, and of those it starts, to the supervisor, for good.
    ///
    /// # Errors
    /// Where the system does not let it.
    pub(super) fn enter(&self) -> io::Result<()> {
        self.listener.send(install()?).unwrap();
        Ok(())
    }

    /// Begins a new log of what is done below this folder.
    pub(super) fn watch(&self, root: &Path) {
        *self.log() = Log { root: root.to_owned(), ..Log::default() };
    }

    /// One call fails after so many below the folder that succeed.
    pub(super) fn arm(&self, after: u64) {
        self.log().armed = Some(Armed { after });
    }

    /// Does something on this thread that is logged, but neither counted nor failed: it is not the engine's.
    pub(super) fn spare<T>(&self, work: impl FnOnce() -> T) -> T {
        // SAFETY: asks for this thread's number.
        self.log().spared = Some(unsafe { libc::gettid() } as u32);
        let done = work();
        self.log().spared = None;
        done
    }

    /// From now on the disk is full for files whose paths hold this.
    pub(super) fn refuse(&self, part: &'static str) {
        self.log().refused = Some(part);
    }

    /// What was failed, if it came to that; nothing fails any more.
    pub(super) fn disarm(&self) -> Option<String> {
        let mut log = self.log();
        (log.armed, log.refused) = (None, None);
        log.failed.take()
    }

    pub(super) fn note(&self, note: super::Note) {
        self.log().ops.push(Op::Note(note));
    }

    /// The log so far, and how many calls there were.
    ///
    /// # Panics
    /// Where something was done that the log has no name for.
    pub(super) fn take(&self) -> (Vec<Op>, u64) {
        let mut log = self.log();
        assert_eq!(log.unknown, None);
        (std::mem::take(&mut log.ops), log.calls)
    }
}

/// Puts the filter on this thread; gives the descriptor on which calls are handed over.
fn install() -> io::Result<RawFd> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let jump = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    let (load, equal, any) = (
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
        libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K,
    );
    let (number, argument) = (0, |n: u32| 16 + 8 * n);
    let over = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF);
    let through = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW);
    let mut program = vec![statement(load, number)];
    for call in CALLS {
        program.extend([jump(equal, *call as u32, 0, 1), over]);
    }
    // A shared mapping that is written through would change files unseen.
    program.push(jump(equal, libc::SYS_mmap as u32, 0, 5));
    program.push(statement(load, argument(2)));
    program.push(jump(any, libc::PROT_WRITE as u32, 0, 3));
    program.push(statement(load, argument(3)));
    program.push(jump(any, libc::MAP_SHARED as u32, 0, 1));
    program.extend([over, through]);
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter outlives the calls, which copy it.
    let listener = unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return Err(io::Error::last_os_error());
        }
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter)
    };
    if listener < 0 { Err(io::Error::last_os_error()) } else { Ok(listener as RawFd) }
}

/// `_IOWR('!', n, T)`.
const fn handed(n: u64, size: usize) -> libc::c_ulong {
    3 << 30 | (size as u64) << 16 | (b'!' as u64) << 8 | n
}

fn supervise(listener: RawFd, log: &Mutex<Log>) {
    loop {
        // SAFETY: all zeroes is what the kernel wants to be given; the structures are the kernel's own.
        let (mut asked, mut answer): (libc::seccomp_notif, libc::seccomp_notif_resp) = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let received =
            unsafe { libc::ioctl(listener, handed(0, size_of::<libc::seccomp_notif>()) as _, &raw mut asked) };
        if received != 0 {
            continue;
        }
        answer.id = asked.id;
        match serve(asked.pid, i64::from(asked.data.nr), asked.data.args, log) {
            Some(Ok(value)) => answer.val = value,
            Some(Err(errno)) => answer.error = -errno,
            None => answer.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
        }
        // SAFETY: as above. Whoever asked may have ended meanwhile.
        unsafe { libc::ioctl(listener, handed(1, size_of::<libc::seccomp_notif_resp>()) as _, &raw const answer) };
    }
}

/// Makes a call as it was asked for.
fn carry_out(call: i64, args: [u64; 6]) -> Result<i64, i32> {
    let [a, b, c, d, e, f] = args;
    // SAFETY: another thread of this process asked for this call and waits for it; its arguments are valid meanwhile.
    let value = unsafe { libc::syscall(call, a, b, c, d, e, f) };
    if value < 0 { Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)) } else { Ok(value) }
}

fn text_at(pointer: u64) -> PathBuf {
    // SAFETY: the path of a call that waits to be carried out.
    let text = unsafe { CStr::from_ptr(pointer as *const libc::c_char) };
    PathBuf::from(OsStr::from_bytes(text.to_bytes()))
}

fn bytes_at(pointer: u64, length: i64) -> Vec<u8> {
    // SAFETY: the buffer of a call that was just carried out for so many bytes.
    unsafe { std::slice::from_raw_parts(pointer as *const u8, length as usize) }.to_vec()
}

fn of_descriptor(descriptor: u64) -> Option<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", descriptor as i32)).ok()
}

/// A call's path, absolute.
fn path_of(dir: u64, pointer: u64) -> Option<PathBuf> {
    let path = text_at(pointer);
    if path.is_absolute() {
        return Some(path);
    }
    let base = if dir as i32 == libc::AT_FDCWD { std::env::current_dir().ok() } else { of_descriptor(dir) };
    base.map(|base| base.join(path))
}

/// A name in its folder.
fn place(path: &Path) -> (u64, String) {
    let inode = fs::metadata(path.parent().unwrap()).map_or(0, |meta| meta.ino());
    (inode, path.file_name().unwrap_or_default().to_str().unwrap().to_owned())
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|meta| meta.ino())
}

/// A regular file's or folder's metadata by descriptor.
fn open_file(descriptor: u64) -> Option<fs::Metadata> {
    fs::metadata(format!("/proc/self/fd/{}", descriptor as i32)).ok()
}

/// Carries a call out, or fails it, and logs it; none where it is no concern of ours.
fn serve(thread: u32, call: i64, args: [u64; 6], log: &Mutex<Log>) -> Option<Result<i64, i32>> {
    let (call, args) = general(call, args);
    let [a, b, c, d, _, _] = args;
    let mut log = log.lock().unwrap();
    let paths: Vec<PathBuf> = match call {
        libc::SYS_openat | libc::SYS_unlinkat | libc::SYS_mkdirat => vec![path_of(a, b)?],
        libc::SYS_renameat2 | libc::SYS_linkat => vec![path_of(a, b)?, path_of(c, d)?],
        libc::SYS_symlinkat => vec![path_of(b, c)?],
        libc::SYS_truncate => vec![text_at(a)],
        libc::SYS_sync => vec![log.root.clone()],
        libc::SYS_copy_file_range | libc::SYS_splice => vec![of_descriptor(c)?],
        libc::SYS_mmap => vec![of_descriptor(args[4])?],
        _ => vec![of_descriptor(a)?],
    };
    if log.root.as_os_str().is_empty() || !paths.iter().any(|path| path.starts_with(&log.root)) {
        return None;
    }
    let spared = log.spared == Some(thread);
    log.calls += u64::from(!spared);
    // A full disk refuses what needs room; a broken one refuses anything.
    let needs_room = matches!(call, libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_ftruncate | libc::SYS_mkdirat)
        || call == libc::SYS_openat && c as i32 & libc::O_CREAT != 0;
    let no_room = needs_room && log.refused.is_some_and(|part| paths[0].to_string_lossy().contains(part));
    let its_turn = match &mut log.armed {
        _ if spared => false,
        Some(armed) if armed.after == 0 => true,
        Some(armed) => {
            armed.after -= 1;
            false
        }
        None => false,
    };
    if no_room || its_turn {
        log.armed = None;
        let full = no_room || needs_room && log.calls.is_multiple_of(2);
        let errno = if full { libc::ENOSPC } else { libc::EIO };
        log.failed = Some(format!("{} {}: {}", name(call), paths[0].display(), io::Error::from_raw_os_error(errno)));
        return Some(Err(errno));
    }
    let before: Vec<Option<u64>> = paths.iter().map(|path| inode(path)).collect();
    // Where a write begins.
    let position = |descriptor: u64| {
        // SAFETY: asks for the position of an open file.
        let at = unsafe { libc::lseek(descriptor as i32, 0, libc::SEEK_CUR) };
        // SAFETY: asks for the flags of an open file.
        let appends = unsafe { libc::fcntl(descriptor as i32, libc::F_GETFL) } & libc::O_APPEND != 0;
        if appends { open_file(descriptor).map_or(0, |meta| meta.len()) } else { at.max(0) as u64 }
    };
    let begins = match call {
        libc::SYS_write | libc::SYS_writev | libc::SYS_sendfile => position(a),
        libc::SYS_copy_file_range if d == 0 => position(c),
        libc::SYS_pwrite64 => d,
        _ => 0,
    };
    let result = carry_out(call, args);
    let Ok(value) = result else { return Some(result) };
    let mut unknown = || Some(format!("{} {}", name(call), paths[0].display()));
    let at = |path: &Path| place(path);
    let written = |descriptor: u64, data: Vec<u8>| {
        let inode = open_file(descriptor).map_or(0, |meta| meta.ino());
        (!data.is_empty()).then_some(Op::Write { inode, offset: begins, data })
    };
    let copied = |descriptor: u64| {
        let mut data = vec![0; value as usize];
        let file = fs::File::open(&paths[0]).unwrap();
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut data, begins).unwrap();
        written(descriptor, data)
    };
    let op = match call {
        libc::SYS_openat => {
            let now = open_file(value as u64).unwrap();
            let (dir, name) = at(&paths[0]);
            let flags = c as i32;
            match before[0] {
                None if flags & libc::O_CREAT != 0 => Some(Op::Create { dir, name, inode: now.ino() }),
                Some(inode) if flags & libc::O_TRUNC != 0 => Some(Op::Length { inode, length: 0 }),
                _ => None,
            }
        }
        libc::SYS_mkdirat => {
            let (dir, name) = at(&paths[0]);
            Some(Op::Mkdir { dir, name, inode: inode(&paths[0]).unwrap() })
        }
        libc::SYS_unlinkat => {
            let (dir, name) = at(&paths[0]);
            Some(Op::Unlink { dir, name })
        }
        libc::SYS_renameat2 => Some(Op::Rename { from: at(&paths[0]), to: at(&paths[1]) }),
        libc::SYS_linkat => {
            let (dir, name) = at(&paths[1]);
            Some(Op::Link { dir, name, inode: inode(&paths[1]).unwrap() })
        }
        libc::SYS_write | libc::SYS_pwrite64 => written(a, bytes_at(b, value)),
        libc::SYS_writev | libc::SYS_sendfile => copied(a),
        libc::SYS_copy_file_range if d == 0 => copied(c),
        libc::SYS_ftruncate | libc::SYS_fallocate => {
            open_file(a).map(|meta| Op::Length { inode: meta.ino(), length: meta.len() })
        }
        libc::SYS_fsync | libc::SYS_fdatasync => open_file(a).map(|meta| Op::Sync { inode: meta.ino() }),
        libc::SYS_syncfs | libc::SYS_sync => Some(Op::SyncAll),
        _ => {
            let known = log.unknown.take();
            log.unknown = known.or_else(&mut unknown);
            None
        }
    };
    log.ops.extend(op);
    Some(Ok(value))
}

/// A call's name.
fn name(call: i64) -> String {
    let known = match call {
        libc::SYS_openat => "open",
        libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_writev => "write",
        libc::SYS_ftruncate | libc::SYS_truncate => "truncate",
        libc::SYS_fallocate => "fallocate",
        libc::SYS_copy_file_range | libc::SYS_sendfile => "copy",
        libc::SYS_renameat2 => "rename",
        libc::SYS_linkat => "link",
        libc::SYS_unlinkat => "unlink",
        libc::SYS_mkdirat => "mkdir",
        libc::SYS_fsync | libc::SYS_fdatasync => "sync",
        libc::SYS_syncfs | libc::SYS_sync => "sync all",
        libc::SYS_mmap => "a writable shared mapping of",
        other => return format!("system call {other}"),
    };
    known.to_owned()
}
