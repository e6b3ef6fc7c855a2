//! `POST /webhook?topic=T[&connection=NAME][&user=…&pass=…]`: the body becomes a message of a Kafka topic, headers that
//! HTTP does not know become its headers, and the answer says where it is once all replicas have it.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use coord::Handle;
use coord::push::Refusal;
use serde_json::json;
use sink::kafka::Message;

use super::body::Intake;

/// Headers that are about the request, not of the message. So are all that begin with `accept`, `content-`, `sec-` and
/// `proxy-`.
const STANDARD: [&str; 24] = [
    "authorization",
    "cache-control",
    "connection",
    "cookie",
    "date",
    "dnt",
    "expect",
    "forwarded",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "keep-alive",
    "origin",
    "pragma",
    "range",
    "referer",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
];

pub(super) fn routes(intake: Arc<Intake>) -> Router<Handle> {
    let take = move |State(handle), Query(query), headers, body| take(intake, handle, query, headers, body);
    Router::new().route("/webhook", get(take.clone()).post(take))
}

#[derive(serde::Deserialize)]
struct Parameters {
    topic: Option<String>,
    connection: Option<String>,
    user: Option<String>,
    pass: Option<String>,
}

async fn take(
    intake: Arc<Intake>,
    handle: Handle,
    query: Parameters,
    map: HeaderMap,
    body: Body,
) -> Response {
    match produce(intake, handle, query, map, body).await {
        Ok(place) => answer(StatusCode::OK, &place),
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            answer(status, &json!({ "error": refusal.message, "status": refusal.status }))
        }
    }
}

async fn produce(
    intake: Arc<Intake>,
    handle: Handle,
    query: Parameters,
    map: HeaderMap,
    body: Body,
) -> Result<serde_json::Value, Refusal> {
    // A page that happens to be open in a browser here has no business with the topics.
    let of_a_page = map.contains_key(header::ORIGIN)
        || map.get("sec-fetch-site").is_some_and(|site| site != "none" && site != "same-origin");
    if of_a_page {
        return Err(Refusal::new(403, "requests of web pages are refused"));
    }
    let topic = query.topic.ok_or_else(|| Refusal::new(400, "add topic=NAME to the URL"))?;
    let mut place = intake.enter()?;
    let value = place.read(&map, body).await?;
    let own = |name: &str| {
        !STANDARD.contains(&name)
            && !["accept", "content-", "sec-", "proxy-"].iter().any(|p| name.starts_with(p))
    };
    let headers = map.iter().filter(|(name, _)| own(name.as_str()));
    let headers =
        headers.map(|(name, value)| (name.as_str().to_string(), value.as_bytes().to_vec())).collect();
    let message = Message { topic, value: Some(value), headers, ..Message::default() };
    let basic = super::basic(&map);
    let credentials = match (&basic, &query.user, &query.pass) {
        (Some((user, password)), ..) => Some((user.as_str(), password.as_str())),
        (None, Some(user), Some(password)) => Some((user.as_str(), password.as_str())),
        _ => None,
    };
    let topic = message.topic.clone();
    let (at, timestamp) = handle.produce(query.connection.as_deref(), credentials, message).await?;
    Ok(json!({ "topic": topic, "partition": at.partition, "offset": at.offset, "timestamp": timestamp }))
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
