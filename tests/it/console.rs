//! The real program in a pseudo-terminal: every tab, a filter, the palette, the help, a picture, resizing, suspending
//! and hanging up. The terminal's state is judged from the bytes that a terminal would get.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use image::ImageFormat;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::support::{encoded, picture};

const BIN: &str = env!("CARGO_BIN_EXE_sightline");
/// How long a test waits for a screen.
const PATIENCE: Duration = Duration::from_secs(90);

/// A terminal with the program in it.
struct Tty {
    master: Option<Box<dyn MasterPty + Send>>,
    child: Box<dyn Child + Send + Sync>,
    writer: Box<dyn std::io::Write + Send>,
    screen: Arc<Mutex<vt100::Parser>>,
    bytes: Arc<AtomicU64>,
    reader: Option<thread::JoinHandle<()>>,
    closing: Arc<AtomicBool>,
}

/// A program that is ended with the test, whatever comes of it.
struct Engine(std::process::Child);

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }
}

impl Tty {
    fn open(workspace: &Path, columns: u16, rows: u16, environment: &[(&str, &str)]) -> Self {
        let pair = native_pty_system().openpty(size(columns, rows)).unwrap();
        let mut command = CommandBuilder::new(BIN);
        command.args(["--workspace", workspace.to_str().unwrap()]);
        for (name, value) in [("TERM", "xterm-256color"), ("COLORTERM", "truecolor"), ("TZ", "UTC")] {
            command.env(name, value);
        }
        command.env_remove("NO_COLOR");
        environment.iter().for_each(|(name, value)| command.env(name, value));
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let writer = pair.master.take_writer().unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let bytes = Arc::new(AtomicU64::new(0));
        let (parser, counter) = (Arc::clone(&screen), Arc::clone(&bytes));
        let closing = Arc::new(AtomicBool::new(false));
        let (stop, fd) = (Arc::clone(&closing), pair.master.as_raw_fd().unwrap());
        let reader = thread::spawn(move || {
            let mut buffer = [0; 65536];
            while !stop.load(Ordering::SeqCst) {
                // SAFETY: the master is closed only after this thread has been joined.
                let fd = unsafe { BorrowedFd::borrow_raw(fd) };
                let soon = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
                if rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&soon)) == Ok(0) {
                    continue;
                }
                let Ok(read @ 1..) = reader.read(&mut buffer) else { return };
                counter.fetch_add(read as u64, Ordering::SeqCst);
                let asks = buffer[..read].windows(4).any(|bytes| bytes == b"\x1b[6n");
                assert!(!asks, "the console must not wait for the terminal to tell where its cursor is");
                parser.lock().unwrap().process(&buffer[..read]);
            }
        });
        Self { master: Some(pair.master), child, writer, screen, bytes, reader: Some(reader), closing }
    }

    /// Closes the terminal: every descriptor of its side.
    fn hang_up(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        self.reader.take().unwrap().join().unwrap();
        self.writer = Box::new(std::io::sink());
        self.master = None;
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    fn send(&mut self, keys: &str) {
        self.writer.write_all(keys.as_bytes()).unwrap();
        self.writer.flush().unwrap();
    }

    /// Waits until the screen is as wanted.
    fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            if wanted(&text) {
                return text;
            }
            assert!(Instant::now() < deadline, "waited for {what}; the screen is\n{text}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn shows(&self, words: &str) -> String {
        self.until(words, |text| text.contains(words))
    }

    /// Presses keys until the screen shows it: what it takes may still be on its way.
    fn press_until(&mut self, keys: &str, words: &str) -> String {
        self.send(keys);
        self.shows(words)
    }

    /// Presses keys until the screen shows it, again and again: what is typed while a program takes the terminal anew may be lost.
    fn insist(&mut self, keys: &str, words: &str) {
        for _ in 0..18 {
            self.send(keys);
            let deadline = Instant::now() + Duration::from_secs(5);
            while Instant::now() < deadline {
                if self.text().contains(words) {
                    return;
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("pressed {keys} for {words}; the screen is\n{}", self.text());
    }

    fn resize(&mut self, columns: u16, rows: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(rows, columns);
        self.master.as_ref().unwrap().resize(size(columns, rows)).unwrap();
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.process_id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// `T` when stopped, `S` or `R` when not.
    fn process_state(&self) -> char {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.process_id().unwrap())).unwrap();
        stat.rsplit(") ").next().unwrap().chars().next().unwrap()
    }

    /// Whether the terminal was given back: the ordinary screen, a cursor, no paste mode.
    fn is_restored(&self) -> bool {
        let parser = self.screen.lock().unwrap();
        let screen = parser.screen();
        !screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste()
    }

    fn ended_within(&mut self, time: Duration) -> Option<u32> {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status.exit_code());
            }
            thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// Whether so many cells have a colour of 24 bits as their background: a picture in half-blocks.
    fn pictured_cells(&self) -> usize {
        let parser = self.screen.lock().unwrap();
        let screen = parser.screen();
        let (rows, columns) = screen.size();
        let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        cells
            .filter_map(|(row, column)| screen.cell(row, column))
            .filter(|cell| cell.contents() == "▀" && matches!(cell.bgcolor(), vt100::Color::Rgb(..)))
            .count()
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        // A test that failed must not leave an engine behind; one that has ended cannot be killed again.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn serve(workspace: &Path) -> std::process::Child {
    let mut command = Command::new(BIN);
    command.arg("--workspace").arg(workspace).arg("serve").stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn run(workspace: &Path, arguments: &[&str]) {
    let ran = Command::new(BIN).arg("--workspace").arg(workspace).args(arguments).output().unwrap();
    assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// A workspace that embeds whole pictures with small untrained weights; two labels are to be enrolled, two pictures
/// to be identified, and one file is no picture.
fn workspace() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &["init"]);
    run(dir.path(), &["model", "untrained", "dinov2_vits14", "--name", "pack-embed"]);
    let path = dir.path().join("config.yaml");
    let settings = fs::read_to_string(&path).unwrap();
    let mut changed = settings.clone();
    for (from, to) in [
        ("objects: found ", "objects: whole "),
        ("image_size: auto                          # side", "image_size: 56 # side"),
        ("settle_ms: 1000 ", "settle_ms: 30 "),
        ("rescan_seconds: 30 ", "rescan_seconds: 1 "),
    ] {
        assert!(changed.contains(from), "{from} in {changed}");
        changed = changed.replace(from, to);
    }
    fs::write(&path, changed).unwrap();
    for (seed, folder) in [(1, "enroll/Aspirin 500"), (2, "enroll/Zinc 15"), (3, "inbox"), (4, "inbox")] {
        let folder = dir.path().join("watch").join(folder);
        fs::create_dir_all(&folder).unwrap();
        let bytes = encoded(&picture(seed, 160, 120), ImageFormat::Png);
        fs::write(folder.join(format!("photo {seed}.png")), bytes).unwrap();
    }
    fs::write(dir.path().join("watch/inbox/evil\x1b[31m\u{202E}gpj.txt"), "not a picture").unwrap();
    dir
}

#[test]
fn an_operator_walks_through_everything() {
    let dir = workspace();
    let mut tty = Tty::open(dir.path(), 120, 40, &[]);

    // The queue fills; a file that is no picture is set aside; names from outside are shown safely.
    let text = tty.until("five outcomes", |text| text.contains(" 4 done") && text.contains(" 1 quarantined"));
    assert!(text.contains("never trained"), "{text}");
    tty.press_until("/", "state:");
    tty.press_until("quar\r", "Files: quarantined");
    tty.until("the quarantined file", |text| text.contains("{202e}gpj.txt") && !text.contains("photo 3"));

    // Discarding takes a reason and the word; until then nothing has happened.
    tty.press_until("D", "[ Cancel ]");
    thread::sleep(Duration::from_millis(400));
    tty.press_until("no picture at all\r", "no picture at all");
    tty.press_until("discar\r\r", "type discard to confirm");
    assert!(tty.text().contains("1 quarantined"), "{}", tty.text());
    tty.send("\x1b[A");
    tty.press_until("d\r\r", "discarded: ");
    tty.shows(" 0 quarantined");

    // A picture of one that is done.
    tty.press_until("/\x15done\r", "Files: done");
    tty.shows("photo 4.png");
    tty.until("a picture", |_| tty.pictured_cells() > 300);
    tty.press_until("\r", "Picture (Esc closes)");
    tty.until("a large picture", |_| tty.pictured_cells() > 1000);
    tty.send("\x1b");
    tty.until("the picture to close", |text| !text.contains("Esc closes)"));

    // The other tabs.
    tty.press_until("2", "Milliseconds by stage");
    tty.until("a stage with figures", |text| text.contains("embed  ") && text.contains("never trained"));
    tty.press_until("\t", "Sightings of Aspirin 500");
    tty.until("neighbours", |text| text.contains("Zinc 15") && text.contains("+0.") || text.contains("alone"));
    tty.press_until("/zin\r", "Sightings of Zinc 15");
    tty.press_until("p", "picture file");
    thread::sleep(Duration::from_millis(400));
    let probe = dir.path().join("probe.png");
    fs::write(&probe, encoded(&picture(2, 160, 120), ImageFormat::Png)).unwrap();
    tty.press_until(&format!("{}\r", probe.display()), "Nearest enrolled");
    tty.until("the probe's neighbour", |text| text.contains("1.000"));
    tty.press_until("\x1b", "Sightings of");
    tty.press_until("4", "queue.discarded");
    tty.shows("no picture at all");
    tty.press_until("/action:image.quarantined\r", "/action:image.quarantined");
    tty.until("the filter's entries", |text| !text.contains("queue.discarded"));
    tty.press_until("v", "public key");
    thread::sleep(Duration::from_millis(400));
    tty.press_until("\r", "Proven: every entry");
    tty.shows("What this cannot prove");

    // Help and palette.
    tty.press_until("?", "the SHA-256 to the terminal's clipboard");
    tty.press_until("\x1b", "Proof");
    tty.press_until(":", "Commands");
    tty.press_until("stat\r", "Batch sizes");
    tty.send("1");
    tty.shows("Files: done");

    // An arrow torn apart by a slow line is an arrow.
    tty.press_until("\x1b", "f a state");
    thread::sleep(Duration::from_millis(300));
    for torn in ["\x1b", "[", "D"] {
        tty.send(torn);
        thread::sleep(Duration::from_millis(40));
    }
    thread::sleep(Duration::from_millis(200));
    assert!(!tty.text().contains("[ Cancel ]"), "{}", tty.text());

    // Every size.
    for (columns, rows) in [(80, 24), (40, 10), (1, 1), (120, 40)] {
        tty.resize(columns, rows);
        thread::sleep(Duration::from_millis(150));
    }
    tty.until("the whole screen again", |text| text.contains("Files") && text.contains("discarded"));

    // Leaving asks, because the engine stops too.
    tty.press_until("q", "The engine runs in this console");
    thread::sleep(Duration::from_millis(400));
    tty.send("y");
    assert_eq!(tty.ended_within(Duration::from_secs(10)), Some(0));
    assert!(tty.is_restored());
}

#[test]
fn an_idle_console_writes_nothing() {
    let dir = workspace();
    let tty = Tty::open(dir.path(), 80, 24, &[]);
    tty.until("five outcomes", |text| text.contains(" 4 done") && text.contains(" 1 quarantined"));
    // The rate of the last ten seconds rises and falls to nothing first. Then it rests: five seconds without a byte.
    let (mut before, mut rested) = (tty.bytes.load(Ordering::SeqCst), Instant::now());
    let began = Instant::now();
    while rested.elapsed() < Duration::from_secs(5) {
        assert!(began.elapsed() < Duration::from_secs(40), "it never rests: {}", tty.text());
        thread::sleep(Duration::from_millis(50));
        let now = tty.bytes.load(Ordering::SeqCst);
        if now != before {
            (before, rested) = (now, Instant::now());
        }
    }
    tty.shows(" 0.0 pictures/s");
}

#[test]
fn suspending_gives_the_terminal_back_and_resuming_takes_it_again() {
    let dir = workspace();
    let mut tty = Tty::open(dir.path(), 80, 24, &[]);
    tty.shows("Files");
    for by_key in [true, false] {
        if by_key {
            // The engine is this console's own and would stand still: asked first, and the key itself is no answer.
            tty.press_until("\x1a", "stands still while it is suspended");
            thread::sleep(Duration::from_millis(400));
            tty.press_until("\x1a", "Enter confirms, Esc goes back");
            assert_ne!(tty.process_state(), 'T');
            tty.send("\r");
        } else {
            tty.signal("-TSTP")
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while tty.process_state() != 'T' || !tty.is_restored() {
            assert!(Instant::now() < deadline, "by key {by_key}: {} {}", tty.process_state(), tty.is_restored());
            thread::sleep(Duration::from_millis(10));
        }
        assert!(!tty.text().contains("Files"));
        tty.signal("-CONT");
        tty.until("the whole screen again", |text| text.contains("Files") && text.contains("sightline"));
        assert!(!tty.is_restored());
    }
    tty.press_until("2", "Batch sizes");
}

#[test]
fn a_signal_ends_it_with_the_terminal_restored() {
    let dir = workspace();
    for signal in ["-TERM", "-INT", "-HUP"] {
        let mut tty = Tty::open(dir.path(), 80, 24, &[]);
        tty.shows("Files");
        tty.signal(signal);
        assert_eq!(tty.ended_within(Duration::from_secs(10)), Some(0), "{signal}");
        assert!(tty.is_restored(), "{signal}");
    }
}

#[test]
fn a_terminal_that_hangs_up_ends_it() {
    let dir = workspace();
    let mut engine = Engine(serve(dir.path()));
    let deadline = Instant::now() + PATIENCE;
    while !dir.path().join("database/sightline.sock").exists() {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(20));
    }
    let mut tty = Tty::open(dir.path(), 80, 24, &[]);
    let text = tty.until("the engine's files", |text| text.contains(" 4 done"));
    assert!(!text.contains("own engine"), "{text}");
    tty.hang_up();
    assert_eq!(tty.ended_within(Duration::from_secs(2)), Some(0));

    // A console on somebody else's engine suspends at once, leaves it running, and says when it is lost.
    let mut tty = Tty::open(dir.path(), 80, 24, &[("NO_COLOR", "1")]);
    tty.shows(" 4 done");
    tty.send("\x1a");
    let deadline = Instant::now() + Duration::from_secs(5);
    while tty.process_state() != 'T' {
        assert!(Instant::now() < deadline, "{}", tty.text());
        thread::sleep(Duration::from_millis(10));
    }
    tty.signal("-CONT");
    tty.shows(" 4 done");
    tty.insist("3", "4 turns");
    assert_eq!(tty.pictured_cells(), 0);
    assert!(Command::new("kill").arg(engine.0.id().to_string()).status().unwrap().success());
    tty.shows("engine unreachable, retrying");
    tty.send("q");
    assert_eq!(tty.ended_within(Duration::from_secs(5)), Some(0));
    assert!(tty.is_restored());
    assert!(engine.0.wait().unwrap().success());
}
