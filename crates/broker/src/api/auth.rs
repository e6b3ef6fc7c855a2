//! Who a client is.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};

use super::{Place, ready};
use crate::Shared;
use crate::codes;
use crate::conn::{Answer, Client, Reply};
use crate::group::text;
use crate::sasl::{Login, MECHANISMS};

/// Who guesses passwords waits for each.
const DELAY: Duration = Duration::from_millis(100);

pub fn handshake(client: &mut Client, request: SaslHandshakeRequest) -> SaslHandshakeResponse {
    let code = if matches!(client.login, Login::Known) {
        codes::ILLEGAL_SASL_STATE
    } else if client.login.choose(&request.mechanism) {
        codes::NONE
    } else {
        codes::UNSUPPORTED_SASL_MECHANISM
    };
    let all = MECHANISMS.iter().map(|m| text(m)).collect();
    SaslHandshakeResponse::default().with_error_code(code).with_mechanisms(all)
}

pub fn authenticate(
    shared: &Shared,
    client: &mut Client,
    place: Place,
    request: SaslAuthenticateRequest,
) -> Answer {
    if matches!(client.login, Login::Known) {
        let answer = SaslAuthenticateResponse::default().with_error_code(codes::ILLEGAL_SASL_STATE);
        return ready(place.answer(&answer));
    }
    match client.login.step(&shared.users, &request.auth_bytes) {
        Ok(answer) => {
            let answer = SaslAuthenticateResponse::default().with_auth_bytes(Bytes::from(answer));
            ready(place.answer(&answer))
        }
        Err(why) => {
            tracing::info!(reason = why, "a Kafka client was not let in");
            let answer = SaslAuthenticateResponse::default()
                .with_error_code(codes::SASL_AUTHENTICATION_FAILED)
                .with_error_message(Some(text(why)));
            Box::pin(async move {
                tokio::time::sleep(DELAY).await;
                Ok(place.answer(&answer)?.map(|reply| Reply { last: true, ..reply }))
            })
        }
    }
}
