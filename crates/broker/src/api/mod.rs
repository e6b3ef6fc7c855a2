//! Requests to answers: one function a request.

mod admin;
mod auth;
mod configs;
mod data;
mod groups;
mod topics;
mod transactions;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, BrokerId, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable};

use crate::Shared;
use crate::codes::{self, Code};
use crate::conn::{Answer, Client, Closed, Reply, head};
use crate::group::Who;
use crate::sasl::Login;
use crate::schema::{self, APIS};

/// The id of the only broker.
const NODE: BrokerId = BrokerId(1);
const CLUSTER: &str = "deltamill";

/// Where an answer goes.
#[derive(Clone, Copy)]
struct Place {
    key: ApiKey,
    version: i16,
    correlation: i32,
}

/// Checks and decodes a frame of at least eight bytes, and begins to answer it.
pub async fn begin(shared: &Arc<Shared>, client: &mut Client, mut frame: Bytes) -> Result<Answer, Closed> {
    let (key, version, correlation) = head(&frame);
    let Some(api) = schema::api(key) else {
        let name = ApiKey::try_from(key).map_or_else(|()| format!("request {key}"), |k| format!("{k:?}"));
        return Err(Closed::Garbage(format!("{name} is not offered by the embedded broker")));
    };
    let place = Place { key: api.key, version, correlation };
    if version < api.first || version > api.announced.1 {
        // Only ApiVersions may come in a version that was not offered: the client then asks again in one that was.
        if api.key != ApiKey::ApiVersions {
            return Err(Closed::Garbage(format!("{:?} version {version} is not offered", api.key)));
        }
        let place = Place { version: 0, ..place };
        return Ok(ready(place.answer(&versions(codes::UNSUPPORTED_VERSION))));
    }
    let header = decode::<RequestHeader>(&mut frame, api.key.request_header_version(version))?;
    if !api.fits(version, &frame) {
        return Err(Closed::Garbage(format!("{:?} version {version} is malformed", api.key)));
    }
    let stranger = !matches!(client.login, Login::Known);
    if stranger && !matches!(api.key, ApiKey::ApiVersions | ApiKey::SaslHandshake | ApiKey::SaslAuthenticate)
    {
        return Err(Closed::Garbage(format!("{:?} before the client has said who it is", api.key)));
    }
    let at = &client.advertised;
    tracing::trace!(request = ?api.key, version, "a Kafka request");
    let shared = Arc::clone(shared);
    macro_rules! request {
        () => {
            decode(&mut frame, version)?
        };
    }
    Ok(match api.key {
        ApiKey::Produce => data::begin_produce(&shared, place, request!()).await,
        ApiKey::Fetch => {
            let request = request!();
            Box::pin(async move { data::fetch(&shared, place, request).await })
        }
        ApiKey::ListOffsets => {
            let request = request!();
            Box::pin(async move { place.answer(&data::list_offsets(&shared, request, version).await) })
        }
        ApiKey::Metadata => {
            let (request, at) = (request!(), at.clone());
            Box::pin(async move { place.answer(&topics::metadata(&shared, &at, request, version).await) })
        }
        ApiKey::CreateTopics => {
            let request = request!();
            Box::pin(async move { place.answer(&topics::create(&shared, request, version).await) })
        }
        ApiKey::DeleteTopics => {
            let request = request!();
            Box::pin(async move { place.answer(&topics::delete(&shared, request, version).await) })
        }
        ApiKey::CreatePartitions => {
            let request = request!();
            Box::pin(async move { place.answer(&topics::grow(&shared, request).await) })
        }
        ApiKey::DeleteRecords => {
            let request = request!();
            Box::pin(async move { place.answer(&topics::delete_records(&shared, request).await) })
        }
        ApiKey::DescribeConfigs => ready(place.answer(&configs::describe(&shared, request!(), version))),
        ApiKey::AlterConfigs => {
            let request = request!();
            Box::pin(async move { place.answer(&configs::alter(&shared, request).await) })
        }
        ApiKey::IncrementalAlterConfigs => {
            let request = request!();
            Box::pin(async move { place.answer(&configs::incremental(&shared, request).await) })
        }
        ApiKey::ListGroups => ready(place.answer(&groups::list(&shared, request!(), version))),
        ApiKey::DescribeGroups => ready(place.answer(&groups::describe(&shared, request!(), version))),
        ApiKey::DeleteGroups => {
            let request = request!();
            Box::pin(async move { place.answer(&groups::delete(&shared, request).await) })
        }
        ApiKey::OffsetDelete => {
            let request = request!();
            Box::pin(async move { place.answer(&groups::delete_offsets(&shared, request).await) })
        }
        ApiKey::ListTransactions => {
            let request = request!();
            Box::pin(async move { place.answer(&transactions::list(&shared, request).await) })
        }
        ApiKey::DescribeTransactions => {
            let request = request!();
            Box::pin(async move { place.answer(&transactions::describe(&shared, request).await) })
        }
        ApiKey::DescribeLogDirs => ready(place.answer(&admin::log_dirs(&shared, request!()))),
        ApiKey::ListPartitionReassignments => ready(place.answer(&admin::reassignments())),
        ApiKey::DescribeAcls => ready(place.answer(&admin::describe_acls())),
        ApiKey::CreateAcls => ready(place.answer(&admin::create_acls(request!()))),
        ApiKey::DeleteAcls => ready(place.answer(&admin::delete_acls(request!()))),
        ApiKey::DescribeCluster => ready(place.answer(&topics::cluster(at))),
        ApiKey::FindCoordinator => ready(place.answer(&groups::coordinator(at, request!(), version))),
        ApiKey::JoinGroup => {
            let request = request!();
            let who = Who { client: header.client_id.unwrap_or_default(), host: client.host.clone() };
            Box::pin(async move { place.answer(&shared.groups.join(request, version, who).await) })
        }
        ApiKey::SyncGroup => {
            let request = request!();
            Box::pin(async move { place.answer(&shared.groups.sync(request).await) })
        }
        ApiKey::Heartbeat => {
            let request = request!();
            Box::pin(async move { place.answer(&groups::heartbeat(&shared, request)) })
        }
        ApiKey::LeaveGroup => {
            let request = request!();
            Box::pin(async move { place.answer(&groups::leave(&shared, request, version)) })
        }
        ApiKey::OffsetCommit => {
            let request = request!();
            Box::pin(async move { place.answer(&groups::commit(&shared, request).await) })
        }
        ApiKey::OffsetFetch => {
            let request = request!();
            Box::pin(async move { place.answer(&groups::committed(&shared, request, version)) })
        }
        ApiKey::InitProducerId => {
            let request = request!();
            Box::pin(async move { place.answer(&transactions::producer(&shared, request, version).await) })
        }
        ApiKey::AddPartitionsToTxn => {
            let request = request!();
            Box::pin(
                async move { place.answer(&transactions::add_partitions(&shared, request, version).await) },
            )
        }
        ApiKey::AddOffsetsToTxn => {
            let request = request!();
            Box::pin(async move { place.answer(&transactions::add_offsets(&shared, request, version).await) })
        }
        ApiKey::TxnOffsetCommit => {
            let request = request!();
            Box::pin(async move { place.answer(&transactions::commit_offsets(&shared, request).await) })
        }
        ApiKey::EndTxn => {
            let request = request!();
            Box::pin(async move { place.answer(&transactions::end(&shared, request, version).await) })
        }
        ApiKey::SaslHandshake => ready(place.answer(&auth::handshake(client, request!()))),
        ApiKey::SaslAuthenticate => auth::authenticate(&shared, client, place, request!()),
        ApiKey::ApiVersions => ready(place.answer(&versions(codes::NONE))),
        other => return Err(Closed::Garbage(format!("{other:?} is not offered by the embedded broker"))),
    })
}

impl Place {
    /// Encodes an answer.
    fn answer<T: Encodable>(self, body: &T) -> Result<Option<Reply>, Closed> {
        let mut out = BytesMut::with_capacity(512);
        out.put_i32(0);
        let header = ResponseHeader::default().with_correlation_id(self.correlation);
        // Flexible versions have tagged fields in the header too, except ApiVersions: who is too new must still read it.
        let encoded = header
            .encode(&mut out, self.key.response_header_version(self.version))
            .and_then(|()| body.encode(&mut out, self.version));
        if let Err(e) = encoded {
            // A field was set that the version does not have: our fault.
            tracing::error!(request = ?self.key, version = self.version, error = %e, "an answer cannot be encoded");
            return Err(Closed::Garbage(format!("{:?} version {} has no answer", self.key, self.version)));
        }
        let length = (out.len() - 4) as i32;
        out[..4].copy_from_slice(&length.to_be_bytes());
        Ok(Some(Reply { bytes: out, last: false, _permit: None }))
    }
}

fn ready(answer: Result<Option<Reply>, Closed>) -> Answer {
    Box::pin(std::future::ready(answer))
}

/// Decodes what was checked. The library is not trusted with what the check may have missed.
fn decode<T: Decodable>(frame: &mut Bytes, version: i16) -> Result<T, Closed> {
    match catch_unwind(AssertUnwindSafe(|| T::decode(frame, version))) {
        Ok(Ok(request)) => Ok(request),
        Ok(Err(e)) => Err(Closed::Garbage(format!("a request cannot be decoded: {e}"))),
        Err(_) => Err(Closed::Garbage("a request cannot be decoded".into())),
    }
}

fn versions(code: Code) -> ApiVersionsResponse {
    let offered = APIS.iter().map(|api| {
        ApiVersion::default()
            .with_api_key(api.key as i16)
            .with_min_version(api.announced.0)
            .with_max_version(api.announced.1)
    });
    ApiVersionsResponse::default().with_error_code(code).with_api_keys(offered.collect())
}
