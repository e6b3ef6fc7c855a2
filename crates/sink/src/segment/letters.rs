//! `DEAD LETTER TOPIC`: what cannot be sent goes into a topic, before it is told and so at least once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::DeadLetter;
use super::api::backoff;
use super::lane::Shared;
use crate::feed::Stopped;
use crate::kafka::{Message, ProduceError, Producer};

/// The topic of a sink's dead letters.
pub struct Letters {
    /// Who writes.
    pub producer: Arc<Producer>,
    /// The topic.
    pub topic: String,
    /// The sink's name, for those who read a topic of several.
    pub sink: String,
}

impl Letters {
    /// Writes a letter; comes back when all replicas have it, or when the cluster will never take it.
    pub(super) fn write(&self, shared: &Shared, lane: usize, letter: &DeadLetter) -> Result<(), Stopped> {
        let body: serde_json::Value = serde_json::from_str(&letter.body).unwrap_or_default();
        let user = body.get("userId").or(body.get("anonymousId")).and_then(|id| id.as_str());
        let now = (shared.now)();
        // The body as it is: numbers keep their digits.
        let mut value = json!({
            "sink": self.sink, "message_id": letter.message_id, "reason": letter.reason,
            "status": letter.status, "attempts": letter.attempts, "occurred_at": now,
        })
        .to_string();
        value.pop();
        value.push_str(&format!(",\"body\":{}}}", letter.body));
        let message = Message {
            topic: self.topic.clone(),
            key: user.map(|u| u.as_bytes().to_vec()),
            value: Some(value.into_bytes()),
            headers: vec![],
            timestamp: i64::try_from(now).unwrap_or(i64::MAX),
        };
        let mut failures = 0;
        loop {
            let (tell, told) = crossbeam_channel::bounded(1);
            self.producer.send(&message, move |result| tell.send(result).unwrap_or_default());
            let result = crossbeam_channel::select! {
                recv(told) -> result => result.unwrap_or(Err(ProduceError::Unavailable("the producer ended".into()))),
                recv(shared.stop) -> _ => return Err(Stopped),
            };
            match result {
                // What the topic refuses stands in the relation all the same.
                Ok(_) | Err(ProduceError::Refused(_)) => return Ok(()),
                Err(e) => {
                    failures += 1;
                    let why = format!("dead letter topic \"{}\": {e}", self.topic);
                    shared.book().stalled(lane, Some(why))?;
                    shared.wait(backoff(failures, &letter.message_id).min(Duration::from_secs(5)))?;
                }
            }
        }
    }
}
