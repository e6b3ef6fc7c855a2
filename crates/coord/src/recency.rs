//! `SET real_time_recency = on`: a read waits until all that was in the topics when it began is in.
//!
//! Records come a moment after they were produced. A test that produces and then selects wants them there: so the session
//! asks each broker for the last records of the topics below what it reads, and the loop says when these are durable. From
//! then on every read sees them, as it would a write that was acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use plan::RelationExpr;
use repr::{GlobalId, SqlError, SqlState};
use sql::plan::SourceFrom;
use tokio::sync::oneshot;

use crate::command::Command;
use crate::coordinator::{State, shutting_down};
use crate::create::outside;
use crate::session::Session;

/// Next offsets that sources are to reach, by partition.
pub type Targets = Vec<(GlobalId, BTreeMap<i32, i64>)>;

/// A session that waits for sources.
pub(crate) struct Waiting {
    pub targets: Targets,
    pub reply: oneshot::Sender<()>,
}

impl Session {
    /// Waits for what the topics below a relation hold now.
    pub(crate) async fn await_recency(
        &self,
        relation: &RelationExpr,
        patience: Duration,
    ) -> Result<(), SqlError> {
        let catalog = self.handle.catalog();
        let kafka = |id: &GlobalId| match &catalog.sources.get(id)?.from {
            SourceFrom::Kafka { connection, inline, topic, .. } => {
                Some((*id, *connection, inline.clone(), topic.clone()))
            }
            _ => None,
        };
        let sources: Vec<_> = catalog.sources_below(relation.depends_on()).iter().filter_map(kafka).collect();
        if sources.is_empty() || self.handle.shared.offline {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        self.handle.send(Command::Offsets(sources.iter().map(|s| s.0).collect(), reply))?;
        let committed = answer.await.map_err(|_| shutting_down())?;
        let late = || {
            let names: Vec<&str> = sources
                .iter()
                .filter_map(|(id, ..)| Some(catalog.items.get(id)?.name.item.as_str()))
                .collect();
            let message = format!(
                "the read waited {} ms for its topics, and not all that was in them is in (source {})",
                patience.as_millis(),
                names.join(", ")
            );
            SqlError::new(SqlState::new("57014"), message).with_hint(
                "EXPLAIN WHY says what keeps a source; SET real_time_recency_timeout gives it more time.",
            )
        };
        let wait = async {
            let mut targets = vec![];
            for ((id, connection, inline, topic), committed) in sources.iter().zip(committed) {
                let connection = catalog.source_connection(*connection, inline.as_ref())?;
                let topic = topic.clone();
                let ends =
                    outside(move || source::last_records(&connection, &topic, &committed, patience)).await?;
                targets.push((*id, ends));
            }
            let (reply, reached) = oneshot::channel();
            self.handle.send(Command::AwaitOffsets(targets, reply))?;
            reached.await.map_err(|_| shutting_down())
        };
        tokio::time::timeout(patience, wait).await.unwrap_or_else(|_| Err(late()))
    }
}

impl State {
    /// How far sources are durable.
    pub(crate) fn offsets(&self, ids: &[GlobalId]) -> Vec<BTreeMap<i32, i64>> {
        ids.iter().map(|id| self.statuses.get(id).map(|s| s.committed.clone()).unwrap_or_default()).collect()
    }

    /// Tells who waits for sources that have come far enough.
    pub(crate) fn release_recency(&mut self) {
        let statuses = &self.statuses;
        let reached = |(id, ends): &(GlobalId, BTreeMap<i32, i64>)| {
            let Some(status) = statuses.get(id) else { return true };
            ends.iter().all(|(p, end)| status.committed.get(p).copied().unwrap_or(0) >= *end)
        };
        let (done, waiting): (Vec<Waiting>, Vec<Waiting>) = std::mem::take(&mut self.recency)
            .into_iter()
            .filter(|w| !w.reply.is_closed())
            .partition(|w| w.targets.iter().all(reached));
        self.recency = waiting;
        if !done.is_empty() {
            self.acknowledged(self.durable());
            for waiting in done {
                // Who asked may have gone.
                let _ = waiting.reply.send(());
            }
        }
    }
}
