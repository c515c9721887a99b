//! Text in cells: widths, cuts, numbers and times for people.

use chrono::{DateTime, Local, Utc};
use tui_input::{Input, InputRequest};
use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

/// The most characters of a field.
const LONGEST: usize = 4096;

/// In which time zone times are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    /// The machine's.
    Local,
    /// UTC.
    #[cfg_attr(not(test), allow(dead_code, reason = "screens in tests must not depend on the machine"))]
    Utc,
}

/// Exactly `width` columns: filled up with space, or cut with `…`.
pub(super) fn fit(text: &str, width: usize) -> String {
    let mut fitted = cut(text, width);
    fitted.extend(std::iter::repeat_n(' ', width.saturating_sub(fitted.width())));
    fitted
}

/// At most `width` columns, cut with `…`.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut used = 0;
    for grapheme in text.graphemes(true) {
        used += grapheme.width();
        if used + 1 > width {
            break;
        }
        shown.push_str(grapheme);
    }
    if width > 0 {
        shown.push('…');
    }
    shown
}

/// At most `width` columns, cut at the front: the end of a path tells more than its beginning.
pub(super) fn cut_front(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut kept, mut used) = (Vec::new(), 0);
    for grapheme in text.graphemes(true).rev() {
        used += grapheme.width();
        if used + 1 > width {
            break;
        }
        kept.push(grapheme);
    }
    let mut shown = if width > 0 { "…".to_owned() } else { String::new() };
    shown.extend(kept.into_iter().rev());
    shown
}

/// Lines of at most `width` columns, broken between words where that can be.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_inclusive(' ') {
        let mut pieces = vec![word];
        if word.trim_end().width() > width {
            pieces = word.graphemes(true).collect();
        }
        for piece in pieces {
            // The space after the last word of a line may stand beyond its end.
            if used + piece.trim_end().width() > width && used > 0 {
                lines.push(String::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.push_str(piece);
            }
            used += piece.width();
        }
    }
    lines
}

/// Inserts pasted text: what cannot be typed on one line is left out.
pub(super) fn paste(input: &mut Input, text: &str) {
    for letter in text.chars().filter(|c| !c.is_control()) {
        if input.value().len() < LONGEST {
            input.handle(InputRequest::InsertChar(letter));
        }
    }
}

/// `3 s`, `4 min`, `2 h 05 min`, `3 d 4 h`.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Bytes in binary units, three digits or so.
pub(super) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1000.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// A large number with thin groups: `12 345`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(' ');
        }
        shown.push(digit);
    }
    shown
}

/// `2026-11-21 14:03:22`.
pub(super) fn date_time(millis: i64, zone: Zone) -> String {
    formatted(millis, zone, "%Y-%m-%d %H:%M:%S")
}

/// `14:03:22`.
pub(super) fn time(millis: i64, zone: Zone) -> String {
    formatted(millis, zone, "%H:%M:%S")
}

fn formatted(millis: i64, zone: Zone, format: &str) -> String {
    let Some(utc) = DateTime::<Utc>::from_timestamp_millis(millis) else { return millis.to_string() };
    match zone {
        Zone::Local => utc.with_timezone(&Local).format(format).to_string(),
        Zone::Utc => utc.format(format).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_are_cut_whole() {
        assert_eq!(cut("薬薬薬", 4), "薬…");
        assert_eq!(fit("薬薬薬", 4), "薬… ");
        assert_eq!(cut_front("薬薬薬", 4), "…薬");
        assert_eq!(fit("e\u{301}a", 3), "e\u{301}a ");
        for width in 0..9 {
            assert!(cut("薬abc薬薬", width).width() <= width);
            assert!(cut_front("薬abc薬薬", width).width() <= width);
            assert_eq!(fit("薬abc薬薬", width).width(), width);
        }
    }

    #[test]
    fn text_is_wrapped_between_words_and_loses_nothing() {
        assert_eq!(wrap("the file ends early", 9), ["the file ", "ends ", "early"].map(str::to_owned));
        assert_eq!(wrap("abcdefgh", 3).concat(), "abcdefgh");
        assert_eq!(wrap("", 3), [""]);
        for width in 1..12 {
            assert!(
                wrap("薬の箱 not_an_image: 0123456789", width).iter().all(|l| l.trim_end().width() <= width.max(2))
            );
        }
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(1_234_567), "1 234 567");
        assert_eq!(count(12), "12");
        assert_eq!(bytes(1023), "1.0 KiB");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
        assert_eq!(duration(7384), "2 h 03 min");
        assert_eq!(date_time(1_763_733_802_000, Zone::Utc), "2025-11-21 14:03:22");
    }
}
