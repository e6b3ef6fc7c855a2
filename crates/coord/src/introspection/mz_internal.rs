//! `mz_internal`: what runs, how far it has come, and how objects hang together.

use plan::func::FunctionKind;
use repr::{Arena, Datum, GlobalId, Interval, Row, Timestamp};
use sql::plan::SourceFrom;
use sql::{CatalogItem, ItemKind};

use super::*;
use crate::catalog::SourceItem;

const SCHEMA: &str = "mz_internal";

/// Names and columns are those of Materialize, where it has the relation.
pub(super) fn relations() -> Vec<Builtin> {
    let mz = |name, columns: &str, rows| relation(SCHEMA, name, columns, rows);
    let none = |name, columns: &str| empty(SCHEMA, name, columns);
    vec![
        mz(
            "mz_source_statuses",
            "id text, name text, type text, last_status_change_at timestamptz?, status text, error text?, details jsonb?",
            source_statuses,
        ),
        mz(
            "mz_source_status_history",
            "occurred_at timestamptz, source_id text, status text, error text?, details jsonb = null, replica_id text = u1",
            |s| {
                let row = |(id, status): (&GlobalId, &SourceStatus)| {
                    let id = id.to_string();
                    let error = opt_text(status.error.as_deref());
                    Row::pack([millis(status.since), Datum::Text(&id), Datum::Text(&status.status), error])
                };
                s.statuses.iter().map(row).collect()
            },
        ),
        mz(
            "mz_source_statistics",
            "id text, name text, replica_id text = u1, messages_received uint8, bytes_received uint8, \
             updates_staged uint8, updates_committed uint8, records_indexed uint8 = 0, bytes_indexed uint8 = 0, \
             rehydration_latency interval = null, snapshot_records_known uint8 = null, \
             snapshot_records_staged uint8 = null, snapshot_committed bool, offset_known uint8?, offset_committed uint8?",
            source_statistics,
        ),
        mz(
            "mz_sink_statuses",
            "id text, name text, type text, last_status_change_at timestamptz?, status text, error text?, \
             details jsonb?",
            |s| {
                let row = |(id, status): (&GlobalId, &crate::sinks::SinkStatus)| {
                    let item = s.catalog.items.get(id)?;
                    let id = id.to_string();
                    let arena = Arena::new();
                    let error = status.error.as_deref();
                    Some(Row::pack([
                        Datum::Text(&id),
                        Datum::Text(&item.name.item),
                        Datum::Text(item.sink.as_ref().map_or("", sql::plan::SinkInto::type_name)),
                        millis(status.since),
                        Datum::Text(if error.is_some() { "stalled" } else { "running" }),
                        opt_text(error),
                        error.map_or(Datum::Null, |e| details(e, &arena)),
                    ]))
                };
                s.sinks.iter().filter_map(row).collect()
            },
        ),
        none(
            "mz_sink_status_history",
            "occurred_at timestamptz, sink_id text, status text, error text?, details jsonb?, replica_id text?",
        ),
        mz(
            "mz_sink_statistics",
            "id text, replica_id text = u1, messages_staged uint8, messages_committed uint8, bytes_staged uint8, \
             bytes_committed uint8",
            |s| {
                let row = |(id, status): (&GlobalId, &crate::sinks::SinkStatus)| {
                    let id = id.to_string();
                    let counts = [status.messages, status.messages, status.bytes, status.bytes];
                    Row::pack([Datum::Text(&id)].into_iter().chain(counts.map(Datum::UInt64)))
                };
                s.sinks.iter().map(row).collect()
            },
        ),
        mz("mz_object_dependencies", "object_id text, referenced_object_id text", |s| {
            pairs(s.dependencies().into_iter().map(|(a, b)| (a.id, b.id)))
        }),
        mz("mz_compute_dependencies", "object_id text, dependency_id text", |s| {
            let runs = |i: &CatalogItem| matches!(i.kind, ItemKind::MaterializedView | ItemKind::Index);
            pairs(s.dependencies().into_iter().filter(|(i, _)| runs(i)).map(|(a, b)| (a.id, b.id)))
        }),
        mz("mz_object_transitive_dependencies", "object_id text, referenced_object_id text", |s| {
            let mut all: BTreeSet<(GlobalId, GlobalId)> =
                s.dependencies().into_iter().map(|(a, b)| (a.id, b.id)).collect();
            let direct = all.clone();
            loop {
                let further = |(a, b): &(GlobalId, GlobalId)| {
                    let (a, b) = (*a, *b);
                    direct
                        .range((b, GlobalId::System(0))..)
                        .take_while(move |(from, _)| *from == b)
                        .map(move |(_, c)| (a, *c))
                };
                let more: Vec<_> = all.iter().flat_map(further).filter(|p| !all.contains(p)).collect();
                if more.is_empty() {
                    break;
                }
                all.extend(more);
            }
            pairs(all)
        }),
        mz(
            "mz_applied_objects",
            "id text, number uint8, apply_set text, kind text, full_name text, name text, hash text",
            applied_objects,
        ),
        mz(
            "mz_frontiers",
            "object_id text, read_frontier mz_timestamp?, write_frontier mz_timestamp?",
            |s| {
                let row = |(id, (frontier, _)): (&GlobalId, &(Timestamp, bool))| {
                    let id = id.to_string();
                    let read = Datum::MzTimestamp(frontier.saturating_sub(1));
                    Row::pack([Datum::Text(&id), read, Datum::MzTimestamp(*frontier)])
                };
                s.frontiers.iter().map(row).collect()
            },
        ),
        mz("mz_hydration_statuses", "object_id text, replica_id text = u1, hydrated bool", |s| {
            let objects = s.frontiers.iter().map(|(id, (_, caught_up))| (*id, *caught_up));
            let running = |status: &SourceStatus| ["running", "finished"].contains(&status.status.as_str());
            let sources = s.statuses.iter().map(|(id, status)| (*id, running(status)));
            hydration(objects.chain(sources))
        }),
        mz(
            "mz_compute_hydration_statuses",
            "object_id text, replica_id text = u1, hydrated bool, hydration_time interval = null",
            |s| hydration(s.frontiers.iter().map(|(id, (_, caught_up))| (*id, *caught_up))),
        ),
        mz(
            "mz_materialization_lag",
            "object_id text, local_lag interval?, global_lag interval?, slowest_local_input_id text = null, \
             slowest_global_input_id text = null",
            |s| lags(s, 2),
        ),
        mz("mz_wallclock_global_lag", "object_id text, lag interval?", |s| lags(s, 1)),
        mz("mz_comments", "id text, object_type text, object_sub_id int4?, comment text", |s| {
            let row = |(item, sub, text): (&CatalogItem, Option<i32>, &str)| {
                let id = item.id.to_string();
                let sub = sub.map_or(Datum::Null, Datum::Int32);
                Row::pack([Datum::Text(&id), Datum::Text(object_type(item)), sub, Datum::Text(text)])
            };
            s.comments().map(row).collect()
        }),
        mz(
            "mz_object_fully_qualified_names",
            "id text, name text, object_type text, schema_id text, schema_name text, database_id text?, \
             database_name text?, cluster_id text?",
            |s| {
                let row = |i: &CatalogItem| {
                    let (id, schema) = (i.id.to_string(), item_schema_id(i));
                    let system = SYSTEM_SCHEMAS.contains(&i.name.schema.as_str());
                    let database = (!system).then(|| database_id(&i.name.database));
                    let parts =
                        [id.as_str(), &i.name.item, object_type(i), &schema, &i.name.schema].map(Datum::Text);
                    let name = opt_text((!system).then_some(i.name.database.as_str()));
                    Row::pack(parts.into_iter().chain([
                        opt_text(database.as_deref()),
                        name,
                        opt_text(cluster_of(i)),
                    ]))
                };
                s.items().map(row).collect()
            },
        ),
        mz(
            "mz_cluster_replica_statuses",
            "replica_id text, process_id uint8 = 0, status text = online, reason text = null, updated_at timestamptz",
            |s| vec![Row::pack([Datum::Text(REPLICA_ID), millis(s.now)])],
        ),
        mz(
            "mz_cluster_schedules",
            "cluster_id text, type text = manual, refresh_hydration_time_estimate interval = null",
            |_| vec![Row::pack([Datum::Text(CLUSTER_ID)])],
        ),
        none("mz_pending_cluster_replicas", "id text"),
        mz("mz_webhook_sources", "id text, name text, url text", |s| {
            let row = |(item, source): (&CatalogItem, &SourceItem)| {
                let SourceFrom::Webhook(_) = source.from else { return None };
                let (id, url) = (item.id.to_string(), s.push.url(&item.name));
                Some(Row::pack([Datum::Text(&id), Datum::Text(&item.name.item), Datum::Text(&url)]))
            };
            sources(s).filter_map(row).collect()
        }),
        mz(
            "mz_refused_requests",
            "occurred_at timestamptz, source_id text, source_name text, status int4, reason text, headers jsonb, \
             body bytea",
            refused_requests,
        ),
        mz("mz_compute_error_counts", "object_id text, count int8", |s| {
            let row =
                |(id, count): (GlobalId, i64)| Row::pack([Datum::Text(&id.to_string()), Datum::Int64(count)]);
            failing(s).map(row).collect()
        }),
        mz("mz_kafka_sources", "id text, group_id_prefix text, topic text", kafka_sources),
        // The embedded Kafka; without one they are empty.
        mz(
            "mz_kafka_broker_topics",
            "id text, name text, partitions int4, messages uint8, bytes uint8, cleanup_policy text, retention_ms int8?, \
             retention_bytes int8?",
            kafka_topics,
        ),
        mz(
            "mz_kafka_broker_partitions",
            "topic text, partition int4, start_offset uint8, stable_offset uint8, end_offset uint8, bytes uint8",
            kafka_partitions,
        ),
        mz(
            "mz_kafka_broker_groups",
            "name text, state text, protocol_type text, members int4, lag uint8",
            kafka_groups,
        ),
        mz(
            "mz_kafka_broker_group_offsets",
            "group_name text, topic text, partition int4, committed_offset uint8, end_offset uint8, lag uint8, \
             metadata text?",
            kafka_group_offsets,
        ),
        // One user owns all and has every privilege: nothing was ever granted.
        none("mz_show_cluster_privileges", "grantor text, grantee text, name text, privilege_type text"),
        none("mz_show_database_privileges", "grantor text, grantee text, name text, privilege_type text"),
        none(
            "mz_show_schema_privileges",
            "grantor text, grantee text, database text, name text, privilege_type text",
        ),
        none(
            "mz_show_object_privileges",
            "grantor text, grantee text, database text, schema text, name text, object_type text, privilege_type text",
        ),
        none("mz_show_system_privileges", "grantor text, grantee text, privilege_type text"),
        none(
            "mz_show_all_privileges",
            "grantor text, grantee text, database text?, schema text?, name text?, object_type text, privilege_type text",
        ),
        none(
            "mz_show_default_privileges",
            "object_owner text, database text?, schema text?, object_type text, grantee text, privilege_type text",
        ),
        none("mz_show_role_members", "role text, member text, grantor text"),
        // What functions of `pg_catalog` say of objects; a call of one is a look into these.
        mz("mz_pg_relations", "oid oid, name text, visible bool, viewdef text?, indexdef text?", |s| {
            let path = search_path(s);
            let row = |i: &CatalogItem| {
                let visible = path.contains(&i.name.schema);
                let name = quote_ident(&i.name.item);
                let name = if visible { name } else { format!("{}.{name}", quote_ident(&i.name.schema)) };
                let view = view_definition(i);
                let index = i
                    .index
                    .as_ref()
                    .and_then(|(on, key)| Some(index_definition(i, s.catalog.items.get(on)?, key)));
                Row::pack([
                    Datum::UInt32(sql::catalog::oid(i.id)),
                    Datum::Text(&name),
                    Datum::Bool(visible),
                    opt_text(view.as_deref()),
                    opt_text(index.as_deref()),
                ])
            };
            s.items().filter(|i| i.desc.is_some() || i.index.is_some()).map(row).collect()
        }),
        mz("mz_pg_index_columns", "oid oid, position int4, definition text", |s| {
            let row = |(index, on, key): (&CatalogItem, &CatalogItem, &[plan::ScalarExpr])| {
                let oid = sql::catalog::oid(index.id);
                let whole = index_definition(index, on, key);
                let texts = [whole].into_iter().chain(key_texts(index, on, key)).enumerate();
                let row = move |(i, text): (usize, String)| {
                    Row::pack([Datum::UInt32(oid), Datum::Int32(i as i32), Datum::Text(&text)])
                };
                texts.map(row).collect::<Vec<_>>()
            };
            s.indexes().flat_map(row).collect()
        }),
        mz("mz_pg_functions", "oid oid, result text, arguments text", |_| {
            let row = |(oid, f): (u32, plan::func::Signature)| {
                let result = if f.set { format!("SETOF {}", f.ret) } else { f.ret.clone() };
                let mut arguments = f.args.clone();
                if f.variadic
                    && let Some(last) = arguments.last_mut()
                {
                    *last = format!("VARIADIC {last}");
                }
                Row::pack([Datum::UInt32(oid), Datum::Text(&result), Datum::Text(&arguments.join(", "))])
            };
            pg_catalog::functions().filter(|(_, f)| f.kind != FunctionKind::Operator).map(row).collect()
        }),
    ]
}

/// The schemas of names that give none, those of the system included.
fn search_path(s: &State<'_>) -> Vec<String> {
    let mut path: Vec<String> = ["mz_temp", "pg_catalog"].map(String::from).to_vec();
    let set = s.session.settings.iter().find(|(n, _)| n == "search_path").map_or("public", |(_, v)| v);
    path.extend(set.split(',').map(|p| p.trim().trim_matches('"').to_string()));
    path
}

/// The cluster of what runs on one.
pub(super) fn cluster_of(item: &CatalogItem) -> Option<&'static str> {
    let runs =
        [ItemKind::Source, ItemKind::MaterializedView, ItemKind::Index, ItemKind::Sink].contains(&item.kind);
    runs.then_some(CLUSTER_ID)
}

/// What a source reads.
pub(super) fn source_type(source: &SourceItem) -> &'static str {
    match source.from {
        SourceFrom::Kafka { .. } => "kafka",
        SourceFrom::File { .. } => "file",
        SourceFrom::GeneratorSegment { .. } | SourceFrom::GeneratorCounter { .. } => "load-generator",
        SourceFrom::Webhook(_) => "webhook",
        SourceFrom::Segment(_) => "segment",
    }
}

/// The sources with their parts.
pub(super) fn sources<'a>(s: &State<'a>) -> impl Iterator<Item = (&'a CatalogItem, &'a SourceItem)> {
    let catalog = s.catalog;
    s.items().filter_map(|i| Some((i, catalog.sources.get(&i.id)?)))
}

fn source_statuses(s: &State<'_>) -> Vec<Row> {
    let row = |(item, source): (&CatalogItem, &SourceItem)| {
        let id = item.id.to_string();
        let status = s.statuses.get(&item.id);
        let arena = Arena::new();
        // Bad records do not stop a source; whoever looks at it is told of them nevertheless.
        let error = status.and_then(|t| t.error.clone()).or_else(|| bad_records(s, item.id));
        let details = error.as_deref().map_or(Datum::Null, |e| details(e, &arena));
        Row::pack([
            Datum::Text(&id),
            Datum::Text(&item.name.item),
            Datum::Text(source_type(source)),
            status.map_or(Datum::Null, |t| millis(t.since)),
            Datum::Text(status.map_or("created", |t| &t.status)),
            opt_text(error.as_deref()),
            details,
        ])
    };
    sources(s).map(row).collect()
}

/// Objects whose stored rows have errors, and how many.
fn failing<'a>(s: &'a State<'_>) -> impl Iterator<Item = (GlobalId, i64)> + 'a {
    let views = s.frontiers.keys().filter(|id| matches!(id, GlobalId::User(_)));
    views.filter_map(|id| Some((*id, (s.stored)(*id)?.errors))).filter(|(_, errors)| *errors > 0)
}

/// What the views over a source say of its records.
fn bad_records(s: &State<'_>, source: GlobalId) -> Option<String> {
    let mut failing: Vec<(GlobalId, i64)> = failing(s).collect();
    if failing.is_empty() {
        return None;
    }
    let mut over = BTreeSet::from([source]);
    let mut rest = vec![source];
    while let Some(used) = rest.pop() {
        rest.extend(s.catalog.used_by(used).into_iter().filter(|by| over.insert(*by)));
    }
    failing.retain(|(id, _)| over.contains(id));
    let (first, n) = failing.first()?;
    let name = &s.catalog.items.get(first)?.name.item;
    let more = match failing.len() {
        1 => String::new(),
        n => format!(", and {} more objects have errors", n - 1),
    };
    let s = if *n == 1 { "" } else { "s" };
    Some(format!("{n} row{s} of \"{name}\" cannot be computed{more}: {} lists them", sql::errors_name(name)))
}

/// `{"errors": [cause]}`.
fn details<'a>(error: &str, arena: &'a Arena) -> Datum<'a> {
    let text = serde_json::json!({ "errors": [error] }).to_string();
    repr::text::parse(&text, &ScalarType::Jsonb, arena).unwrap_or(Datum::Null)
}

fn source_statistics(s: &State<'_>) -> Vec<Row> {
    let nothing = SourceStatus::default();
    let row = |(item, _): (&CatalogItem, &SourceItem)| {
        let id = item.id.to_string();
        let status = s.statuses.get(&item.id).unwrap_or(&nothing);
        let sum = |offsets: &BTreeMap<i32, i64>| {
            let sum = offsets.values().map(|o| u64::try_from(*o).unwrap_or(0)).sum();
            if offsets.is_empty() { Datum::Null } else { Datum::UInt64(sum) }
        };
        let behind = |(p, known): (&i32, &i64)| *known > status.committed.get(p).copied().unwrap_or(0);
        let caught_up = !status.known.is_empty() && !status.known.iter().any(behind);
        Row::pack([
            Datum::Text(&id),
            Datum::Text(&item.name.item),
            Datum::UInt64(status.messages_received),
            Datum::UInt64(status.bytes_received),
            Datum::UInt64(status.messages_received),
            Datum::UInt64(status.messages_received),
            Datum::Bool(caught_up || status.status == "finished"),
            sum(&status.known),
            sum(&status.committed),
        ])
    };
    sources(s).map(row).collect()
}

/// What the embedded Kafka says of itself.
fn kafka(s: &State<'_>) -> crate::KafkaReport {
    s.catalog.local_kafka.as_ref().map_or_else(Default::default, |kafka| (kafka.report)())
}

/// Offsets and sums of them are never below 0.
fn offset(n: i64) -> Datum<'static> {
    Datum::UInt64(u64::try_from(n).unwrap_or(0))
}

fn kafka_topics(s: &State<'_>) -> Vec<Row> {
    let row = |t: crate::KafkaTopic| {
        let messages = t.partitions.iter().map(|p| p.end - p.start).sum();
        Row::pack([
            Datum::Text(&t.id),
            Datum::Text(&t.name),
            Datum::Int32(t.partitions.len() as i32),
            offset(messages),
            Datum::UInt64(t.partitions.iter().map(|p| p.bytes).sum()),
            Datum::Text(&t.cleanup_policy),
            t.retention_ms.map_or(Datum::Null, Datum::Int64),
            t.retention_bytes.map_or(Datum::Null, Datum::Int64),
        ])
    };
    kafka(s).topics.into_iter().map(row).collect()
}

fn kafka_partitions(s: &State<'_>) -> Vec<Row> {
    let mut rows = vec![];
    for topic in kafka(s).topics {
        for (i, p) in topic.partitions.iter().enumerate() {
            rows.push(Row::pack([
                Datum::Text(&topic.name),
                Datum::Int32(i as i32),
                offset(p.start),
                offset(p.stable),
                offset(p.end),
                Datum::UInt64(p.bytes),
            ]));
        }
    }
    rows
}

fn kafka_groups(s: &State<'_>) -> Vec<Row> {
    let report = kafka(s);
    let row = |g: &crate::KafkaGroup| {
        Row::pack([
            Datum::Text(&g.name),
            Datum::Text(&g.state),
            Datum::Text(&g.protocol_type),
            Datum::Int32(g.members as i32),
            offset(report.lag(g)),
        ])
    };
    report.groups.iter().map(row).collect()
}

fn kafka_group_offsets(s: &State<'_>) -> Vec<Row> {
    let report = kafka(s);
    let mut rows = vec![];
    for group in &report.groups {
        for (topic, partition, committed, metadata) in &group.offsets {
            let end = report.end(topic, *partition).unwrap_or(*committed);
            rows.push(Row::pack([
                Datum::Text(&group.name),
                Datum::Text(topic),
                Datum::Int32(*partition),
                offset(*committed),
                offset(end),
                offset(end - committed),
                opt_text(metadata.as_deref()),
            ]));
        }
    }
    rows
}

fn applied_objects(s: &State<'_>) -> Vec<Row> {
    let row = |(id, record): (&GlobalId, &crate::catalog::Record)| {
        let (set, hash) = record.applied.as_ref()?;
        let item = s.catalog.items.get(id)?;
        let id = id.to_string();
        let kind = sql::kind_name(item.kind).to_uppercase();
        let name = sql::quoted(&item.name);
        Some(Row::pack([
            Datum::Text(&id),
            Datum::UInt64(record.id),
            Datum::Text(set),
            Datum::Text(&kind),
            Datum::Text(&name),
            Datum::Text(&item.name.item),
            Datum::Text(hash),
        ]))
    };
    s.catalog.records.iter().filter_map(row).collect()
}

pub(super) fn kafka_sources(s: &State<'_>) -> Vec<Row> {
    let row = |(item, source): (&CatalogItem, &SourceItem)| {
        let SourceFrom::Kafka { topic, group_id_prefix, .. } = &source.from else { return None };
        let id = item.id.to_string();
        let prefix = format!("{}deltamill-{id}", group_id_prefix.as_deref().unwrap_or(""));
        Some(Row::pack([Datum::Text(&id), Datum::Text(&prefix), Datum::Text(topic)]))
    };
    sources(s).filter_map(row).collect()
}

/// The last requests that sources did not take: a wrong secret shows here.
fn refused_requests(s: &State<'_>) -> Vec<Row> {
    let row = |r: crate::push::Refused| {
        let id = r.source.to_string();
        let name = s.catalog.items.get(&r.source).map_or("", |i| &i.name.item);
        let value = |(k, v): (String, Vec<u8>)| (k, String::from_utf8_lossy(&v).into_owned().into());
        let headers: serde_json::Map<_, _> = r.headers.into_iter().map(value).collect();
        let arena = Arena::new();
        let text = serde_json::Value::Object(headers).to_string();
        let headers = repr::text::parse(&text, &ScalarType::Jsonb, &arena);
        Row::pack([
            millis(r.at),
            Datum::Text(&id),
            Datum::Text(name),
            Datum::Int32(r.status.into()),
            Datum::Text(&r.reason),
            headers.unwrap_or(Datum::Jsonb(repr::Jsonb::NULL)),
            Datum::Bytes(&r.body),
        ])
    };
    s.push.refused().into_iter().map(row).collect()
}

fn pairs(pairs: impl IntoIterator<Item = (GlobalId, GlobalId)>) -> Vec<Row> {
    let row =
        |(a, b): (GlobalId, GlobalId)| Row::pack([Datum::Text(&a.to_string()), Datum::Text(&b.to_string())]);
    pairs.into_iter().map(row).collect()
}

fn hydration(objects: impl Iterator<Item = (GlobalId, bool)>) -> Vec<Row> {
    objects.map(|(id, done)| Row::pack([Datum::Text(&id.to_string()), Datum::Bool(done)])).collect()
}

/// How far objects are behind the clock, `times` over.
fn lags(s: &State<'_>, times: usize) -> Vec<Row> {
    let row = |(id, (frontier, _)): (&GlobalId, &(Timestamp, bool))| {
        let lag = i64::try_from(s.now.saturating_sub(frontier.saturating_sub(1))).unwrap_or(i64::MAX);
        let lag = if *frontier == 0 {
            Datum::Null
        } else {
            Datum::Interval(Interval { months: 0, days: 0, micros: lag.saturating_mul(1_000) })
        };
        let id = id.to_string();
        Row::pack([Datum::Text(&id)].into_iter().chain(vec![lag; times]))
    };
    s.frontiers.iter().map(row).collect()
}
