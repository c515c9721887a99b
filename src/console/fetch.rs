//! From effects to the engine, and from its answers to messages.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Duration;

use image::{DynamicImage, ImageDecoder as _, ImageReader, Limits};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::message::{Acknowledged, Act, Answer, Msg, PictureKey, Query, Subject, Trouble};
use super::picture::Picture;
use super::state::Row as _;
use crate::api::client::{Client, ClientError, escape};
use crate::domain::view::{Event, Identified, Item, JournalQuery, LabelRow, SightingRow};
use crate::domain::{RawPath, display_safe};

/// How long an answer may take, other than those that read everything.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long proofs, and acts on whole labels, may take.
const LONG_PATIENCE: Duration = Duration::from_secs(600);
/// The largest file sent as a probe, bytes; the engine takes no more.
const PROBE: u64 = 256 << 20;
/// The longer side of a probe's own picture, pixels.
const PREVIEW: u32 = 512;
/// The most memory for decoding a picture, bytes.
const DECODE: u64 = 512 << 20;
/// The colour of boxes on a probe.
const BOX: [u8; 3] = [64, 220, 120];

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        Self { code: error.code().to_owned(), text: display_safe(&error.to_string()) }
    }
}

impl Trouble {
    fn here(text: String) -> Self {
        Self { code: "here".into(), text: display_safe(&text) }
    }

    fn late(patience: Duration) -> Self {
        let text = format!("the engine has not answered within {} s; it may be busy, ask again", patience.as_secs());
        Self { code: "broken".into(), text }
    }
}

/// Questions in flight, one of each kind.
pub(super) struct Fetcher {
    client: Client,
    messages: mpsc::Sender<Msg>,
    in_flight: HashMap<u8, (Query, JoinHandle<()>)>,
}

impl Fetcher {
    pub(super) fn new(client: Client, messages: mpsc::Sender<Msg>) -> Self {
        Self { client, messages, in_flight: HashMap::new() }
    }

    /// Asks, unless just that is being asked; an older question of the kind is given up.
    pub(super) fn ask(&mut self, query: Query) {
        let kind = kind(&query);
        if let Some((asked, task)) = self.in_flight.get(&kind)
            && !task.is_finished()
        {
            if *asked == query {
                return;
            }
            task.abort();
        }
        let (client, messages, asked) = (self.client.clone(), self.messages.clone(), query.clone());
        let task = tokio::spawn(async move {
            let patience =
                if matches!(query, Query::Verify(_) | Query::Identify(_)) { LONG_PATIENCE } else { PATIENCE };
            let result = match tokio::time::timeout(patience, answer(&client, &query)).await {
                Ok(result) => result,
                Err(_) => Err(Trouble::late(patience)),
            };
            // Nobody listens any more when the console has closed.
            drop(messages.send(Msg::Reply { query, result }).await);
        });
        self.in_flight.insert(kind, (asked, task));
    }

    /// Sends an intent. Never given up: what came of it must be known.
    pub(super) fn act(&self, act: Act) {
        let (client, messages) = (self.client.clone(), self.messages.clone());
        tokio::spawn(async move {
            let result = match tokio::time::timeout(LONG_PATIENCE, perform(&client, &act)).await {
                Ok(result) => result.map_err(Trouble::from),
                Err(_) => Err(Trouble::late(LONG_PATIENCE)),
            };
            drop(messages.send(Msg::Acted { act, result }).await);
        });
    }
}

/// Two pictures stand side by side, so a crop does not displace an original.
fn kind(query: &Query) -> u8 {
    match query {
        Query::Status => 0,
        Query::Stats => 1,
        Query::Items { .. } => 2,
        Query::Item(_) => 3,
        Query::GalleryStats => 4,
        Query::Labels { .. } => 5,
        Query::Sightings { .. } => 6,
        Query::Neighbours(_) => 7,
        Query::Entries(_) => 8,
        Query::Picture(PictureKey { subject: Subject::Original(_), .. }) => 9,
        Query::Picture(PictureKey { subject: Subject::Crop(_), .. }) => 10,
        Query::Identify(_) => 11,
        Query::Verify(_) => 12,
    }
}

async fn answer(client: &Client, query: &Query) -> Result<Answer, Trouble> {
    Ok(match query {
        Query::Status => Answer::Status(Box::new(client.get("/v1/status").await?)),
        Query::Stats => Answer::Stats(Box::new(client.get("/v1/stats").await?)),
        Query::Items { state, after } => {
            let limit = Item::PAGE;
            let mut path = format!("/v1/queue/items?newest=true&limit={limit}");
            push(&mut path, "state", state.map(|state| state.name().to_owned()));
            push(&mut path, "after", after.as_ref().map(ToString::to_string));
            Answer::Items(client.get(&path).await?)
        }
        Query::Item(id) => {
            Answer::Item(Box::new(client.get(&format!("/v1/queue/items/{}", escape(&id.to_string()))).await?))
        }
        Query::GalleryStats => Answer::GalleryStats(client.get("/v1/gallery/stats").await?),
        Query::Labels { filter, after } => {
            let mut path = format!("/v1/gallery/labels?limit={}", LabelRow::PAGE);
            push(&mut path, "filter", Some(filter.clone()).filter(|filter| !filter.is_empty()));
            push(&mut path, "after", after.as_ref().map(ToString::to_string));
            Answer::Labels(client.get(&path).await?)
        }
        Query::Sightings { label, after } => {
            let mut path = format!("/v1/gallery/sightings?limit={}", SightingRow::PAGE);
            push(&mut path, "label", Some(label.to_string()));
            push(&mut path, "after", after.map(|after| after.to_string()));
            Answer::Sightings(client.get(&path).await?)
        }
        Query::Neighbours(id) => {
            let path = format!("/v1/gallery/sightings/{}/neighbours", escape(&id.to_string()));
            Answer::Neighbours(client.get(&path).await?)
        }
        Query::Entries(query) => Answer::Entries(client.get(&entries_path(query)).await?),
        Query::Picture(key) => {
            let PictureKey { subject, width, height } = key;
            let path = match subject {
                Subject::Original(image) => format!("/v1/images/{image}/picture?width={width}&height={height}"),
                Subject::Crop(sighting) => {
                    let id = escape(&sighting.to_string());
                    format!("/v1/gallery/sightings/{id}/crop?width={width}&height={height}")
                }
            };
            let bytes = client.get_bytes(&path).await?;
            let decoded = tokio::task::spawn_blocking(move || decode(&bytes, u32::MAX)).await;
            Answer::Picture(decoded.map_err(|error| Trouble::here(error.to_string()))?.map_err(Trouble::here)?)
        }
        Query::Identify(path) => identify(client, path).await?,
        Query::Verify(key) => {
            Answer::Verified(Box::new(client.post("/v1/journal/verify", &json!({ "key": key })).await?))
        }
    })
}

async fn perform(client: &Client, act: &Act) -> Result<Acknowledged, ClientError> {
    let item = |id: &crate::domain::ItemId, act: &str| format!("/v1/queue/items/{}/{act}", escape(&id.to_string()));
    Ok(match act {
        Act::Release(id, intent) => Acknowledged::Item(Box::new(client.post(&item(id, "release"), intent).await?)),
        Act::Discard(id, intent) => Acknowledged::Item(Box::new(client.post(&item(id, "discard"), intent).await?)),
        Act::Relabel(intent) => Acknowledged::Changed(client.post("/v1/gallery/relabel", intent).await?),
        Act::Remove(intent) => Acknowledged::Changed(client.post("/v1/gallery/remove", intent).await?),
    })
}

fn push(path: &mut String, name: &str, value: Option<String>) {
    if let Some(value) = value {
        let sign = if path.contains('?') { '&' } else { '?' };
        path.push_str(&format!("{sign}{name}={}", escape(&value)));
    }
}

fn entries_path(query: &JournalQuery) -> String {
    let mut path = "/v1/journal/entries".to_owned();
    push(&mut path, "actor", query.actor.clone());
    push(&mut path, "action", query.action.clone());
    push(&mut path, "subject", query.subject.clone());
    push(&mut path, "text", query.text.clone());
    push(&mut path, "from_ms", query.from_ms.map(|at| at.to_string()));
    push(&mut path, "to_ms", query.to_ms.map(|at| at.to_string()));
    push(&mut path, "before", query.before.map(|before| before.to_string()));
    push(&mut path, "limit", query.limit.map(|limit| limit.to_string()));
    path
}

async fn identify(client: &Client, path: &Path) -> Result<Answer, Trouble> {
    let path = at_home(path);
    let shown = RawPath(path.clone());
    let cannot = |why: String| Trouble::here(format!("cannot read {shown}: {why}"));
    let meta = tokio::fs::metadata(&path).await.map_err(|error| cannot(error.to_string()))?;
    if !meta.is_file() {
        return Err(cannot("it is not a file".into()));
    }
    if meta.len() > PROBE {
        return Err(cannot(format!("it has more than {} MiB", PROBE >> 20)));
    }
    let bytes = tokio::fs::read(&path).await.map_err(|error| cannot(error.to_string()))?;
    let identified: Identified = client.post_bytes("/v1/identify", bytes.clone()).await?;
    let boxes: Vec<[f32; 4]> =
        identified.answers.iter().filter_map(|a| Some(a.detection.as_ref()?.bounding_box.0)).collect();
    let size = (identified.width, identified.height);
    let drawn = tokio::task::spawn_blocking(move || preview(&bytes, size, &boxes)).await;
    Ok(Answer::Identified(Box::new(identified), drawn.ok().flatten()))
}

/// `~/x` is a file of the operator at the console, as in a shell.
fn at_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(below), Some(home)) => PathBuf::from(home).join(below),
        _ => path.to_owned(),
    }
}

/// The probe in small, with its boxes; none where the console cannot draw what the engine could read.
fn preview(bytes: &[u8], (width, height): (u32, u32), boxes: &[[f32; 4]]) -> Option<Picture> {
    let mut picture = decode(bytes, PREVIEW).ok()?;
    let (columns, rows) = picture.size();
    let (x, y) = (columns as f32 / width.max(1) as f32, rows as f32 / height.max(1) as f32);
    for [x1, y1, x2, y2] in boxes {
        picture.outline([x1 * x, y1 * y, x2 * x, y2 * y], BOX);
    }
    Some(picture)
}

/// Decodes a picture, upright, within a longer side.
fn decode(bytes: &[u8], longest: u32) -> Result<Picture, String> {
    let cannot = |error: &dyn std::fmt::Display| format!("the picture cannot be drawn: {error}");
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODE);
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| cannot(&e))?;
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| cannot(&e))?;
    // `into_decoder` does not hold the output to the limit.
    if decoder.total_bytes() > DECODE {
        return Err(cannot(&"it is too large"));
    }
    let orientation = decoder.orientation().map_err(|e| cannot(&e))?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| cannot(&e))?;
    image.apply_orientation(orientation);
    if image.width().max(image.height()) > longest {
        image = image.thumbnail(longest, longest);
    }
    let image = image.into_rgb8();
    let (width, height) = image.dimensions();
    let pixels = image.pixels().map(|pixel| pixel.0).collect();
    Picture::new(width, height, pixels).ok_or_else(|| cannot(&"it has no pixels"))
}

/// Follows the engine's events for ever; says when they flow and when they do not.
pub(super) async fn follow(client: Client, messages: mpsc::Sender<Msg>) {
    let mut wait = Duration::from_millis(200);
    loop {
        let why = match client.events().await {
            Ok(mut events) => {
                if messages.send(Msg::Connected).await.is_err() {
                    return;
                }
                wait = Duration::from_millis(200);
                let mut why = "the connection to the engine broke".to_owned();
                while let Some(event) = events.recv().await {
                    if event == Event::Stopping {
                        why = "the engine has stopped".into();
                    }
                    if messages.send(Msg::Event(event)).await.is_err() {
                        return;
                    }
                }
                why
            }
            Err(error) => display_safe(&error.to_string()),
        };
        if messages.send(Msg::Lost(why)).await.is_err() {
            return;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_escaped() {
        let query = JournalQuery {
            text: Some("a b&limit=9".into()),
            before: Some(7),
            limit: Some(60),
            ..JournalQuery::default()
        };
        assert_eq!(entries_path(&query), "/v1/journal/entries?text=a%20b%26limit%3D9&before=7&limit=60");
    }

    #[test]
    fn what_is_not_a_picture_is_said() {
        assert!(decode(b"not a picture", 10).is_err_and(|why| why.starts_with("the picture cannot be drawn")));
    }
}
