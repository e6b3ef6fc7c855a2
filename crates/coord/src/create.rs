//! `CREATE`: what is checked in the session, before the catalog changes, and with whom outside.

use std::collections::BTreeMap;
use std::time::Duration;

use repr::error::code;
use repr::{GlobalId, Row, SqlError};
use sql::plan::{ConnectionPlan, CreateItem, CreatePlan, SecretValue, SinkInto, SourceFrom};

use crate::catalog::CatalogState;
use crate::command::Ddl;
use crate::rows::Outcome;
use crate::session::Session;

/// How long talking to something outside may take while a statement waits.
const OUTSIDE_TIMEOUT: Duration = Duration::from_secs(10);

impl Session {
    /// Makes an object.
    pub(crate) async fn create(
        &mut self,
        create: &CreatePlan,
        version: u64,
        _parameters: &[Row],
    ) -> Result<Option<Outcome>, SqlError> {
        let catalog = self.catalog();
        let kind = match create.item {
            CreateItem::Secret(_) => "SECRET",
            CreateItem::Connection { .. } => "CONNECTION",
            CreateItem::Source(_) => "SOURCE",
            CreateItem::Table { .. } => "TABLE",
            CreateItem::View { .. } => "VIEW",
            CreateItem::MaterializedView { .. } => "MATERIALIZED VIEW",
            CreateItem::Index { .. } => "INDEX",
            CreateItem::Sink(_) => "SINK",
            CreateItem::Type => "TYPE",
        };
        let tag = format!("CREATE {kind}");
        if create.temporary && !matches!(create.item, CreateItem::View { .. }) {
            return Err(SqlError::unsupported(
                "a temporary table",
                "Use CREATE TEMPORARY VIEW or CREATE TABLE.",
            ));
        }
        if create.replace.is_none() && catalog.names.contains_key(&create.name) {
            let name = &create.name.item;
            let e = SqlError::new(code::DUPLICATE_TABLE, format!("relation \"{name}\" already exists"));
            let e = match kind {
                "SECRET" | "CONNECTION" | "TYPE" => SqlError::new(
                    code::DUPLICATE_OBJECT,
                    format!("{} \"{name}\" already exists", kind.to_lowercase()),
                ),
                _ => e,
            };
            if !create.if_not_exists {
                return Err(e);
            }
            self.notices.push(SqlError { message: format!("{}, skipping", e.message), ..e });
            return Ok(Some(Outcome::Done(tag)));
        }
        let mut start_offsets = BTreeMap::new();
        match &create.item {
            _ if self.handle.shared.offline => {}
            CreateItem::Secret(SecretValue::Env(variable)) if std::env::var_os(variable).is_none() => {
                let message = format!("environment variable \"{variable}\" is not set");
                return Err(SqlError::new(code::UNDEFINED_OBJECT, message)
                    .with_hint("Set it where the server starts, and start it again."));
            }
            CreateItem::Connection { connection: ConnectionPlan::Kafka(plan), validate: true } => {
                let connection = catalog.kafka_connection(plan)?;
                outside(move || source::validate_connection(&connection, OUTSIDE_TIMEOUT)).await?;
            }
            CreateItem::Sink(sink) => {
                if let SinkInto::Kafka(plan) = &sink.into {
                    let (connection, topic, progress) =
                        crate::sinks::kafka_topics(&catalog, sink.connection, plan)?;
                    outside(move || {
                        source::validate_connection(&connection, OUTSIDE_TIMEOUT)
                            .and_then(|()| sink::kafka::prepare(&connection, &[topic, progress]))
                    })
                    .await?;
                }
            }
            CreateItem::Source(source) => {
                start_offsets = self.validate_source(&catalog, &source.from).await?
            }
            _ => {}
        }
        let applied =
            match (self.variables.get("deltamill.apply_set"), self.variables.get("deltamill.apply_hash")) {
                (Ok(set), Ok(hash)) => Some((set, hash)),
                _ => None,
            };
        let ddl = Ddl::Create { plan: Box::new(create.clone()), start_offsets, applied };
        let created = self.ddl(ddl, version, &tag).await?;
        if let (Some(_), CreateItem::Source(source)) = (&created, &create.item) {
            let push = &self.handle.shared.push;
            // Where requests to it go.
            let text = match source.from {
                SourceFrom::Webhook(_) => Some(format!("URL to POST data is '{}'", push.url(&create.name))),
                SourceFrom::Segment(_) => {
                    Some(format!("Segment's libraries send here when their host is '{}'", push.host()))
                }
                _ => None,
            };
            let notice = |text| SqlError::new(repr::SqlState::new("00000"), text);
            text.into_iter().for_each(|text| self.notices.push(notice(text)));
        }
        Ok(created)
    }

    /// Talks to what the source reads, so that a mistake shows now and not later. Returns where partitions start.
    async fn validate_source(
        &self,
        catalog: &CatalogState,
        from: &SourceFrom,
    ) -> Result<BTreeMap<i32, i64>, SqlError> {
        match from {
            SourceFrom::Kafka { connection, inline, topic, start_offsets, start_timestamp, .. } => {
                let connection = catalog.source_connection(*connection, inline.as_ref())?;
                let start = match start_timestamp {
                    Some(ms) => source::StartPosition::Timestamp(*ms),
                    None if start_offsets.is_empty() => source::StartPosition::Earliest,
                    None => source::StartPosition::Offsets(start_offsets.clone()),
                };
                let (topic, now) = (topic.clone(), self.handle.shared.clock.now());
                outside(move || source::resolve_start(&connection, &topic, &start, now, OUTSIDE_TIMEOUT))
                    .await
            }
            SourceFrom::File { path, .. } => match std::fs::metadata(path) {
                Ok(m) if m.is_file() => Ok(BTreeMap::new()),
                Ok(_) => Err(SqlError::new(code::WRONG_OBJECT_TYPE, format!("\"{path}\" is not a file"))),
                Err(e) => Err(SqlError::new(
                    repr::SqlState::new("58P01"),
                    format!("could not open file \"{path}\": {e}"),
                )),
            },
            SourceFrom::GeneratorSegment { .. }
            | SourceFrom::GeneratorCounter { .. }
            | SourceFrom::Webhook(_)
            | SourceFrom::Segment(_) => Ok(BTreeMap::new()),
        }
    }

    /// `VALIDATE CONNECTION`.
    pub(crate) async fn validate_connection_object(&self, id: GlobalId) -> Result<(), SqlError> {
        let catalog = self.catalog();
        let connection = catalog.items.get(&id).and_then(|i| i.connection.as_ref());
        let plan = match connection {
            Some(ConnectionPlan::Kafka(plan)) => plan,
            Some(ConnectionPlan::Segment(_)) => {
                return Err(SqlError::unsupported(
                    "VALIDATE CONNECTION to Segment",
                    "Segment answers 200 to any key: a sink's status says what its calls meet.",
                ));
            }
            None => return Err(SqlError::new(code::WRONG_OBJECT_TYPE, "only connections can be validated")),
        };
        let connection = catalog.kafka_connection(plan)?;
        outside(move || source::validate_connection(&connection, OUTSIDE_TIMEOUT)).await
    }
}

/// Runs something that talks to the outside on a thread where it may block.
pub(crate) async fn outside<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, source::SourceError> + Send + 'static,
) -> Result<T, SqlError> {
    let result = tokio::task::spawn_blocking(f).await;
    result
        .map_err(|_| SqlError::internal("a check of something outside was cut off"))?
        .map_err(SqlError::from)
}
