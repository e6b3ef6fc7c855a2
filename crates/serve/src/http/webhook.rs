//! `POST /api/webhook/<database>/<schema>/<source>`.
//!
//! | status | when |
//! |---|---|
//! | 200 | what was posted is durable |
//! | 400 | it does not fulfil the CHECK, or is not of the BODY FORMAT |
//! | 401 | a header comes twice |
//! | 404 | there is no such source, or a secret of it is missing |
//! | 408, 413, 429 | it is too slow, too large, or one of too many |
//! | 503 | the server stops |

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use coord::Handle;
use coord::push::Refusal;

use super::body::{Intake, headers};

pub(super) fn routes(intake: Arc<Intake>) -> Router<Handle> {
    let take = move |State(handle), Path(name), headers, body| take(intake, handle, name, headers, body);
    Router::new().route("/api/webhook/{database}/{schema}/{source}", post(take))
}

async fn take(
    intake: Arc<Intake>,
    handle: Handle,
    (database, schema, source): (String, String, String),
    map: HeaderMap,
    body: Body,
) -> Response {
    let Some(webhook) = handle.webhook(&database, &schema, &source) else {
        let message = format!("webhook source {database}.{schema}.{source} does not exist");
        return (StatusCode::NOT_FOUND, message).into_response();
    };
    let (headers, once) = headers(&map);
    let read = async {
        once?;
        let mut place = intake.enter()?;
        let body = place.read(&map, body).await?;
        Ok::<_, Refusal>((place, body))
    };
    let taken = match read.await {
        Ok((_place, body)) => webhook.accept(&headers, body).await,
        Err(refusal) => {
            webhook.refused(&refusal, &headers, &[]);
            Err(refusal)
        }
    };
    match taken {
        Ok(()) => StatusCode::OK.into_response(),
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, refusal.message).into_response()
        }
    }
}
