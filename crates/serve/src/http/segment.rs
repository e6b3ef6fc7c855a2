//! Segment's Tracking API, as its libraries and its neighbours' use it.
//!
//! Answers are what these libraries need: exactly 200 for what was taken (one takes 204 for a failure), errors with
//! `code` and `message` at the top (one dies on other shapes). The content type says nothing: browsers send text/plain,
//! one library a form's. Any page may call, since that is what the browser's library does.
//!
//! | the write key | from |
//! |---|---|
//! | `Authorization: Basic base64(key:)` | most libraries |
//! | `"writeKey"` in the body | browsers, OAuth |
//! | `X-Write-Key`, `?writeKey=` | neighbouring dialects |

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use coord::Handle;
use coord::push::Refusal;
use serde_json::json;
use source::segment::{Body as Calls, Call};

use super::body::{Intake, headers};

pub(super) fn routes(intake: Arc<Intake>) -> Router<Handle> {
    let mut router = Router::new();
    for path in ["/v1/{call}", "/api/s/{call}", "/beacon/v1/{call}"] {
        let intake = intake.clone();
        let take = move |State(handle), Path(call), Query(query), headers, body| {
            take(intake, handle, call, query, headers, body)
        };
        router = router.route(path, post(take).options(preflight));
    }
    router.route("/v1/projects/{key}/settings", get(settings).options(preflight))
}

#[derive(serde::Deserialize)]
struct Parameters {
    #[serde(rename = "writeKey")]
    write_key: Option<String>,
}

async fn take(
    intake: Arc<Intake>,
    handle: Handle,
    call: String,
    query: Parameters,
    map: HeaderMap,
    body: Body,
) -> Response {
    let Some(call) = Call::of(&call) else {
        return refused(&Refusal::new(404, format!("there is no call {call}")), None);
    };
    let (headers, _) = headers(&map);
    let result: Result<Option<(StatusCode, Option<u64>)>, Refusal> = async {
        let mut place = intake.enter()?;
        let body = place.read(&map, body).await?;
        let text =
            std::str::from_utf8(&body).map_err(|e| Refusal::new(400, format!("the body is not UTF-8: {e}")));
        let read = |text| Calls::read(call, text).ok().and_then(|b| b.write_key());
        let in_body = || text.as_ref().ok().and_then(|t| read(t));
        let key = super::basic(&map)
            .map(|(key, _)| key)
            .filter(|key| !key.is_empty())
            .or_else(|| header_text(&map, "x-write-key"))
            .or(query.write_key)
            .or_else(in_body);
        let call_of = handle.segment(key.as_deref())?;
        let fault = call_of.fault();
        if !fault.delay.is_zero() {
            tokio::time::sleep(fault.delay).await;
        }
        if let Some((status, retry_after)) = fault.answer {
            return Ok(Some((StatusCode::from_u16(status).unwrap_or_default(), retry_after)));
        }
        match text {
            Ok(text) => call_of.accept(call, &headers, text).await.map(|()| None),
            Err(refusal) => Err(call_of.refuse(refusal, &headers, "")),
        }
    }
    .await;
    match result {
        Ok(None) => answer(StatusCode::OK, &json!({ "success": true })),
        Ok(Some((status, after))) => {
            refused(&Refusal::new(status.as_u16(), "this source fails on purpose (FAIL RATE)"), after)
        }
        Err(refusal) => refused(&refusal, None),
    }
}

fn header_text(map: &HeaderMap, name: &str) -> Option<String> {
    Some(map.get(name)?.to_str().ok()?.to_string())
}

async fn preflight() -> Response {
    with_cors(StatusCode::OK.into_response())
}

/// What the browser's library loads before it sends: to where, and that everything is allowed.
async fn settings(Path(key): Path<String>, map: HeaderMap) -> Response {
    let host = header_text(&map, "host").unwrap_or_default();
    let segment = json!({ "apiKey": key, "apiHost": format!("{host}/v1"), "protocol": "http" });
    let plan = json!({ "track": { "__default": { "enabled": true } } });
    answer(
        StatusCode::OK,
        &json!({ "integrations": { "Segment.io": segment }, "plan": plan, "edgeFunction": {} }),
    )
}

fn refused(refusal: &Refusal, retry_after: Option<u64>) -> Response {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let code = match refusal.status {
        400 => "bad_request",
        401 => "invalid_write_key",
        404 => "not_found",
        408 => "timeout",
        413 => "payload_too_large",
        429 => "rate_limited",
        503 => "unavailable",
        _ => "failed",
    };
    let mut response = answer(status, &json!({ "success": false, "code": code, "message": refusal.message }));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        response.headers_mut().insert("x-ratelimit-reset", seconds.into());
    }
    response
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    with_cors((status, kind, body.to_string()).into_response())
}

fn with_cors(mut response: Response) -> Response {
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, content-encoding, x-retry-count, x-write-key",
        ),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "retry-after, x-ratelimit-reset"),
        (header::ACCESS_CONTROL_MAX_AGE, "900"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
