//! Live figures.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Sparkline, Widget as _};

use super::{empty, pane, put};
use crate::console::layout::{left, top};
use crate::console::state::State;
use crate::console::text::{bytes, count, cut, duration, fit};
use crate::domain::view::{ModelStatus, Stats};
use crate::domain::{AbstainReason, display_safe};

pub(super) fn draw(state: &State, buffer: &mut Buffer, area: Rect) {
    let Some(stats) = &state.stats else { return empty(state, buffer, area, false, "") };
    if area.width < 70 || area.height < 14 {
        let (speed, rest) = top(area, area.height.min(4));
        rate(state, buffer, speed, stats);
        let (stages, rest) = top(rest, 8);
        latency(state, buffer, stages, stats);
        let (answered, rest) = top(rest, 6);
        answers(state, buffer, answered, stats);
        return resources(state, buffer, rest, stats);
    }
    let (upper, lower) = top(area, area.height / 3);
    let (speed, mix) = left(upper, area.width / 2);
    rate(state, buffer, speed, stats);
    accept_history(state, buffer, mix, stats);
    let (tables, engine) = top(lower, lower.height.saturating_sub(7).max(8));
    let (stages, right) = left(tables, if area.width >= 100 { area.width / 2 } else { 37 });
    latency(state, buffer, stages, stats);
    let (answered, batch) = left(right, right.width * 11 / 20);
    answers(state, buffer, answered, stats);
    batches(state, buffer, batch, stats);
    resources(state, buffer, engine, stats);
}

/// The last values that fit, drawn to the area's whole height.
fn spark(state: &State, buffer: &mut Buffer, area: Rect, values: &[u64], most: u64) {
    let area = area.intersection(buffer.area);
    if area.is_empty() {
        return;
    }
    let shown = &values[values.len().saturating_sub(area.width.into())..];
    Sparkline::default().data(shown).max(most.max(1)).style(state.theme.bar).render(area, buffer);
}

fn rate(state: &State, buffer: &mut Buffer, area: Rect, stats: &Stats) {
    let title = format!("Pictures/s: {:.1} now, {:.1} a minute's mean, 120 s", stats.rate_10s, stats.rate_60s);
    let inside = pane(state, buffer, area, &title, false);
    let values: Vec<u64> = stats.history.iter().map(|finished| u64::from(*finished)).collect();
    spark(state, buffer, inside, &values, values.iter().copied().max().unwrap_or(1));
}

fn accept_history(state: &State, buffer: &mut Buffer, area: Rect, stats: &Stats) {
    let inside = pane(state, buffer, area, "Share accepted, 120 s", false);
    let values: Vec<u64> = stats.accept_history.iter().map(|share| (share.max(0.0) * 100.0) as u64).collect();
    spark(state, buffer, inside, &values, 100);
}

fn latency(state: &State, buffer: &mut Buffer, area: Rect, stats: &Stats) {
    let inside = pane(state, buffer, area, "Milliseconds by stage, last 1024 pictures", false);
    let head = format!(" {:<8}{:>9}{:>9}{:>9}", "stage", "p50", "p95", "p99");
    put(buffer, inside, 0, Span::styled(head, state.theme.dim));
    for (row, stage) in stats.stages.iter().enumerate() {
        let name = fit(&display_safe(&stage.stage), 8);
        let line = format!(" {name}{:>9.1}{:>9.1}{:>9.1}", stage.p50, stage.p95, stage.p99);
        put(buffer, inside, row + 1, Span::styled(line, state.theme.text));
        let used = 37.min(inside.width);
        let place = Rect { x: inside.x + used, y: inside.y + row as u16 + 1, width: inside.width - used, height: 1 };
        if row + 1 < usize::from(inside.height) {
            let values: Vec<u64> = stage.recent.iter().map(|ms| (ms * 100.0) as u64).collect();
            spark(state, buffer, place, &values, values.iter().copied().max().unwrap_or(1));
        }
    }
}

fn short(reason: AbstainReason) -> &'static str {
    match reason {
        AbstainReason::NoObject => "no object",
        AbstainReason::EmptyGallery => "empty gallery",
        AbstainReason::BelowThreshold => "too far",
        AbstainReason::MarginTooSmall => "margin too small",
    }
}

fn answers(state: &State, buffer: &mut Buffer, area: Rect, stats: &Stats) {
    let theme = &state.theme;
    let inside = pane(state, buffer, area, "Answers since start", false);
    let abstained: u64 = stats.abstained.iter().map(|(_, number)| number).sum();
    let all = stats.accepted + abstained;
    let share = |number: u64| if all == 0 { 0.0 } else { 100.0 * number as f64 / all as f64 };
    let mut lines = vec![
        (format!("{:>7} {:>3.0}% accepted", count(stats.accepted), share(stats.accepted)), theme.good),
        (format!("{:>7} {:>3.0}% abstained", count(abstained), share(abstained)), theme.warn),
    ];
    for (reason, number) in &stats.abstained {
        lines.push((format!("{:>7} {:>3.0}%   {}", count(*number), share(*number), short(*reason)), theme.dim));
    }
    lines.push((format!("{:>7}      enrolled", count(stats.enrolled)), theme.text));
    for (row, (line, style)) in lines.into_iter().enumerate() {
        put(buffer, inside, row, Span::styled(cut(&line, inside.width.into()), style));
    }
}

fn batches(state: &State, buffer: &mut Buffer, area: Rect, stats: &Stats) {
    let inside = pane(state, buffer, area, "Batch sizes", false);
    let most = stats.batches.iter().map(|(_, number)| *number).max().unwrap_or(1).max(1);
    let room = u64::from(inside.width.saturating_sub(13));
    for (row, (size, number)) in stats.batches.iter().enumerate() {
        let cells = (number * room).div_ceil(most) as usize;
        let line = Line::from(vec![
            Span::styled(format!(" {size:>3} "), state.theme.text),
            Span::styled("█".repeat(cells), state.theme.bar),
            Span::styled(format!(" {}", count(*number)), state.theme.dim),
        ]);
        put(buffer, inside, row, line);
    }
}

fn resources(state: &State, buffer: &mut Buffer, area: Rect, stats: &Stats) {
    let theme = &state.theme;
    let inside = pane(state, buffer, area, "Engine", false);
    let width = usize::from(inside.width);
    let mut lines = vec![
        format!(
            " memory {}   processor {:.1} cores   disk free {}",
            bytes(stats.memory_bytes),
            stats.cpu_cores,
            bytes(stats.disk_free_bytes)
        ),
        format!(" device {}", stats.device.as_deref().map_or_else(|| "models not loaded".into(), display_safe)),
    ];
    if let Some(status) = &state.status {
        let model = |name: &str, model: &ModelStatus| {
            let untrained = if model.untrained { ", untrained" } else { "" };
            let file = model.path.file_name_safe();
            format!(" {name} {file}: {}{untrained}, {}", display_safe(&model.state), display_safe(&model.detail))
        };
        lines.push(model("detector", &status.detector));
        lines.push(model("embedder", &status.embedder));
        let folders = if status.watching { "watching its folders" } else { "not watching folders" };
        lines.push(format!(" process {}, {folders}", status.pid));
    }
    if let Some(oldest) = stats.oldest_waiting_seconds {
        lines.push(format!(" the oldest file waits for {}", duration(oldest)));
    }
    for (row, line) in lines.into_iter().enumerate() {
        put(buffer, inside, row, Span::styled(cut(&line, width), theme.text));
    }
}
