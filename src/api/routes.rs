//! The routes: each one line from a request to the engine's method of the same name.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router, middleware};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::BroadcastStream;

use super::guard::{Guard, guard};
use super::openapi;
use super::peer::Peer;
use crate::domain::view::{
    Event, Export, Failure, Import, Ingest, Intent, JournalQuery, Nothing, Relabel, Remove, Role, Trusted,
};
use crate::domain::{ImageId, ItemId, ItemState, Label, SightingId};
use crate::engine::{Engine, EngineError};

type Shared = State<Arc<Engine>>;
type Asker = Extension<Peer>;

pub(super) fn router(engine: Arc<Engine>) -> Router {
    let limits = Guard::new(engine.max_file_bytes());
    Router::new()
        .route("/openapi.json", get(|| async { Json(openapi::document()) }))
        .route("/v1/status", get(status))
        .route("/v1/stats", get(|State(e): Shared| ask(e, |e| Ok(e.stats()))))
        .route("/v1/events", get(events))
        .route("/v1/queue/stats", get(|State(e): Shared| ask(e, |e| e.queue_stats())))
        .route("/v1/queue/items", get(items))
        .route("/v1/queue/items/{id}", get(|State(e): Shared, Path(id): Path<ItemId>| ask(e, move |e| e.item(&id))))
        .route("/v1/queue/items/{id}/release", post(release))
        .route("/v1/queue/items/{id}/discard", post(discard))
        .route("/v1/queue/ingest", post(ingest))
        .route("/v1/identify", post(identify))
        .route("/v1/gallery/stats", get(|State(e): Shared| ask(e, |e| e.gallery_stats())))
        .route("/v1/gallery/labels", get(labels))
        .route("/v1/gallery/sightings", get(sightings))
        .route("/v1/gallery/sightings/{id}", get(sighting))
        .route("/v1/gallery/sightings/{id}/neighbours", get(neighbours))
        .route("/v1/gallery/sightings/{id}/crop", get(crop))
        .route("/v1/gallery/relabel", post(relabel))
        .route("/v1/gallery/remove", post(remove))
        .route("/v1/gallery/import", post(import))
        .route("/v1/gallery/export", post(export))
        .route("/v1/gallery/reembed", post(reembed))
        .route("/v1/journal/entries", get(entries))
        .route("/v1/journal/entries/{sequence}", get(entry))
        .route("/v1/journal/checkpoint", get(|State(e): Shared| ask(e, |e| e.journal_checkpoint())))
        .route("/v1/journal/verify", post(journal_verify))
        .route("/v1/db/verify", post(|State(e): Shared| ask(e, |e| e.db_verify())))
        .route("/v1/db/stats", get(|State(e): Shared| ask(e, |e| e.db_stats())))
        .route("/v1/images/{id}", get(original))
        .route("/v1/images/{id}/picture", get(picture))
        .fallback(|| async {
            Refusal(EngineError::NotFound("there is no such address; GET /openapi.json lists them".into()))
        })
        .with_state(engine)
        // The guard has read the body already, within its own limits.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(limits, guard))
}

/// An engine's error as an answer.
struct Refusal(EngineError);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match &self.0 {
            EngineError::NotFound(_) => StatusCode::NOT_FOUND,
            EngineError::BadRequest(_) => StatusCode::BAD_REQUEST,
            EngineError::Refused(_) => StatusCode::CONFLICT,
            EngineError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            EngineError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(Failure { code: self.0.code().into(), error: self.0.to_string() })).into_response()
    }
}

/// Runs a method of the engine on a thread that may block, and answers with its result.
async fn run<T: Send + 'static>(
    engine: Arc<Engine>,
    method: impl FnOnce(&Engine) -> Result<T, EngineError> + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(move || method(&engine)).await;
    done.unwrap_or_else(|_| Err(EngineError::Failed("the engine gave up on this request; its log says why".into())))
        .map_err(Refusal)
}

async fn ask<T: Serialize + Send + 'static>(
    engine: Arc<Engine>,
    method: impl FnOnce(&Engine) -> Result<T, EngineError> + Send + 'static,
) -> Result<Json<T>, Refusal> {
    run(engine, method).await.map(Json)
}

async fn status(State(engine): Shared, Extension(peer): Asker) -> Result<impl IntoResponse, Refusal> {
    ask(engine, move |e| Ok(e.status(&peer.name, peer.role))).await
}

/// A window on a list.
#[derive(Deserialize)]
struct Window {
    state: Option<ItemState>,
    filter: Option<String>,
    label: Option<Label>,
    after: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    newest: bool,
}

impl Window {
    /// Rows asked for, kept to what one answer may hold.
    fn limit(&self) -> usize {
        self.limit.unwrap_or(100).clamp(1, 1000)
    }
}

async fn items(State(engine): Shared, Query(window): Query<Window>) -> Result<impl IntoResponse, Refusal> {
    ask(engine, move |e| {
        e.items(window.state, window.after.clone().map(ItemId).as_ref(), window.limit(), window.newest)
    })
    .await
}

async fn labels(State(engine): Shared, Query(window): Query<Window>) -> Result<impl IntoResponse, Refusal> {
    ask(engine, move |e| e.labels(window.filter.as_deref(), window.after.as_deref(), window.limit())).await
}

async fn sightings(State(engine): Shared, Query(window): Query<Window>) -> Result<impl IntoResponse, Refusal> {
    ask(engine, move |e| {
        let label =
            window.label.as_ref().ok_or_else(|| EngineError::BadRequest("which label? add ?label=NAME".into()))?;
        let after = window.after.as_deref().map(parse::<SightingId>).transpose()?;
        e.sightings(label, after, window.limit())
    })
    .await
}

fn parse<T: std::str::FromStr<Err = String>>(text: &str) -> Result<T, EngineError> {
    text.parse().map_err(EngineError::BadRequest)
}

async fn sighting(State(engine): Shared, Path(id): Path<SightingId>) -> Result<impl IntoResponse, Refusal> {
    ask(engine, move |e| e.sighting(id)).await
}

/// Each is a search over all that is enrolled, asked for wherever an operator's selection comes to rest.
static LOOKING_AROUND: Semaphore = Semaphore::const_new(1);

async fn neighbours(State(engine): Shared, Path(id): Path<SightingId>) -> Result<impl IntoResponse, Refusal> {
    let turn = turn(&LOOKING_AROUND).await?;
    ask(engine, move |e| {
        let _turn = turn;
        e.neighbours(id)
    })
    .await
}

/// Waits for one's turn, which lasts until it is dropped. Whoever has moved on meanwhile has dropped the question, and it is never
/// begun; without this all that an operator passed by would be searched for at once, and hold up what is looked at now.
async fn turn(of: &'static Semaphore) -> Result<SemaphorePermit<'static>, Refusal> {
    of.acquire().await.map_err(|_| Refusal(EngineError::Failed("nobody has a turn any more".into())))
}

async fn release(
    State(engine): Shared,
    Extension(peer): Asker,
    Path(id): Path<ItemId>,
    Json(intent): Json<Intent<Nothing>>,
) -> Result<impl IntoResponse, Refusal> {
    ask(engine, move |e| e.release(&peer.may(Role::Operator)?, &id, &intent)).await
}

async fn discard(
    State(engine): Shared,
    Extension(peer): Asker,
    Path(id): Path<ItemId>,
    Json(intent): Json<Intent<Nothing>>,
) -> Result<impl IntoResponse, Refusal> {
    ask(engine, move |e| e.discard(&peer.may(Role::Operator)?, &id, &intent)).await
}

macro_rules! intents {
    ($($name:ident: $act:ty),*) => {$(
        async fn $name(
            State(engine): Shared,
            Extension(peer): Asker,
            Json(intent): Json<Intent<$act>>,
        ) -> Result<impl IntoResponse, Refusal> {
            ask(engine, move |e| e.$name(&peer.may(Role::Operator)?, &intent)).await
        }
    )*};
}
intents!(ingest: Ingest, relabel: Relabel, remove: Remove, import: Import, export: Export, reembed: Nothing);

async fn identify(State(engine): Shared, picture: Bytes) -> Result<impl IntoResponse, Refusal> {
    ask(engine, move |e| e.identify(&picture)).await
}

async fn entries(State(engine): Shared, Query(query): Query<JournalQuery>) -> Result<impl IntoResponse, Refusal> {
    ask(engine, move |e| e.journal_query(&query)).await
}

async fn entry(State(engine): Shared, Path(sequence): Path<u64>) -> Result<impl IntoResponse, Refusal> {
    ask(engine, move |e| e.journal_entry(sequence)).await
}

async fn journal_verify(State(engine): Shared, trusted: Option<Json<Trusted>>) -> Result<impl IntoResponse, Refusal> {
    let trusted = trusted.map(|Json(trusted)| trusted).unwrap_or_default();
    ask(engine, move |e| e.journal_verify(&trusted)).await
}

/// How large a picture may be, and whether boxes are drawn on it.
#[derive(Deserialize)]
struct Size {
    width: Option<u32>,
    height: Option<u32>,
    #[serde(default)]
    plain: bool,
}

fn png(bytes: Vec<u8>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "image/png")], bytes)
}

async fn picture(
    State(engine): Shared,
    Path(id): Path<ImageId>,
    Query(size): Query<Size>,
) -> Result<impl IntoResponse, Refusal> {
    run(engine, move |e| e.picture(id, (size.width, size.height), !size.plain)).await.map(png)
}

async fn crop(
    State(engine): Shared,
    Path(id): Path<SightingId>,
    Query(size): Query<Size>,
) -> Result<impl IntoResponse, Refusal> {
    run(engine, move |e| e.crop(id, (size.width, size.height))).await.map(png)
}

async fn original(State(engine): Shared, Path(id): Path<ImageId>) -> Result<impl IntoResponse, Refusal> {
    let (bytes, format) = run(engine, move |e| e.original(id)).await?;
    let kind = if format == "jpg" { "image/jpeg".to_owned() } else { format!("image/{format}") };
    Ok(([(header::CONTENT_TYPE, kind)], bytes))
}

/// A slow console misses events, never the engine a beat: what it missed is summed up by a fresh `changed`.
async fn events(State(engine): Shared) -> impl IntoResponse {
    let first = engine.changed();
    let stream = BroadcastStream::new(engine.subscribe()).map(move |event| event.unwrap_or_else(|_| engine.changed()));
    let stream = tokio_stream::once(first).chain(stream).map(|event: Event| {
        let data = serde_json::to_string(&event).unwrap_or_default();
        Ok::<_, Infallible>(axum::response::sse::Event::default().data(data))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_question_that_was_dropped_while_it_waited_is_never_begun() {
        static TURNS: Semaphore = Semaphore::const_new(1);
        static BEGUN: AtomicUsize = AtomicUsize::new(0);
        let question = || async {
            let turn = turn(&TURNS).await;
            BEGUN.fetch_add(1, Ordering::SeqCst);
            drop(turn);
        };
        let running = turn(&TURNS).await;
        let waiting: Vec<_> = (0..5).map(|_| tokio::spawn(question())).collect();
        tokio::task::yield_now().await;
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
        drop(running);
        question().await;
        for task in waiting {
            assert!(task.await.is_err_and(|error| error.is_cancelled()));
        }
        assert_eq!(BEGUN.load(Ordering::SeqCst), 1);
    }
}
