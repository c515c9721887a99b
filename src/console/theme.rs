//! Colours: the terminal's own sixteen, so that the operator's palette is respected; none under `NO_COLOR`.

use ratatui::style::{Color, Modifier, Style};

use super::picture::Shades;
use crate::config::ThemeName;

/// The styles, by what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Theme {
    /// What is read.
    pub(super) text: Style,
    /// What is read second.
    pub(super) dim: Style,
    /// Names of things: headings, keys.
    pub(super) accent: Style,
    /// Accepted, proven.
    pub(super) good: Style,
    /// Needs a look.
    pub(super) warn: Style,
    /// Needs an act.
    pub(super) bad: Style,
    /// The selected row; visible without any colour.
    pub(super) selected: Style,
    /// The selected row of a pane that has not the focus.
    pub(super) marked: Style,
    /// A banner across the screen.
    pub(super) banner: Style,
    /// Lines between panes.
    pub(super) border: Style,
    /// Bars and sparklines.
    pub(super) bar: Style,
    /// Pictures.
    pub(super) shades: Shades,
}

impl Theme {
    /// The theme for a terminal, as its environment describes it.
    pub(super) fn resolve(name: ThemeName, variable: impl Fn(&str) -> Option<String>) -> Self {
        let light = match name {
            ThemeName::Dark => false,
            ThemeName::Light => true,
            ThemeName::Auto => variable("COLORFGBG").is_some_and(|value| says_light(&value)),
        };
        let said = |name: &str| variable(name).unwrap_or_default().to_lowercase();
        let term = said("TERM");
        if variable("NO_COLOR").is_some_and(|value| !value.is_empty()) || term == "dumb" {
            return Self::colourless(light);
        }
        let shades = if matches!(said("COLORTERM").as_str(), "truecolor" | "24bit") || term.ends_with("-direct") {
            Shades::True
        } else if term.contains("256color") {
            Shades::Indexed
        } else {
            Shades::Ramp { inverted: light }
        };
        if light { Self::light(shades) } else { Self::dark(shades) }
    }

    fn dark(shades: Shades) -> Self {
        let fg = |colour| Style::new().fg(colour);
        Self {
            text: Style::new(),
            dim: fg(Color::Gray).add_modifier(Modifier::DIM),
            accent: fg(Color::LightCyan),
            good: fg(Color::LightGreen),
            warn: fg(Color::LightYellow),
            bad: fg(Color::LightRed).add_modifier(Modifier::BOLD),
            // One colour for the whole row, whatever its parts have.
            selected: Style::new()
                .fg(Color::Reset)
                .add_modifier(Modifier::REVERSED | Modifier::BOLD)
                .remove_modifier(Modifier::DIM),
            marked: Style::new().add_modifier(Modifier::UNDERLINED | Modifier::BOLD),
            banner: Style::new().fg(Color::White).bg(Color::Red).add_modifier(Modifier::BOLD),
            border: fg(Color::DarkGray),
            bar: fg(Color::Cyan),
            shades,
        }
    }

    fn light(shades: Shades) -> Self {
        let fg = |colour| Style::new().fg(colour);
        Self {
            dim: fg(Color::DarkGray),
            accent: fg(Color::Blue),
            good: fg(Color::Green),
            warn: fg(Color::Magenta),
            bad: fg(Color::Red).add_modifier(Modifier::BOLD),
            border: fg(Color::Gray),
            bar: fg(Color::Blue),
            ..Self::dark(shades)
        }
    }

    /// `NO_COLOR` (no-color.org): bold, dim, reverse and underline carry the meaning alone.
    fn colourless(light: bool) -> Self {
        let plain = Style::new();
        Self {
            text: plain,
            dim: plain,
            accent: plain.add_modifier(Modifier::BOLD),
            good: plain,
            warn: plain.add_modifier(Modifier::BOLD),
            bad: plain.add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
            selected: plain.add_modifier(Modifier::REVERSED | Modifier::BOLD),
            marked: plain.add_modifier(Modifier::UNDERLINED | Modifier::BOLD),
            banner: plain.add_modifier(Modifier::REVERSED | Modifier::BOLD),
            border: plain,
            bar: plain,
            shades: Shades::Ramp { inverted: light },
        }
    }
}

/// `COLORFGBG` is `foreground;background` (sometimes with something between), of the sixteen.
fn says_light(value: &str) -> bool {
    value.rsplit(';').next().and_then(|background| background.parse::<u8>().ok()).is_some_and(|b| b == 7 || b > 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theme(name: ThemeName, environment: &[(&str, &str)]) -> Theme {
        Theme::resolve(name, |asked| {
            environment.iter().find(|(name, _)| *name == asked).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn no_color_keeps_the_selection_visible() {
        let theme = theme(ThemeName::Dark, &[("NO_COLOR", "1"), ("COLORTERM", "truecolor")]);
        assert_eq!(theme.shades, Shades::Ramp { inverted: false });
        assert!(theme.selected.add_modifier.contains(Modifier::REVERSED));
        for style in [theme.text, theme.bad, theme.selected, theme.banner, theme.good, theme.border, theme.bar] {
            assert_eq!((style.fg, style.bg), (None, None));
        }
        assert_ne!(theme.selected, theme.text);
        assert_ne!(theme.banner, theme.text);
    }

    #[test]
    fn the_terminal_says_what_it_can() {
        assert_eq!(theme(ThemeName::Dark, &[("COLORTERM", "truecolor")]).shades, Shades::True);
        assert_eq!(theme(ThemeName::Dark, &[("TERM", "screen-256color")]).shades, Shades::Indexed);
        assert_eq!(theme(ThemeName::Dark, &[("TERM", "linux")]).shades, Shades::Ramp { inverted: false });
        let dark = Theme::dark(Shades::Indexed);
        let light = Theme::light(Shades::Indexed);
        let xterm = ("TERM", "xterm-256color");
        assert_eq!(theme(ThemeName::Auto, &[xterm]), dark);
        assert_eq!(theme(ThemeName::Auto, &[xterm, ("COLORFGBG", "15;0")]), dark);
        assert_eq!(theme(ThemeName::Auto, &[xterm, ("COLORFGBG", "0;default;15")]), light);
        assert_eq!(theme(ThemeName::Light, &[xterm, ("COLORFGBG", "15;0")]), light);
        assert_eq!(theme(ThemeName::Dark, &[xterm, ("COLORFGBG", "0;15"), ("NO_COLOR", "")]), dark);
    }
}
