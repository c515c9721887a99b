//! Pictures of figures: curves, what a run gave, which class was taken for which.

pub mod classes;

use image::RgbImage;
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use super::metrics::confusion::Confusion;
use super::metrics::ultralytics::Scores;

/// Colours far apart (Okabe and Ito, 2008: also for colour-blind eyes).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];
/// How a curve is drawn: colours come again after some, but never with the same stroke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stroke {
    Line,
    /// Pixels that are drawn, and that are not.
    Dashes(u32, u32),
}

impl Stroke {
    fn of(number: usize) -> Self {
        match number / COLOURS.len() {
            0 => Self::Line,
            1 => Self::Dashes(8, 4),
            _ => Self::Dashes(2, 4),
        }
    }

    /// 16 pixels of it, for a list of names.
    fn sample(self, (x, y): (i32, i32), style: ShapeStyle) -> DashedPathElement<std::vec::IntoIter<(i32, i32)>, i32> {
        let (on, off) = match self {
            Self::Line => (16, 0),
            Self::Dashes(on, off) => (on as i32, off as i32),
        };
        DashedPathElement::new(vec![(x, y), (x + 16, y)], on, off, style)
    }
}

/// More classes than this are drawn thin and without names.
const NAMED: usize = 20;
/// More classes than this get no numbers in their cells.
const NUMBERED: usize = 30;

/// Why a plot was not drawn.
#[derive(Debug, thiserror::Error)]
#[error("a plot could not be drawn: {0}")]
pub struct PlotError(String);

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// A curve with its name.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// What it is called.
    pub name: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

/// Draws on a white picture of `width` by `height` pixels.
fn drawn(
    width: u32,
    height: u32,
    draw: impl FnOnce(&Area) -> Result<(), Box<dyn std::error::Error>>,
) -> Result<RgbImage, PlotError> {
    // Registering it again changes nothing. The letters are embedded: a machine without fonts draws the same.
    register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| PlotError("the letters cannot be read".into()))?;
    let mut bytes = vec![255; (width * height * 3) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut bytes, (width, height)).into_drawing_area();
        draw(&area).and_then(|()| area.present().map_err(Into::into)).map_err(|error| PlotError(error.to_string()))?;
    }
    RgbImage::from_raw(width, height, bytes).ok_or_else(|| PlotError("its size does not fit".into()))
}

/// How far up a chart goes, and what is along it.
#[derive(Clone, Copy)]
enum Scale {
    /// From 0 to 1 in both directions.
    Shares,
    /// As far as its values go; along it whole numbers.
    Whole,
}

/// A number as it stands at an axis.
fn tick(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e5).contains(&size) {
        return format!("{value:.1e}");
    }
    let text = format!("{value:.4}");
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" { "0".into() } else { short.into() }
}

/// One chart on an area.
fn chart(
    area: &Area,
    title: &str,
    (across, up): (&str, &str),
    series: &[Series],
    scale: Scale,
) -> Result<(), Box<dyn std::error::Error>> {
    let finite = |of: fn(&(f64, f64)) -> f64| {
        series.iter().flat_map(|one| &one.points).map(of).filter(|value| value.is_finite()).collect::<Vec<f64>>()
    };
    let (xs, ys) = (finite(|point| point.0), finite(|point| point.1));
    let span = |values: &[f64]| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if low > high { (0.0, 1.0) } else { (low, high) }
    };
    let (mut left, mut right) = span(&xs);
    let (low, high) = match scale {
        Scale::Shares => (0.0, 1.0),
        Scale::Whole => {
            let (low, high) = span(&ys);
            // One value alone has some room around it, and those that hardly differ so much that ticks do; what cannot be
            // negative begins at 0.
            let margin =
                if high > low { ((high - low) * 0.05).max(high.abs() * 0.0025) } else { (high.abs() * 0.1).max(1e-3) };
            (if low >= 0.0 { (low - margin).max(0.0) } else { low - margin }, high + margin)
        }
    };
    if right - left < 1e-12 {
        (left, right) = (left - 1.0, right + 1.0);
    }
    let ticks = match scale {
        Scale::Shares => 11,
        Scale::Whole => ((right - left).floor() as usize + 1).clamp(2, 8),
    };
    // Where ticks would fall between whole numbers nothing is written.
    let along = |value: &f64| match scale {
        Scale::Whole if (value - value.round()).abs() > 1e-6 => String::new(),
        _ => tick(*value),
    };
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(52)
        .build_cartesian_2d(left..right, low..high)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(across)
        .y_desc(up)
        .x_labels(ticks)
        .x_label_formatter(&along)
        .y_label_formatter(&|value| tick(*value))
        .label_style(("sans-serif", 12))
        .draw()?;
    let named = series.len() <= NAMED && series.iter().any(|one| !one.name.is_empty());
    for (number, one) in series.iter().enumerate() {
        // The last of many is the mean: thick, in black.
        let mean = series.len() > 1 && number + 1 == series.len() && matches!(scale, Scale::Shares);
        let colour = if mean { BLACK } else { COLOURS[number % COLOURS.len()] };
        let width = if mean { 3 } else { 1 + u32::from(series.len() <= 3) };
        let stroke = if mean { Stroke::Line } else { Stroke::of(number) };
        let points: Vec<(f64, f64)> =
            one.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
        // A point alone makes no line.
        if let [point] = points.as_slice() {
            chart.draw_series([Circle::new(*point, 3, colour.filled())])?;
        }
        let drawn = match stroke {
            Stroke::Line => chart.draw_series(LineSeries::new(points, colour.stroke_width(width)))?,
            Stroke::Dashes(on, off) => {
                chart.draw_series(DashedLineSeries::new(points, on, off, colour.stroke_width(width)))?
            }
        };
        if named || (mean && series.len() > 1) {
            drawn
                .label(crate::domain::display_safe(&one.name))
                .legend(move |at| stroke.sample(at, colour.stroke_width(width)));
        }
    }
    if named || series.len() > 1 {
        let mut style = chart.configure_series_labels();
        style.position(emptiest(series, (left, right), (low, high))).label_font(("sans-serif", 12));
        style.background_style(WHITE.mix(0.8)).border_style(RGBColor(200, 200, 200)).draw()?;
    }
    Ok(())
}

/// The corner that the least of the curves lies in: names go there.
fn emptiest(series: &[Series], (left, right): (f64, f64), (low, high): (f64, f64)) -> SeriesLabelPosition {
    /// How far a corner reaches, as a share of the chart.
    const REACH: f64 = 0.4;
    let place = |(x, y): (f64, f64)| [(x - left) / (right - left), (y - low) / (high - low)];
    // Upper right, lower right, lower left, upper left: how long the curves are there.
    let mut lengths = [0.0; 4];
    for pair in series.iter().flat_map(|one| one.points.windows(2)) {
        let (from, to) = (place(pair[0]), place(pair[1]));
        let length = (to[0] - from[0]).hypot(to[1] - from[1]);
        let steps = (length * 50.0).ceil().clamp(1.0, 100.0);
        for step in 0..steps as u32 {
            let along = (f64::from(step) + 0.5) / steps;
            let [x, y] = [0, 1].map(|axis| from[axis] + along * (to[axis] - from[axis]));
            let (is_right, is_left, is_upper, is_lower) = (x > 1.0 - REACH, x < REACH, y > 1.0 - REACH, y < REACH);
            let corners = [is_upper && is_right, is_lower && is_right, is_lower && is_left, is_upper && is_left];
            if let Some(corner) = corners.iter().position(|is_there| *is_there) {
                lengths[corner] += length / steps;
            }
        }
    }
    let corners = [
        SeriesLabelPosition::UpperRight,
        SeriesLabelPosition::LowerRight,
        SeriesLabelPosition::LowerLeft,
        SeriesLabelPosition::UpperLeft,
    ];
    let least = lengths.iter().zip(corners).min_by(|a, b| a.0.total_cmp(b.0));
    least.map_or(SeriesLabelPosition::UpperRight, |(_, corner)| corner)
}

/// One chart as a picture.
///
/// # Errors
/// It cannot be drawn.
pub fn curves(title: &str, axes: (&str, &str), series: &[Series]) -> Result<RgbImage, PlotError> {
    drawn(900, 640, |area| chart(area, title, axes, series, Scale::Shares))
}

/// What a run gave: a small chart a column of `results.csv`, by epoch.
///
/// # Errors
/// It cannot be drawn.
pub fn results(columns: &[String], rows: &[Vec<f64>]) -> Result<RgbImage, PlotError> {
    let shown: Vec<usize> = (0..columns.len())
        .filter(|place| columns[*place].contains('/') && !columns[*place].starts_with("lr/"))
        .collect();
    let across = shown.len().div_ceil(3).max(1);
    let down = shown.len().div_ceil(across).max(1);
    drawn(320 * across as u32, 260 * down as u32, |area| {
        for (place, part) in shown.iter().zip(area.split_evenly((down, across))) {
            let points = rows.iter().filter_map(|row| Some((*row.first()?, *row.get(*place)?))).collect();
            chart(&part, &columns[*place], ("epoch", ""), &[Series { name: String::new(), points }], Scale::Whole)?;
        }
        Ok(())
    })
}

/// The four curves of a detector, each with its file's name: precision by recall, and F1, precision and recall by confidence.
///
/// # Errors
/// One cannot be drawn.
pub fn detector(scores: &Scores, names: &[String], what: &str) -> Result<Vec<(String, RgbImage)>, PlotError> {
    // What a curve comes to, beside its name.
    let area: Vec<f64> = scores.classes.iter().map(|class| class.ap50).collect();
    let of = |curves: &[Vec<f64>], areas: bool| -> Vec<Series> {
        let said = |value: f64| if areas { format!(" {value:.3}") } else { String::new() };
        let count = curves.first().map_or(0, Vec::len).max(2);
        let point = |(n, value): (usize, &f64)| (n as f64 / (count - 1) as f64, *value);
        let mut all: Vec<Series> = scores
            .curves
            .classes
            .iter()
            .zip(curves)
            .enumerate()
            .map(|(place, (class, curve))| Series {
                name: names.get(*class as usize).map_or(String::new(), |name| {
                    format!("{name}{}", area.get(place).map_or(String::new(), |value| said(*value)))
                }),
                points: curve.iter().enumerate().map(point).collect(),
            })
            .collect();
        if all.len() > 1 {
            let mean = |n: usize| curves.iter().map(|curve| curve[n]).sum::<f64>() / curves.len() as f64;
            let points = (0..count).map(|n| (n as f64 / (count - 1) as f64, mean(n))).collect();
            all.push(Series { name: format!("mean of the classes{}", said(scores.map50)), points });
        }
        all
    };
    let curve = &scores.curves;
    let charts = [
        ("PR", "precision by recall, at an overlap of 0.50", ("recall", "precision"), &curve.precision_by_recall),
        ("F1", "F1 by confidence", ("confidence", "F1"), &curve.f1),
        ("P", "precision by confidence", ("confidence", "precision"), &curve.precision),
        ("R", "recall by confidence", ("confidence", "recall"), &curve.recall),
    ];
    let picture = |(file, title, axes, values): (&str, &str, (&str, &str), &Vec<Vec<f64>>)| {
        Ok((format!("{what}{file}_curve.png"), curves(&format!("{what}: {title}"), axes, &of(values, file == "PR"))?))
    };
    charts.into_iter().map(picture).collect()
}

/// Which class was taken for which; each column (what is there) in shares.
///
/// # Errors
/// It cannot be drawn.
pub fn confusion(confusion: &Confusion, names: &[String]) -> Result<RgbImage, PlotError> {
    let title = "found (rows) for what is there (columns), shares";
    matrix(title, names, confusion.classes() + 1, |found, there| confusion.count(found, there))
}

/// A name in so many characters at most: what is left out is in its middle, for names often differ at their ends only.
fn fitted(name: &str, most: usize) -> String {
    let all: Vec<char> = name.chars().collect();
    if all.len() <= most {
        return name.to_owned();
    }
    let (first, last) = ((most - 1) / 2, most - 1 - (most - 1) / 2);
    let (first, last) = (&all[..first], &all[all.len() - last..]);
    first.iter().chain(['…'].iter()).chain(last).collect()
}

/// Counts of what was taken (first) for what is there (second), each column in shares. What has no name is background.
fn matrix(
    title: &str,
    names: &[String],
    count: usize,
    hits_of: impl Fn(usize, usize) -> u64,
) -> Result<RgbImage, PlotError> {
    let side = (900 / count.max(1) as u32).clamp(12, 90);
    let (left, below) = (150, 150);
    let (width, height) = ((left + side * count as u32 + 20).max(560), 40 + side * count as u32 + below);
    let name = |class: usize| -> String {
        let all = names.get(class).map_or("background", String::as_str);
        crate::domain::display_safe(&fitted(all, 18))
    };
    drawn(width, height, |area| {
        let small = ("sans-serif", side.clamp(9, 14)).into_font();
        area.draw(&Text::new(title, (20, 12), ("sans-serif", 16)))?;
        for there in 0..count {
            let all: u64 = (0..count).map(|found| hits_of(found, there)).sum();
            let x = (left + side * there as u32) as i32;
            for found in 0..count {
                let y = (40 + side * found as u32) as i32;
                let hits = hits_of(found, there);
                let share = hits as f64 / all.max(1) as f64;
                let shade = |full: u8| (255.0 - share * f64::from(255 - full)) as u8;
                let cell = [(x, y), (x + side as i32, y + side as i32)];
                area.draw(&Rectangle::new(cell, RGBColor(shade(0), shade(90), shade(160)).filled()))?;
                area.draw(&Rectangle::new(cell, RGBColor(220, 220, 220)))?;
                if count <= NUMBERED && hits > 0 {
                    let ink = if share > 0.5 { WHITE } else { BLACK };
                    let style = small.color(&ink);
                    let (middle, centre) = (x + side as i32 / 2, y + side as i32 / 2);
                    // How many there were, where there is room.
                    let roomy = side >= 48;
                    let raised = if roomy { 14 } else { 6 };
                    area.draw(&Text::new(format!("{share:.2}"), (middle - 12, centre - raised), style.clone()))?;
                    if roomy {
                        let text = hits.to_string();
                        let width = text.len() as i32 * 4;
                        area.draw(&Text::new(text, (middle - width, centre + 2), style))?;
                    }
                }
            }
            let standing = small.transform(FontTransform::Rotate90);
            area.draw(&Text::new(name(there), (x + side as i32 / 2 + 6, 46 + (side * count as u32) as i32), standing))?;
            let y = (40 + side * there as u32 + side / 2) as i32 - 6;
            area.draw(&Text::new(name(there), (8, y), small.clone()))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's panic is its report")]
    use super::*;

    #[test]
    fn long_names_keep_their_ends() {
        assert_eq!(fitted("short", 18), "short");
        let names = ["000002 Isotripine 5 mg", "000003 Isotripine 10 mg"].map(|name| fitted(name, 18));
        assert_eq!(names, ["000002 I…pine 5 mg", "000003 I…ine 10 mg"]);
    }

    fn is_drawn(picture: &RgbImage) -> bool {
        picture.pixels().filter(|pixel| pixel.0 != [255; 3]).count() > 500
    }

    #[test]
    fn every_plot_shows_something_whatever_it_is_given() {
        let line = |name: &str, values: &[f64]| Series {
            name: name.into(),
            points: values.iter().enumerate().map(|(n, value)| (n as f64, *value)).collect(),
        };
        assert!(is_drawn(&curves("empty", ("x", "y"), &[]).unwrap()));
        assert!(is_drawn(&curves("flat", ("x", "y"), &[line("a", &[0.5, 0.5]), line("b", &[f64::NAN, 0.2])]).unwrap()));
        let many: Vec<Series> = (0..80).map(|n| line(&n.to_string(), &[0.1, 0.9])).collect();
        assert!(is_drawn(&curves("many", ("x", "y"), &many).unwrap()));
        // Curves with names are told apart by colour and stroke.
        let looks: Vec<_> = (0..NAMED).map(|n| (COLOURS[n % COLOURS.len()], Stroke::of(n))).collect();
        assert!((1..NAMED).all(|n| !looks[..n].contains(&looks[n])));
        let columns = crate::learn::train::results::columns(true);
        let row = |n: usize| (0..columns.len()).map(|c| (n * c) as f64 / 7.0).collect();
        assert!(is_drawn(&results(&columns, &[row(1), row(2), row(3)]).unwrap()));
        assert!(is_drawn(&results(&columns, &[]).unwrap()));
        let mut confused = Confusion::new(3);
        confused.add(0, 0);
        confused.add(1, 0);
        confused.add(3, 2);
        let names = ["a", "a\u{202e}b", "a very long name of a class indeed"].map(str::to_owned);
        assert!(is_drawn(&confusion(&confused, &names).unwrap()));
        assert!(is_drawn(&confusion(&Confusion::new(100), &[]).unwrap()));
    }

    #[test]
    fn the_curves_of_a_detector_are_where_its_figures_are() {
        use crate::learn::metrics::ultralytics::{Curves, score};
        use crate::learn::metrics::{Picture, Shape, Truth};
        let truth = |class| Truth { class, area: 1.0, shape: Shape::Box([0.0, 0.0, 1.0, 1.0]), crowd: false };
        // Level lines: each class and each chart has a height of its own.
        let scores = |heights: &[[f64; 4]]| {
            let classes = 0..heights.len() as u32;
            let of = |chart: usize| heights.iter().map(|class| vec![class[chart]; 1000]).collect();
            let mut scores = score(&[Picture { truths: classes.clone().map(truth).collect(), ..Picture::default() }]);
            let (precision_by_recall, f1, precision, recall) = (of(0), of(1), of(2), of(3));
            scores.curves = Curves { classes: classes.collect(), precision, recall, f1, precision_by_recall };
            scores
        };
        // The row in which the most of a colour is: that of its line.
        let row = |picture: &RgbImage, colour: RGBColor| {
            let mut rows = vec![0; picture.height() as usize];
            let same = |pixel: &image::Rgb<u8>| pixel.0 == [colour.0, colour.1, colour.2];
            picture.enumerate_pixels().filter(|(.., pixel)| same(pixel)).for_each(|(_, y, _)| rows[y as usize] += 1);
            let (row, length) = rows.iter().enumerate().max_by_key(|(_, length)| **length).unwrap();
            assert!(*length > 500, "a line of {length} pixels");
            row as u32
        };
        let names = ["red", "blue"].map(str::to_owned);
        let one = detector(&scores(&[[0.8, 0.6, 0.4, 0.2]]), &names, "Box").unwrap();
        let files: Vec<&str> = one.iter().map(|(file, _)| file.as_str()).collect();
        assert_eq!(files, ["BoxPR_curve.png", "BoxF1_curve.png", "BoxP_curve.png", "BoxR_curve.png"]);
        let rows: Vec<u32> = one.iter().map(|(_, picture)| row(picture, COLOURS[0])).collect();
        let steps: Vec<u32> = rows.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.iter().all(|step| *step > 80 && step.abs_diff(steps[0]) < 3), "evenly downwards: {rows:?}");

        // Two classes have their mean between them, in black.
        let two = detector(&scores(&[[0.9; 4], [0.1; 4]]), &names, "Mask").unwrap();
        for (file, picture) in &two {
            let middle = u32::midpoint(row(picture, COLOURS[0]), row(picture, COLOURS[1]));
            let mean = picture.get_pixel(picture.width() / 2, middle);
            assert!(file.starts_with("Mask") && mean.0 == [0; 3], "{file}: {mean:?}");
        }

        // Nothing found, and no class at all: axes, and no panic.
        assert!(detector(&Scores::default(), &[], "Box").unwrap().iter().all(|(_, picture)| is_drawn(picture)));
    }

    #[test]
    fn names_stand_where_no_curve_is() {
        let at = |points: &[(f64, f64)]| {
            let one = Series { name: "a".into(), points: points.to_vec() };
            emptiest(&[one], (0.0, 1.0), (0.0, 1.0))
        };
        // Precision by recall, a receiver's curve, a straight line up, one down, nothing that is a number.
        assert!(matches!(at(&[(0.0, 1.0), (0.9, 1.0), (1.0, 0.0)]), SeriesLabelPosition::LowerLeft));
        assert!(matches!(at(&[(0.0, 0.0), (0.1, 0.9), (1.0, 1.0)]), SeriesLabelPosition::LowerRight));
        assert!(matches!(at(&[(0.0, 0.0), (1.0, 1.0)]), SeriesLabelPosition::LowerRight));
        assert!(matches!(at(&[(0.0, 1.0), (1.0, 0.0)]), SeriesLabelPosition::UpperRight));
        assert!(matches!(at(&[(0.0, f64::NAN), (1.0, 0.0)]), SeriesLabelPosition::UpperRight));
    }
}
