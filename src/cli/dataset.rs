//! The `dataset` group.

mod groups;
mod synth;
mod versions;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use image::ImageEncoder as _;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::arguments::{Dataset as Command, DatasetCopy};
use super::output::{Out, tell};
use super::{CliError, Ended, Outcome, pictures};
use crate::archive::image_id;
use crate::config::Config;
use crate::domain::{ImageId, RawPath};
use crate::intake::clean::{Clean, Format, Limits, clean, whole};
use crate::intake::dedupe::PerceptualHasher;
use crate::learn::dataset::check::{Alike, Look, Report, check};
use crate::learn::dataset::layout::{self, Bytes, Picture};
use crate::learn::dataset::split::{Shares, divide};
use crate::learn::dataset::tables::Tables;
use crate::learn::dataset::{self, Dataset, DatasetError, Item, Problem, Split, sheet};

/// The quality of copies that had to be turned: what is lost lies below a photograph's noise.
const QUALITY: u8 = 95;
/// Problems of a kind that are printed for people; `--json` has all.
const SHOWN: usize = 20;

impl From<DatasetError> for CliError {
    fn from(error: DatasetError) -> Self {
        match &error {
            DatasetError::Missing(_) | DatasetError::NoVersion(_) => Self::NotFound(error.to_string()),
            DatasetError::Io { .. } => Self::Failed(error.to_string()),
            _ => Self::Usage(error.to_string()),
        }
    }
}

pub(super) fn run(out: &mut Out, workspace: &Path, command: &Command) -> Ended {
    let reader = Reader::of(&Config::load(workspace)?);
    match command {
        Command::Import(copy) => {
            let (set, tables) = to_copy(copy, layout::Format::Yolo)?;
            write(out, &reader, &set, &tables, copy, layout::Format::Yolo)
        }
        Command::Export { copy, format } => {
            let format = if format == "coco" { layout::Format::Coco } else { layout::Format::Yolo };
            let (set, tables) = to_copy(copy, format)?;
            write(out, &reader, &set, &tables, copy, format)
        }
        Command::Check { set, sheet } => check_set(out, &reader, set, sheet.as_deref()),
        Command::Synth(asked) => synth::run(out, asked),
        Command::Snapshot { set, message } => versions::snapshot(out, set, message),
        Command::List { set } => versions::list(out, set),
        Command::Diff { set, from, to } => versions::diff(out, set, from, to),
        Command::Restore { set, which, force } => versions::restore(out, set, which, *force),
        Command::Split { copy, train, val, test, seed, group_by } => {
            let (mut set, tables) = to_copy(copy, layout::Format::Yolo)?;
            // Before all pictures are looked at: a wrong key is told at once.
            let keys = group_by.as_deref().map(|key| groups::keys(&set, &tables, &copy.set, key)).transpose()?;
            let groups = groups::together(&set, &reader.looks(&set.items), keys.as_deref());
            let shares = Shares { train: *train, val: *val, test: *test };
            divide(&mut set.items, &groups, shares, *seed).map_err(CliError::Usage)?;
            let parts = [(Split::Train, *train), (Split::Val, *val), (Split::Test, *test)];
            let whole: f64 = parts.iter().map(|(_, share)| share).sum();
            for (part, share) in parts {
                let (share, has) = (share / whole, set.of(part).count());
                // Far from what was asked, or nothing at all.
                if (has as f64) < share * set.items.len() as f64 / 2.0 {
                    tell(&format!(
                        "`{}` has {has} of {} pictures, where a share of {share:.2} was asked for: too many of them stay together \
                         (near-duplicates, --group-by; {} in one group), or there are too few",
                        part.name(),
                        set.items.len(),
                        groups::largest(&groups),
                    ));
                }
            }
            write(out, &reader, &set, &tables, copy, layout::Format::Yolo)
        }
    }
}

/// Reads pictures within the bounds of the config.
pub(super) struct Reader {
    limits: Limits,
    most: u64,
}

impl Reader {
    pub(super) fn of(config: &Config) -> Self {
        // What is learnt from need not look good, but it must be whole.
        Self { limits: Limits::from(&config.intake).released(), most: config.intake.max_file_bytes }
    }

    pub(super) fn read(&self, path: &Path) -> Result<(Vec<u8>, Clean), String> {
        let bytes = pictures::read(path, self.most)?;
        let clean = clean(&bytes, &self.limits).map_err(|reject| reject.to_string())?;
        Ok((bytes, clean))
    }

    /// Looks at every picture.
    fn looks(&self, items: &[Item]) -> Vec<Result<Look, String>> {
        let hasher = PerceptualHasher::default();
        each(items, |item| {
            self.read(&item.image).map(|(bytes, clean)| Look {
                bytes: image_id(&bytes),
                perceptual: hasher.hash(&clean.image).0,
                size: clean.image.dimensions(),
            })
        })
    }

    /// Leaves out what is no whole picture, and lists it with the other problems: known before hours of work rather than in the
    /// middle of them; the parts of it that are used. Says which pictures are in more than one of them. What is learnt from and
    /// has nothing but crowds is left out, too: it would pass for a picture of nothing.
    pub(super) fn leave_out_unreadable(&self, set: &mut Dataset, used: &[Split]) {
        let found: Vec<Result<Option<ImageId>, String>> = each(&set.items, |item| {
            if !used.contains(&item.split) {
                return Ok(None);
            }
            if item.split == Split::Train && item.objects.is_empty() && !item.crowds.is_empty() {
                return Err(
                    "nothing but crowds is in it: whoever learns from it would learn that there is nothing".to_owned()
                );
            }
            let bytes = pictures::read(&item.image, self.most)?;
            whole(&bytes, &self.limits).map(|_| Some(image_id(&bytes))).map_err(|reject| reject.to_string())
        });
        tell_leaks(&set.items, &found);
        set.leave_out(found.into_iter().map(|found| found.map(drop)).collect());
    }

    /// A copy that lies upright, where the file does not.
    fn upright(&self, path: &Path) -> Result<Picture, DatasetError> {
        let unreadable = |detail: String| DatasetError::Description {
            path: path.to_owned(),
            detail: format!("{detail}; mend the file or take it out of the set"),
        };
        let (_, clean) = self.read(path).map_err(unreadable)?;
        let (width, height) = clean.image.dimensions();
        if clean.orientation == 1 {
            return Ok(Picture { bytes: Bytes::AsItIs, size: (width, height) });
        }
        let (mut bytes, colour) = (Vec::new(), image::ExtendedColorType::Rgb8);
        let (encoded, extension) = if clean.format == Format::Jpeg {
            let encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
            (encoder.write_image(clean.image.as_raw(), width, height, colour), "jpg")
        } else {
            (PngEncoder::new(&mut bytes).write_image(clean.image.as_raw(), width, height, colour), "png")
        };
        encoded.map_err(|error| unreadable(error.to_string()))?;
        Ok(Picture { bytes: Bytes::Upright(bytes, extension), size: (width, height) })
    }
}

/// Says how many pictures there are in more than one part: what is judged by them flatters.
fn tell_leaks(items: &[Item], found: &[Result<Option<ImageId>, String>]) {
    let mut first: HashMap<ImageId, &Item> = HashMap::new();
    let mut leaks = Vec::new();
    for (item, bytes) in items.iter().zip(found) {
        let Ok(Some(bytes)) = bytes else { continue };
        let other = first.entry(*bytes).or_insert(item);
        if other.split != item.split {
            leaks.push((*other, item));
        }
    }
    let Some((one, other)) = leaks.first() else { return };
    let named = [one, other].map(|item| format!("{} ({})", RawPath(item.image.clone()), item.split.name()));
    tell(&format!(
        "{} of the pictures have the bytes of one in another part, as {}: figures will flatter; `sightline dataset check` \
         lists them, `dataset split` keeps them together",
        leaks.len(),
        named.join(" and ")
    ));
}

/// What is found out about each picture, on all cores, in their order.
fn each<T: Send>(items: &[Item], about: impl Fn(&Item) -> T + Sync) -> Vec<T> {
    let found: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(items.len()));
    let next = AtomicUsize::new(0);
    let bar = progress(items.len() as u64, "pictures");
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(place) else { return };
            let one = about(item);
            found.lock().unwrap_or_else(PoisonError::into_inner).push((place, one));
            bar.inc(1);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    bar.finish_and_clear();
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, one)| one).collect()
}

/// How far it is, on stderr; nothing where that is no terminal.
fn progress(length: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}, {eta} left") {
        bar.set_style(style);
    }
    bar.with_message(what)
}

/// Reads what is to be copied, and the tables beside it; what the format cannot hold or does not go along is listed.
fn to_copy(copy: &DatasetCopy, format: layout::Format) -> Result<(Dataset, Tables), CliError> {
    let mut set = dataset::read(&copy.set)?;
    if format != layout::Format::Coco {
        set.leave_out_crowds();
        if set.items.is_empty() {
            return Err(DatasetError::empty(&copy.set, &set.problems).into());
        }
    }
    let tables = Tables::beside(&copy.set, &set)?;
    set.problems.extend(tables.left_behind());
    Ok((set, tables))
}

fn write(
    out: &mut Out,
    reader: &Reader,
    set: &Dataset,
    tables: &Tables,
    copy: &DatasetCopy,
    format: layout::Format,
) -> Ended {
    inside(&copy.set, &copy.out)?;
    tell_problems(out, &set.problems)?;
    let bar = progress(set.items.len() as u64, "pictures");
    let written = layout::write(set, &copy.out, format, tables, |path| {
        bar.inc(1);
        reader.upright(path)
    });
    bar.finish_and_clear();
    written?;
    summary(out, set, &copy.out)
}

/// Refuses to write into the folder that is read.
fn inside(set: &Path, to: &Path) -> Result<(), CliError> {
    let to = std::path::absolute(to).map_err(CliError::failed)?;
    let above = to.ancestors().skip(1).find_map(|above| fs::canonicalize(above).ok());
    if set.is_dir() && fs::canonicalize(set).is_ok_and(|set| above.is_some_and(|above| above.starts_with(set))) {
        let (to, set) = (to.display(), set.display());
        return Err(CliError::Usage(format!("{to} lies in the set {set} itself; name a place outside of it")));
    }
    Ok(())
}

fn summary(out: &mut Out, set: &Dataset, to: &Path) -> Ended {
    let counts: BTreeMap<Split, usize> = Split::ALL.map(|split| (split, set.of(split).count())).into();
    let objects: usize = set.items.iter().map(|item| item.objects.len()).sum();
    let crowds: usize = set.items.iter().map(|item| item.crowds.len()).sum();
    if out.json {
        out.value(&json!({
            "out": RawPath::from(to), "kind": set.kind, "classes": set.names, "pictures": counts, "objects": objects,
            "crowds": crowds, "problems": set.problems,
        }))?;
    } else {
        let parts: Vec<String> =
            counts.iter().filter(|(_, n)| **n > 0).map(|(split, n)| format!("{n} {}", split.name())).collect();
        out.line(format!(
            "{}: {} pictures ({}), {objects} objects of {} classes, {} doubts about labels",
            to.display(),
            set.items.len(),
            parts.join(", "),
            set.names.len(),
            set.problems.len()
        ))?;
    }
    Ok(Outcome::Done)
}

fn tell_problems(out: &mut Out, problems: &[Problem]) -> Result<(), CliError> {
    if !out.json {
        problems.iter().try_for_each(|problem| out.line(problem.to_string()))?;
    }
    Ok(())
}

fn check_set(out: &mut Out, reader: &Reader, set: &Path, sheet: Option<&Path>) -> Ended {
    let set = dataset::read(set)?;
    let report = check(&set, &reader.looks(&set.items));
    let sound = report.is_sound();
    if out.json {
        let mut value = serde_json::to_value(&report).map_err(CliError::failed)?;
        value["ok"] = sound.into();
        out.value(&value)?;
    } else {
        print(out, &report)?;
        let labelled = report.splits.values().any(|count| count.objects > 0);
        out.line(match (sound, labelled) {
            (true, _) => "sound",
            (false, false) => "not sound: nothing is labelled",
            (false, true) => "not sound: see broken files, rejected labels and leaks above",
        })?;
    }
    // What was found is told first: the sheet may not be to be had.
    if let Some(path) = sheet {
        draw_sheet(&set, reader, path)?;
    }
    Ok(if sound { Outcome::Done } else { Outcome::NotOk })
}

/// Draws pictures with their labels into a file, which is there whole or stays as it was.
fn draw_sheet(set: &Dataset, reader: &Reader, path: &Path) -> Result<(), CliError> {
    let drawn = sheet::draw(set, |path| reader.read(path).ok().map(|(_, clean)| clean.image));
    let failed = |error: String| CliError::Failed(format!("the sheet {} cannot be written: {error}", path.display()));
    let (mut bytes, format) = (std::io::Cursor::new(Vec::new()), image::ImageFormat::from_path(path));
    let format = format.map_err(|error| failed(format!("{error}; call it .png")))?;
    drawn.write_to(&mut bytes, format).map_err(|error| failed(error.to_string()))?;
    crate::files::put(path, bytes.get_ref()).map_err(|error| failed(error.to_string()))
}

fn print(out: &mut Out, report: &Report) -> Result<(), CliError> {
    for (split, count) in &report.splits {
        out.line(format!(
            "{:<6} {} pictures ({} background), {} objects",
            split.name(),
            count.pictures,
            count.background,
            count.objects
        ))?;
    }
    for class in &report.classes {
        let objects: Vec<String> = class.objects.iter().map(|(split, n)| format!("{n} {}", split.name())).collect();
        out.line(format!("  {:>4} {:<32} {}", class.class, class.name, objects.join(", ")))?;
    }
    for (what, s) in &report.sizes {
        out.line(format!(
            "{what:<12} least {:.3}, 5% {:.3}, half {:.3}, 95% {:.3}, most {:.3}",
            s.least, s.p5, s.median, s.p95, s.most
        ))?;
    }
    for row in report.centres.iter().filter(|_| !report.sizes.is_empty()) {
        out.line(format!("centres {}", row.map(|n| format!("{n:>7}")).concat()))?;
    }
    for (what, problems) in [("broken", &report.broken), ("label", &report.labels), ("suspicious", &report.suspicious)]
    {
        list(out, what, problems.iter().map(ToString::to_string).collect())?;
    }
    let alike = |alike: &Alike, contradicts: &str| {
        let names: Vec<String> =
            alike.pictures.iter().map(|(path, split)| format!("{path} ({})", split.name())).collect();
        format!("{}{contradicts}{}", if alike.leak { "LEAK: " } else { "" }, names.join(" = "))
    };
    // Of pictures that only look alike one may well show what the other does not.
    let same = report.doubles.iter().map(|it| alike(it, if it.contradiction { "LABELLED OTHERWISE: " } else { "" }));
    list(out, "same bytes", same.collect())?;
    list(out, "look alike", report.near_doubles.iter().map(|it| alike(it, "")).collect())?;
    list(out, "note", report.notes.clone())
}

fn list(out: &mut Out, what: &str, lines: Vec<String>) -> Result<(), CliError> {
    lines.iter().take(SHOWN).try_for_each(|line| out.line(format!("{what}: {line}")))?;
    if lines.len() > SHOWN {
        out.line(format!("{what}: {} more; --json has all", lines.len() - SHOWN))?;
    }
    Ok(())
}
