//! What every request passes: its body is there in time and within a size, and every refusal is a `Failure`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use crate::domain::display_safe;
use crate::domain::view::Failure;

/// The largest body that is not a picture, bytes.
const WORDS: usize = 2 << 20;
/// A body must have come whole within this time.
const BODY: Duration = Duration::from_secs(30);
/// Pictures that are received at once: each is held in memory.
const PICTURES: usize = 8;

/// The limits of one server.
#[derive(Clone)]
pub(super) struct Guard {
    picture: usize,
    pictures: Arc<Semaphore>,
}

impl Guard {
    /// Pictures to be asked about may have as many bytes as those that are dropped.
    pub(super) fn new(max_file_bytes: u64) -> Self {
        let picture = usize::try_from(max_file_bytes).unwrap_or(usize::MAX);
        Self { picture, pictures: Arc::new(Semaphore::new(PICTURES)) }
    }
}

fn failure(status: StatusCode, error: impl Into<String>) -> Response {
    (status, Json(Failure { code: "bad_request".into(), error: error.into() })).into_response()
}

/// Reads the body, passes the request on, and puts refusals of the framework into our words.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let is_picture = parts.uri.path() == "/v1/identify";
    let limit = if is_picture { guard.picture } else { WORDS };
    let _place = if is_picture { guard.pictures.acquire().await.ok() } else { None };
    let body = match tokio::time::timeout(BODY, to_bytes(body, limit)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let error = format!("the body broke off, or has more than {limit} bytes");
            return failure(StatusCode::PAYLOAD_TOO_LARGE, error);
        }
        Err(_) => {
            let error = format!("the body did not come within {} s; send it again", BODY.as_secs());
            return failure(StatusCode::REQUEST_TIMEOUT, error);
        }
    };
    in_our_words(next.run(Request::from_parts(parts, Body::from(body))).await).await
}

async fn in_our_words(response: Response) -> Response {
    let status = response.status();
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if status.is_success() || is_json {
        return response;
    }
    let text = to_bytes(response.into_body(), 64 << 10).await.unwrap_or_default();
    let text = display_safe(&String::from_utf8_lossy(&text));
    match (status, text.as_str()) {
        (StatusCode::METHOD_NOT_ALLOWED, _) => {
            failure(status, "this address is not asked in this way; GET /openapi.json lists what there is")
        }
        (_, "") => failure(status, status.to_string()),
        (_, text) => failure(status, text),
    }
}
