//! A console in the middle of its work, with names that try to break it.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::json;

use crate::config::ThemeName;
use crate::console::message::{Answer, Effect, Msg, PictureKey, Query, Subject, Timer};
use crate::console::picture::Picture;
use crate::console::state::State;
use crate::console::text::Zone;
use crate::console::theme::Theme;
use crate::console::update::update;
use crate::domain::view::{
    Answer as Said, Event, GalleryStats, Item, ItemDetail, Job, LabelRow, ModelStatus, QueueStats, SightingRow,
    StageStats, Stats, Status,
};
use crate::domain::{
    AbstainReason, BoundingBox, Decision, Detection, Entry, Fingerprint, ImageId, ItemId, ItemState, Label, Neighbour,
    QuarantineCode, Rotation, Sighting, SightingId,
};

/// 2026-11-21 12:00:00 UTC.
const NOON: i64 = 1_795_262_400_000;

pub(super) fn image(number: u32) -> ImageId {
    let mut bytes = [0xA0; 32];
    bytes[..4].copy_from_slice(&number.wrapping_mul(0x9E37_79B9).to_be_bytes());
    ImageId(bytes)
}

pub(super) fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

pub(super) fn item(number: u32, state: ItemState) -> Item {
    let path = match number % 7 {
        0 => format!("/srv/packs/watch/inbox/ward 3/薬の箱 {number}.jpg"),
        1 => format!("/srv/packs/watch/inbox/evil\u{202E}gpj.{number}\u{1b}[31m.png"),
        2 => format!("/srv/packs/watch/inbox/{}{number}.jpg", "a very long name ".repeat(9)),
        _ => format!("/srv/packs/watch/inbox/2026-11-21/IMG_{number:04}.jpg"),
    };
    let accepted =
        Said { label: Some(label("Paracetamol 500 mg")), reason: None, similarity: Some(0.931), margin: Some(0.112) };
    let abstained =
        Said { label: None, reason: Some(AbstainReason::MarginTooSmall), similarity: Some(0.884), margin: Some(0.011) };
    let answer = (state == ItemState::Done).then_some(if number.is_multiple_of(4) { abstained } else { accepted });
    let (reason, code) = match state {
        ItemState::Quarantined => (Some("the file ends before the picture does"), Some(QuarantineCode::Truncated)),
        ItemState::Failed => (Some("the detector's weights are missing"), None),
        ItemState::Duplicate => (Some("exact duplicate of 1f2e3d4c5b6a"), None),
        _ => (None, None),
    };
    Item {
        id: ItemId::new(NOON as u64 + u64::from(number), number),
        path: path.into(),
        state,
        reason: reason.map(str::to_owned),
        code,
        sha256: (state != ItemState::Waiting).then(|| image(number)),
        sightings: (state == ItemState::Done).then_some(1),
        mode: "identify".into(),
        answer,
        arrived_ms: NOON + i64::from(number) * 1000,
        updated_ms: NOON + i64::from(number) * 1000 + 400,
        ms: (state == ItemState::Done).then_some(212.4),
        sequence: (state == ItemState::Done).then_some(u64::from(number)),
    }
}

fn detail(item: &Item) -> ItemDetail {
    let sighting = Sighting {
        index: 0,
        detection: Detection {
            class: 0,
            name: "pack".into(),
            confidence: 0.94,
            bounding_box: BoundingBox([40.0, 60.0, 600.0, 420.0]),
            mask: None,
        },
        decision: Some(Decision::Accept {
            label: label("Paracetamol 500 mg"),
            similarity: 0.931,
            margin: 0.112,
            rotation: Rotation::R90,
        }),
        enrolled: None,
    };
    ItemDetail { item: item.clone(), sightings: vec![sighting], size: Some([640, 480]), duplicate_of: None }
}

fn model(file: &str, detail: &str, untrained: bool) -> ModelStatus {
    ModelStatus {
        path: format!("/srv/packs/models/{file}").into(),
        state: "loaded".into(),
        detail: detail.into(),
        untrained,
    }
}

pub(super) fn status() -> Status {
    Status {
        version: "0.1.0".into(),
        pid: 4711,
        workspace: "/srv/packs".into(),
        watching: true,
        uptime_seconds: 0,
        you: "mira".into(),
        role: crate::domain::view::Role::Operator,
        device: Some("CPU, 2 threads, avx512_bf16".into()),
        detector: model("pack-seg.safetensors", "yolov8n-seg, 1 class", false),
        embedder: model("pack-embed.safetensors", "dinov2_vits14, 384 numbers", true),
        warnings: vec![
            "the embedder was never trained: its answers mean nothing".into(),
            "the disk has 3 GiB left".into(),
        ],
        halted: None,
        checkpoint: 4_096,
        entries: 4_131,
    }
}

fn stats() -> Stats {
    let stage = |stage: &str, p50: f32| StageStats {
        stage: stage.into(),
        p50,
        p95: p50 * 1.4,
        p99: p50 * 1.9,
        recent: (0..60).map(|n| p50 * (1.0 + (n % 7) as f32 / 10.0)).collect(),
    };
    Stats {
        rate_10s: 11.4,
        rate_60s: 10.9,
        history: (0..120).map(|n| 8 + (n * 7 % 5)).collect(),
        stages: vec![
            stage("archive", 3.1),
            stage("decode", 14.0),
            stage("detect", 61.5),
            stage("embed", 88.2),
            stage("search", 0.4),
            stage("commit", 5.0),
        ],
        batches: vec![(1, 40), (2, 17), (4, 122), (8, 310)],
        accepted: 2_904,
        abstained: vec![(AbstainReason::NoObject, 31), (AbstainReason::MarginTooSmall, 77)],
        enrolled: 240,
        accept_history: (0..120).map(|n| if n % 9 == 0 { -1.0 } else { 0.9 }).collect(),
        oldest_waiting_seconds: Some(74),
        eta_seconds: Some(190),
        jobs: vec![Job { id: 1, title: "queueing 800 files".into(), done: 320, total: 800, seconds: 12, failed: None }],
        memory_bytes: 1_400 << 20,
        cpu_cores: 1.9,
        disk_free_bytes: 3 << 30,
        device: Some("CPU, 2 threads, avx512_bf16".into()),
    }
}

fn entry(sequence: u64) -> Entry {
    let (actor, action, reason) = match sequence % 3 {
        0 => ("mira", "queue.released", Some("the photo is fine, only dark")),
        1 => ("engine", "image.done", None),
        _ => ("engine", "image.quarantined", None),
    };
    Entry {
        sequence,
        wall_ms: NOON + sequence as i64 * 1000,
        mono_ns: sequence * 1_000_000,
        actor: actor.into(),
        action: action.into(),
        subject: ItemId::new(NOON as u64, sequence as u32).to_string(),
        before: None,
        after: Some(
            json!({ "image": image(sequence as u32), "file": { "path": "/srv/packs/watch/inbox/evil\u{202E}.jpg" } }),
        ),
        reason: reason.map(str::to_owned),
    }
}

pub(super) fn sighting(number: u32) -> SightingId {
    SightingId { image: image(number), index: 0 }
}

fn neighbours() -> Vec<Neighbour> {
    ["Paracetamol 500 mg", "Paracetamol 500 mg", "Paracetamol 250 mg", "Ibuprofen 400 mg"]
        .iter()
        .zip([0.972, 0.951, 0.867, 0.702])
        .enumerate()
        .map(|(n, (text, similarity))| Neighbour {
            label: label(text),
            similarity,
            rotation: Rotation::ALL[n % 4],
            sighting: sighting(200 + n as u32),
        })
        .collect()
}

/// A drawn pack on a table.
pub(super) fn pack(width: u32, height: u32) -> Picture {
    let pixel = |x: u32, y: u32| {
        let (left, right, top, bottom) = (width / 5, width * 4 / 5, height / 4, height * 3 / 4);
        let inside = (left..right).contains(&x) && (top..bottom).contains(&y);
        match inside {
            true if y < top + height / 8 => [220, 40, 40],
            true => [245, 245, 240],
            false => [(60 + x * 60 / width) as u8, 70, (80 + y * 60 / height) as u8],
        }
    };
    Picture::new(width, height, (0..height).flat_map(|y| (0..width).map(move |x| pixel(x, y))).collect()).unwrap()
}

/// Presses a key, at a time when every dialog has settled.
pub(super) fn press(state: &mut State, code: KeyCode) -> Vec<Effect> {
    let mut effects = update(state, Msg::Key { key: KeyEvent::new(code, KeyModifiers::NONE), at: 2_000_000 });
    effects.extend(answer(state, &effects.clone()));
    effects
}

pub(super) fn type_in(state: &mut State, text: &str) {
    text.chars().for_each(|letter| drop(press(state, KeyCode::Char(letter))));
}

/// Answers what was asked as an engine would, and what is asked after that.
fn answer(state: &mut State, effects: &[Effect]) -> Vec<Effect> {
    let mut next = Vec::new();
    for effect in effects {
        let more = match effect {
            Effect::Ask(query) => match reply(state, query) {
                Some(answer) => update(state, Msg::Reply { query: query.clone(), result: Ok(answer) }),
                None => Vec::new(),
            },
            Effect::Wake(timer @ Timer::Detail, _) => update(state, Msg::Woken(*timer)),
            _ => Vec::new(),
        };
        next.extend(answer(state, &more));
    }
    next
}

fn reply(state: &State, query: &Query) -> Option<Answer> {
    Some(match query {
        Query::Status => Answer::Status(Box::new(status())),
        Query::Stats => Answer::Stats(Box::new(stats())),
        Query::Items { state: of, .. } => {
            let states = [
                ItemState::Working,
                ItemState::Waiting,
                ItemState::Done,
                ItemState::Done,
                ItemState::Duplicate,
                ItemState::Done,
                ItemState::Quarantined,
                ItemState::Done,
                ItemState::Failed,
            ];
            let all = (0..60).map(|n| item(90 - n, states[n as usize % 9]));
            let mut rows: Vec<Item> = all.filter(|item| of.is_none_or(|of| item.state == of)).collect();
            rows.sort_by_key(|item| item.state != ItemState::Working);
            Answer::Items(rows)
        }
        Query::Item(id) => Answer::Item(Box::new(detail(state.queue.list.rows().iter().find(|row| row.id == *id)?))),
        Query::GalleryStats => Answer::GalleryStats(GalleryStats {
            labels: 14,
            sightings: 60,
            vectors: 240,
            rows_on_disk: 252,
            bytes: 388_000,
            fingerprints: vec![(Fingerprint(image(1)), 240)],
            in_use: Some(Fingerprint(image(1))),
            ..GalleryStats::default()
        }),
        Query::Labels { filter, .. } => {
            let labels = ["Amoxicillin 1 g", "Ibuprofen 400 mg", "Paracetamol 250 mg", "Paracetamol 500 mg", "薬 A"];
            let rows = labels.iter().filter(|text| text.contains(filter.as_str()));
            Answer::Labels(rows.map(|text| LabelRow { label: label(text), sightings: 4 + text.len() as u64 }).collect())
        }
        Query::Sightings { label, .. } => Answer::Sightings(
            (0..4)
                .map(|n| SightingRow {
                    sighting: sighting(100 + n),
                    label: label.clone(),
                    fingerprint: Fingerprint(image(1)),
                    rotations: Rotation::ALL.to_vec(),
                    sequence: u64::from(n),
                    has_image: true,
                })
                .collect(),
        ),
        Query::Neighbours(_) => Answer::Neighbours(neighbours()),
        Query::Entries(query) => {
            let fits = |entry: &Entry| query.actor.as_ref().is_none_or(|actor| entry.actor == *actor);
            Answer::Entries((4_071..4_131).rev().map(entry).filter(fits).collect())
        }
        Query::Picture(PictureKey { subject: Subject::Original(_), width, height }) => {
            Answer::Picture(pack(*width, *height))
        }
        Query::Picture(PictureKey { subject: Subject::Crop(_), width, height }) => {
            Answer::Picture(pack(*width.min(height), *width.min(height)))
        }
        Query::Identify(_) => Answer::Identified(
            Box::new(crate::domain::view::Identified {
                sha256: image(77),
                width: 640,
                height: 480,
                answers: vec![
                    crate::domain::view::ProbeAnswer {
                        detection: None,
                        decision: Decision::Accept {
                            label: label("Paracetamol 500 mg"),
                            similarity: 0.972,
                            margin: 0.105,
                            rotation: Rotation::R270,
                        },
                        neighbours: neighbours(),
                    },
                    crate::domain::view::ProbeAnswer {
                        detection: None,
                        decision: Decision::abstain(AbstainReason::NoObject),
                        neighbours: Vec::new(),
                    },
                ],
            }),
            Some(pack(64, 48)),
        ),
        Query::Verify(_) => Answer::Verified(Box::new(crate::domain::view::JournalVerified {
            ok: true,
            entries: 4_131,
            checkpoint: 4_096,
            unanchored: 35,
            root: image(5).to_string(),
            key: image(6).to_string(),
            problems: Vec::new(),
            cannot_prove: vec!["that no entry after the last checkpoint was cut off".into()],
        })),
    })
}

/// A console of a size that is connected and has its answers.
pub(super) fn console(columns: u16, rows: u16) -> State {
    let theme = Theme::resolve(ThemeName::Dark, |name| (name == "COLORTERM").then(|| "truecolor".to_owned()));
    let mut state = State::new((columns, rows), theme, Zone::Utc, false, 1);
    let effects = update(&mut state, Msg::Connected);
    answer(&mut state, &effects);
    let queue =
        QueueStats { waiting: 12, working: 2, done: 3_012, duplicate: 44, quarantined: 9, failed: 1, discarded: 3 };
    update(&mut state, Msg::Event(Event::Changed { entries: 4_131, queue }));
    let effects = update(&mut state, Msg::Woken(Timer::Refresh));
    answer(&mut state, &effects);
    state
}
