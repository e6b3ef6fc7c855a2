//! Messages that are posted into the topics of a Kafka connection: what a hosted Kafka's webhook URL, or a function
//! behind a gateway, would do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use repr::error::code;
use repr::{GlobalId, SqlError};
use sink::kafka::{Message, Place, ProduceError, Producer};
use source::SourceError;
use sql::plan::ConnectionPlan;
use tokio::sync::oneshot;

use crate::catalog::CatalogState;
use crate::coordinator::Handle;
use crate::push::Refusal;

/// Producers of connections that were posted to, with the connection they were made for.
#[derive(Default)]
pub struct Producers(Mutex<HashMap<GlobalId, (source::KafkaConnection, Arc<Producer>)>>);

impl Handle {
    /// Writes a message into a topic of the named connection, or of the only one there is; who it comes from must name
    /// the connection's own user and password, where it has some.
    pub async fn produce(
        &self,
        connection: Option<&str>,
        credentials: Option<(&str, &str)>,
        mut message: Message,
    ) -> Result<(Place, i64), Refusal> {
        let catalog = self.catalog();
        let kafka = catalog.items.values().filter_map(|item| match &item.connection {
            Some(ConnectionPlan::Kafka(plan)) => Some((item, plan)),
            _ => None,
        });
        let named: Vec<_> = match connection {
            None => kafka.collect(),
            Some(name) => kafka.filter(|(i, _)| i.name.item == name || i.name.to_string() == name).collect(),
        };
        let (item, plan) = match (&named[..], connection) {
            ([one], _) => *one,
            ([], Some(name)) => {
                return Err(Refusal::new(404, format!("there is no Kafka connection \"{name}\"")));
            }
            ([], None) => {
                return Err(Refusal::new(404, "there is no Kafka connection: see CREATE CONNECTION"));
            }
            _ => {
                return Err(Refusal::new(
                    400,
                    "there are several Kafka connections: add connection=NAME to the URL",
                ));
            }
        };
        let connection = catalog.kafka_connection(plan).map_err(|e| Refusal::new(503, e.message))?;
        let known = (connection.username.as_deref(), connection.password.as_ref().map(|p| p.reveal()));
        if let (Some(user), Some(password)) = known {
            let (given_user, given_password) = credentials.unwrap_or_default();
            if !(equal(user, given_user) & equal(password, given_password)) {
                return Err(Refusal::new(401, "user and password must be those of the Kafka connection"));
            }
        }
        if self.shared.offline {
            return Err(Refusal::new(503, "the engine runs offline"));
        }
        let producer =
            self.shared.producers.get(item.id, connection).map_err(|e| Refusal::new(503, e.to_string()))?;
        message.timestamp = i64::try_from(self.shared.clock.now()).unwrap_or(i64::MAX);
        let (tell, told) = oneshot::channel();
        producer.send(&message, move |result| tell.send(result).unwrap_or_default());
        let result = told.await.map_err(|_| Refusal::new(503, "the producer ended"))?;
        let place = result.map_err(|e| match e {
            ProduceError::NoTopic => Refusal::new(404, format!("topic \"{}\" does not exist", message.topic)),
            ProduceError::Refused(why) => Refusal::new(400, why),
            ProduceError::Unavailable(why) => Refusal::new(503, why),
        })?;
        Ok((place, message.timestamp))
    }
}

impl Producers {
    /// The producer of a connection of the catalog.
    pub(crate) fn of(&self, catalog: &CatalogState, id: GlobalId) -> Result<Arc<Producer>, SqlError> {
        let connection = catalog.items.get(&id).and_then(|i| i.connection.as_ref());
        let Some(ConnectionPlan::Kafka(plan)) = connection else {
            return Err(SqlError::internal("a connection to Kafka is gone"));
        };
        self.get(id, catalog.kafka_connection(plan)?)
            .map_err(|e| SqlError::new(code::CONNECTION_FAILURE, e.to_string()))
    }

    fn get(&self, id: GlobalId, connection: source::KafkaConnection) -> Result<Arc<Producer>, SourceError> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, producer)) = all.get(&id)
            && *of == connection
        {
            return Ok(producer.clone());
        }
        let producer = Arc::new(Producer::new(&connection)?);
        all.insert(id, (connection, producer.clone()));
        Ok(producer)
    }
}

/// Equality whose time tells nothing but the length.
fn equal(a: &str, b: &str) -> bool {
    let differing = a.bytes().zip(b.bytes()).fold(0, |d, (a, b)| d | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differing) == 0
}
