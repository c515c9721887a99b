//! The terminal: taken, and given back on every way out.

use std::io::{self, BufWriter, Stdout, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::clipboard::CopyToClipboard;
use crossterm::event::{DisableBracketedPaste, DisableFocusChange, DisableMouseCapture, EnableBracketedPaste};
use crossterm::style::{ResetColor, SetAttribute};
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode,
};
use crossterm::{cursor, execute, queue};
use ratatui::backend::{Backend as _, ClearType, CrosstermBackend};
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

/// A frame of a large screen in one write.
const BUFFER: usize = 256 << 10;
/// The most bytes sent to a clipboard; terminals drop longer ones.
const CLIPBOARD: usize = 4096;

/// Whether there is something to give back. The panic hook has nobody else to ask.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal while the console has it.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn take() -> io::Result<Self> {
        // Colours were resolved by the theme; crossterm's own reading of NO_COLOR would drop reverse and bold too.
        crossterm::style::force_color_output(true);
        enter()?;
        let (columns, rows) = size();
        let backend = CrosstermBackend::new(BufWriter::with_capacity(BUFFER, io::stdout()));
        let viewport = Viewport::Fixed(Rect::new(0, 0, columns, rows));
        match Terminal::with_options(backend, TerminalOptions { viewport }) {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// Draws a frame: what differs from the last one goes out in one piece.
    pub(super) fn draw(&mut self, view: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        self.terminal.draw(view)?;
        execute!(self.terminal.backend_mut(), EndSynchronizedUpdate)
    }

    /// Fits the frame to the terminal's size, where that has changed.
    pub(super) fn fit(&mut self, (columns, rows): (u16, u16)) -> io::Result<()> {
        if self.terminal.get_frame().area() == Rect::new(0, 0, columns, rows) {
            return Ok(());
        }
        self.repaint((columns, rows))
    }

    /// Paints every cell with the next draw. (`Terminal::clear` would ask the terminal where its cursor is, and wait.)
    pub(super) fn repaint(&mut self, (columns, rows): (u16, u16)) -> io::Result<()> {
        self.terminal.resize(Rect::new(0, 0, columns, rows))?;
        // Both buffers are blank now, so every cell that is not will be sent.
        self.terminal.backend_mut().clear_region(ClearType::All)
    }

    /// Sends text to the clipboard of whoever sits before the terminal (OSC 52).
    pub(super) fn copy(&mut self, text: &str) -> io::Result<()> {
        let text = text.get(..CLIPBOARD).unwrap_or(text);
        execute!(self.terminal.backend_mut(), CopyToClipboard::to_clipboard_from(text))
    }

    /// Gives the terminal back, stops this process, and takes the terminal again when it is continued.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        restore();
        // The whole job stops, as the shell expects of Ctrl-Z.
        rustix::process::kill_current_process_group(rustix::process::Signal::STOP)?;
        enter()
    }

    /// Takes the terminal again after somebody else stopped and continued this process: the shell had it meanwhile.
    pub(super) fn retake(&mut self) -> io::Result<()> {
        restore();
        enter()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Columns and rows.
pub(super) fn size() -> (u16, u16) {
    crossterm::terminal::size().unwrap_or((80, 24))
}

fn enter() -> io::Result<()> {
    TAKEN.store(true, Ordering::SeqCst);
    let entered = enable_raw_mode()
        .and_then(|()| execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste, cursor::Hide));
    if entered.is_err() {
        restore();
    }
    entered
}

/// Gives the terminal back; safe to call at any time, and again.
pub(super) fn restore() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // A terminal that has gone cannot be restored; there is nobody to tell.
    let left = execute!(
        io::stdout(),
        EndSynchronizedUpdate,
        DisableMouseCapture,
        DisableFocusChange,
        DisableBracketedPaste,
        ResetColor,
        SetAttribute(crossterm::style::Attribute::Reset),
        LeaveAlternateScreen,
        cursor::Show
    );
    let cooked = disable_raw_mode();
    drop((left, cooked, io::stdout().flush()));
}

/// Restores the terminal before a panic is reported.
pub(super) fn restore_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        restore();
        before(info);
    }));
}
