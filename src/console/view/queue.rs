//! The queue: counts, files, and what was made of the selected one.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{empty, paint, pane, picture, put, rows};
use crate::console::layout;
use crate::console::message::Subject;
use crate::console::state::State;
use crate::console::text::{count, cut_front, date_time, duration, fit, time, wrap};
use crate::domain::view::{Answer, Item, Job};
use crate::domain::{Decision, ItemState, Sighting, display_safe};

pub(super) fn draw(state: &State, buffer: &mut Buffer) {
    let places = layout::queue(state);
    head(state, buffer, places.head);
    list(state, buffer, places.list);
    detail(state, buffer, places.detail);
    let subject = state.queue.list.selected().and_then(|item| item.sha256).map(Subject::Original);
    picture(state, buffer, places.picture, "Picture", subject.as_ref(), "not hashed yet");
}

fn state_style(state: &State, of: ItemState) -> Style {
    match of {
        ItemState::Waiting | ItemState::Duplicate | ItemState::Discarded => state.theme.dim,
        ItemState::Working => state.theme.accent,
        ItemState::Done => state.theme.good,
        ItemState::Quarantined => state.theme.warn,
        ItemState::Failed => state.theme.bad,
    }
}

fn head(state: &State, buffer: &mut Buffer, area: Rect) {
    let theme = &state.theme;
    put(buffer, area, 0, counts(state, area.width));
    let Some(stats) = &state.stats else { return };
    let mut line = format!(" {:.1} pictures/s", stats.rate_10s);
    if let Some(oldest) = stats.oldest_waiting_seconds {
        line.push_str(&format!("   oldest waits {}", duration(oldest)));
    }
    if let Some(eta) = stats.eta_seconds {
        line.push_str(&format!("   all done in {}", duration(eta)));
    }
    put(buffer, area, 1, Span::styled(line, theme.text));
    for (row, job) in stats.jobs.iter().take(3).enumerate() {
        put(buffer, area, row + 2, job_line(state, job, area.width));
    }
}

/// How many files are in each state. Where not all of it fits, what needs a look comes first, what is nothing is left
/// out, and the rest is shortened.
fn counts(state: &State, width: u16) -> Line<'static> {
    let Some(c) = &state.counts else { return Line::default() };
    let all = [
        (ItemState::Waiting, c.waiting),
        (ItemState::Working, c.working),
        (ItemState::Done, c.done),
        (ItemState::Duplicate, c.duplicate),
        (ItemState::Quarantined, c.quarantined),
        (ItemState::Failed, c.failed),
    ];
    let mut urgent_first: Vec<_> = all.into_iter().filter(|(_, number)| *number > 0).collect();
    urgent_first.sort_by_key(|(of, _)| match of {
        ItemState::Failed => 0,
        ItemState::Quarantined => 1,
        _ => 2,
    });
    let long = |(of, _): &(ItemState, u64)| format!(" {}", of.name());
    let short = |(of, _): &(ItemState, u64)| {
        let name = match of {
            ItemState::Failed => " failed",
            ItemState::Quarantined => " quar",
            ItemState::Waiting => "w",
            ItemState::Working => "k",
            ItemState::Done => "d",
            ItemState::Duplicate => "dup",
            ItemState::Discarded => "x",
        };
        name.to_owned()
    };
    let shortest = |counted: &(ItemState, u64)| match counted.0 {
        ItemState::Failed => "f".to_owned(),
        ItemState::Quarantined => "q".to_owned(),
        _ => short(counted),
    };
    let gap = if width >= 90 { "   " } else { "  " };
    let forms = [
        count_spans(state, &all, long, gap),
        count_spans(state, &urgent_first, long, gap),
        count_spans(state, &urgent_first, short, " "),
    ];
    let least = count_spans(state, &urgent_first, shortest, " ");
    forms.into_iter().find(|line| line.width() <= usize::from(width)).unwrap_or(least)
}

fn count_spans(
    state: &State,
    counted: &[(ItemState, u64)],
    name: impl Fn(&(ItemState, u64)) -> String,
    gap: &'static str,
) -> Line<'static> {
    let dim = state.theme.dim;
    let mut line = Line::raw(" ");
    for (place, item) in counted.iter().enumerate() {
        if place > 0 {
            line.push_span(Span::styled(gap, dim));
        }
        line.push_span(Span::styled(count(item.1), if item.1 > 0 { state_style(state, item.0) } else { dim }));
        line.push_span(Span::styled(name(item), dim));
    }
    if counted.is_empty() {
        line.push_span(Span::styled("no files", dim));
    }
    line
}

fn job_line(state: &State, job: &Job, width: u16) -> Line<'static> {
    let title = format!(" {}", display_safe(&job.title));
    if let Some(failed) = &job.failed {
        return Line::styled(format!("{title}: {}", display_safe(failed)), state.theme.bad);
    }
    let share = if job.total == 0 { 0.0 } else { (job.done as f64 / job.total as f64).min(1.0) };
    let cells = usize::from(width / 5).clamp(4, 30);
    let full = (share * cells as f64) as usize;
    let mut figures = format!(" {} of {}", count(job.done), count(job.total));
    // Too little done says nothing about the rest.
    if job.done > 0 && job.done < job.total && job.seconds >= 2 {
        let left = job.seconds as f64 * (1.0 - share) / share;
        figures.push_str(&format!(", {} left", duration(left as u64)));
    }
    Line::from(vec![
        Span::styled(fit(&title, usize::from(width / 3)), state.theme.text),
        Span::raw(" "),
        Span::styled("█".repeat(full), state.theme.bar),
        Span::styled("░".repeat(cells - full), state.theme.border),
        Span::styled(figures, state.theme.text),
    ])
}

fn list(state: &State, buffer: &mut Buffer, area: Rect) {
    let list = &state.queue.list;
    let title = match state.queue.state {
        Some(of) => format!("Files: {} (f next state, Esc all)", of.name()),
        None if state.queue.list.follows() => "Files, the newest on top (j k choose one, f a state)".into(),
        None => "Files (g follows what is new, f chooses a state)".into(),
    };
    let inside = pane(state, buffer, area, &title, true);
    if list.rows().is_empty() {
        let words = match state.queue.state {
            Some(of) => format!("no file is {}", of.name()),
            None => "no file has arrived yet; drop pictures into a watched folder".into(),
        };
        return empty(state, buffer, inside, list.is_loaded(), &words);
    }
    let width = usize::from(inside.width);
    let first = list.first_shown(inside.height.into());
    for (row, item, selected) in rows(list.rows(), first, inside.height, list.place()) {
        put(buffer, inside, row, item_line(state, item, width));
        if selected {
            paint(buffer, inside, row, state.theme.selected);
        }
    }
}

/// State, name, answer, time; what has no room is left out from the right.
fn item_line(state: &State, item: &Item, width: usize) -> Line<'static> {
    let state_width = if width >= 50 { 12 } else { 5 };
    let time_width = if width >= 60 { 9 } else { 0 };
    let answer_width = if width >= 36 { width / 3 } else { 0 };
    let name_width = width.saturating_sub(state_width + time_width + answer_width + 1);
    let name: String = item.state.name().chars().take(state_width - 1).collect();
    let (answer, style) = outcome(state, item);
    let mut line = vec![
        Span::styled(format!("{name:<state_width$}"), state_style(state, item.state)),
        Span::styled(fit(&cut_front(&item.path.file_name_safe(), name_width), name_width) + " ", state.theme.text),
        Span::styled(fit(&answer, answer_width), style),
    ];
    if time_width > 0 {
        line.push(Span::styled(format!(" {}", time(item.arrived_ms, state.zone)), state.theme.dim));
    }
    Line::from(line)
}

/// What came of a file, in a few words.
fn outcome(state: &State, item: &Item) -> (String, Style) {
    let theme = &state.theme;
    match (&item.answer, &item.reason) {
        (Some(answer), _) => answer_words(state, answer),
        (None, Some(reason)) => (display_safe(reason), theme.dim),
        (None, None) if item.state == ItemState::Done => {
            (format!("enrolled as {}", display_safe(&item.mode)), theme.text)
        }
        (None, None) if item.mode == "identify" => (String::new(), theme.dim),
        (None, None) => (format!("to enrol as {}", display_safe(&item.mode)), theme.dim),
    }
}

fn answer_words(state: &State, answer: &Answer) -> (String, Style) {
    let similarity = answer.similarity.map_or_else(String::new, |s| format!(" {s:.3}"));
    match (&answer.label, answer.reason) {
        (Some(label), _) => (format!("{}{similarity}", display_safe(label.as_str())), state.theme.good),
        (None, Some(reason)) => (format!("abstained{similarity}: {}", reason.sentence()), state.theme.warn),
        (None, None) => ("abstained".into(), state.theme.warn),
    }
}

fn detail(state: &State, buffer: &mut Buffer, area: Rect) {
    let inside = pane(state, buffer, area, "File", false);
    let Some(item) = state.queue.list.selected() else { return };
    let theme = &state.theme;
    let mut lines: Vec<Line<'_>> = Vec::new();
    let width = usize::from(inside.width);
    let mut field = |name: &str, value: String, style: Style| {
        for (at, part) in wrap(&value, width.saturating_sub(9)).into_iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            lines.push(Line::from(vec![Span::styled(fit(name, 9), theme.dim), Span::styled(part, style)]));
        }
    };
    field("path", item.path.to_string(), theme.text);
    if let Some(sha256) = &item.sha256 {
        field("sha256", sha256.to_string(), theme.text);
    }
    field("state", format!("{}, for {}", item.state.name(), display_safe(&item.mode)), state_style(state, item.state));
    if let Some(answer) = &item.answer {
        let (mut words, style) = answer_words(state, answer);
        if let Some(margin) = answer.margin {
            words.push_str(&format!(", margin {margin:.3}"));
        }
        field("answer", words, style);
    }
    if let Some(reason) = &item.reason {
        field("reason", display_safe(reason), theme.warn);
    }
    let detail = state.queue.selected_detail();
    if let Some(of) = detail.and_then(|detail| detail.duplicate_of) {
        field("same as", of.to_string(), theme.text);
    }
    if let Some([w, h]) = detail.and_then(|detail| detail.size) {
        field("pixels", format!("{w} x {h}"), theme.text);
    }
    let took = item.ms.map_or_else(String::new, |ms| format!(", took {ms:.0} ms"));
    field("arrived", date_time(item.arrived_ms, state.zone) + &took, theme.text);
    for sighting in detail.iter().flat_map(|detail| &detail.sightings) {
        let (words, style) = sighting_words(state, sighting);
        field(&format!("object {}", sighting.index), words, style);
    }
    for (row, line) in lines.into_iter().enumerate() {
        put(buffer, inside, row, line);
    }
}

fn sighting_words(state: &State, sighting: &Sighting) -> (String, Style) {
    let theme = &state.theme;
    let seen = format!("{} {:.2}", display_safe(&sighting.detection.name), sighting.detection.confidence);
    let (made, style) = match (&sighting.decision, &sighting.enrolled) {
        (Some(Decision::Accept { label, similarity, margin, rotation }), _) => (
            format!(
                "{}, similarity {similarity:.3}, margin {margin:.3}, turned {}°",
                display_safe(label.as_str()),
                rotation.degrees()
            ),
            theme.good,
        ),
        (Some(Decision::Abstain { reason, label, similarity, margin, .. }), _) => {
            let mut words = format!("abstained, {}", reason.sentence());
            if let (Some(label), Some(similarity), Some(margin)) = (label, similarity, margin) {
                words.push_str(&format!(" (nearest {label} {similarity:.3}, margin {margin:.3})"));
            }
            (display_safe(&words), theme.warn)
        }
        (None, Some(enrolled)) => (format!("enrolled as {}", display_safe(enrolled.label.as_str())), theme.text),
        (None, None) => ("not embedded".into(), theme.dim),
    };
    (format!("{seen}: {made}"), style)
}
