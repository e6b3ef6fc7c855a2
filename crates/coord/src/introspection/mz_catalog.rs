//! `mz_catalog`: the engine's objects with Materialize's names for relations and columns, for its clients and dbt adapter.

use plan::func::FunctionKind;
use repr::{Arena, Datum, Row};
use sql::plan::{ConnectionPlan, MessageFormat, SinkEnvelope, SinkInto, SourceFrom};
use sql::{CatalogItem, ItemKind};

use super::mz_internal::{cluster_of, kafka_sources, source_type, sources};
use super::*;

const SCHEMA: &str = "mz_catalog";

/// Owners are all one; privileges were never given to others.
pub(super) fn relations() -> Vec<Builtin> {
    let mz = |name, columns: &str, rows| relation(SCHEMA, name, columns, rows);
    let none = |name, columns: &str| empty(SCHEMA, name, columns);
    vec![
        mz("mz_databases", "id text, oid oid, name text, owner_id text = u1, privileges text[] = {}", |s| {
            let row = |d: &str| {
                Row::pack([Datum::Text(&database_id(d)), Datum::UInt32(database_oid(d)), Datum::Text(d)])
            };
            s.databases().into_iter().map(row).collect()
        }),
        mz(
            "mz_schemas",
            "id text, oid oid, database_id text?, name text, owner_id text = u1, privileges text[] = {}",
            |s| {
                let row = |n: Schema<'_>| {
                    let database = (!n.system).then(|| database_id(n.database));
                    let database = opt_text(database.as_deref());
                    Row::pack([Datum::Text(&n.id), Datum::UInt32(n.oid), database, Datum::Text(n.name)])
                };
                s.all_schemas().filter(|n| n.name != "mz_temp").map(row).collect()
            },
        ),
        mz(
            "mz_objects",
            "id text, oid oid, schema_id text, name text, type text, owner_id text = u1, cluster_id text?, \
             privileges text[] = {}",
            |s| {
                s.all_items()
                    .map(|i| object(i, &[Datum::Text(object_type(i)), opt_text(cluster_of(i))]))
                    .collect()
            },
        ),
        mz(
            "mz_relations",
            "id text, oid oid, schema_id text, name text, type text, owner_id text = u1, cluster_id text?, \
             privileges text[] = {}",
            |s| {
                let relations = s.all_items().filter(|i| i.desc.is_some() && i.kind != ItemKind::Index);
                relations
                    .map(|i| object(i, &[Datum::Text(object_type(i)), opt_text(cluster_of(i))]))
                    .collect()
            },
        ),
        mz(
            "mz_columns",
            "id text, name text, position uint8, nullable bool, type text, default text?, type_oid oid, type_mod int4",
            |s| {
                let of = |i: &CatalogItem| {
                    let id = i.id.to_string();
                    let row = |(n, c): (usize, &repr::Column)| {
                        Row::pack([
                            Datum::Text(&id),
                            Datum::Text(&c.name),
                            Datum::UInt64(n as u64 + 1),
                            Datum::Bool(c.ty.nullable),
                            Datum::Text(&c.ty.scalar.name()),
                            opt_text(i.defaults.get(n).and_then(|d| d.as_deref())),
                            Datum::UInt32(c.ty.scalar.oid()),
                            Datum::Int32(type_modifier(&c.ty.scalar)),
                        ])
                    };
                    i.desc.iter().flat_map(|d| d.columns.iter().enumerate()).map(row).collect::<Vec<_>>()
                };
                s.all_items().filter(|i| i.kind != ItemKind::Index).flat_map(of).collect()
            },
        ),
        mz(
            "mz_tables",
            "id text, oid oid, schema_id text, name text, owner_id text = u1, privileges text[] = {}, create_sql text?, \
             redacted_create_sql text?, source_id text = null",
            |s| of_kind(s, ItemKind::Table).map(|i| with_sql(i, &[])).collect(),
        ),
        mz(
            "mz_views",
            "id text, oid oid, schema_id text, name text, definition text?, owner_id text = u1, \
             privileges text[] = {}, create_sql text?, redacted_create_sql text?",
            |s| of_kind(s, ItemKind::View).filter(|i| !is_companion(i.id)).map(with_definition).collect(),
        ),
        mz(
            "mz_materialized_views",
            "id text, oid oid, schema_id text, name text, cluster_id text = u1, definition text?, owner_id text = u1, \
             privileges text[] = {}, create_sql text?, redacted_create_sql text?",
            |s| of_kind(s, ItemKind::MaterializedView).map(with_definition).collect(),
        ),
        mz(
            "mz_sources",
            "id text, oid oid, schema_id text, name text, type text, connection_id text?, size text = null, \
             envelope_type text?, key_format text = null, value_format text?, cluster_id text?, owner_id text = u1, \
             privileges text[] = {}, create_sql text?, redacted_create_sql text?",
            mz_sources,
        ),
        mz(
            "mz_sinks",
            "id text, oid oid, schema_id text, name text, type text, connection_id text?, size text = null, \
             envelope_type text?, format text, key_format text?, value_format text, cluster_id text?, \
             owner_id text = u1, privileges text[] = {}, create_sql text?, redacted_create_sql text?",
            |s| {
                let row = |i: &CatalogItem| {
                    let sink = i.sink.as_ref()?;
                    let connection = i.uses.get(1).map(|c| c.to_string());
                    let (envelope, key, value) = match sink {
                        SinkInto::Segment(plan) => ((!plan.key.is_empty()).then_some("upsert"), None, "json"),
                        SinkInto::Kafka(plan) => {
                            let envelope = match plan.envelope {
                                SinkEnvelope::Upsert => "upsert",
                                SinkEnvelope::Debezium => "debezium",
                            };
                            let key = plan.key.as_ref().map(|(_, f)| message_format(*f));
                            (Some(envelope), key, message_format(plan.value))
                        }
                    };
                    Some(with_sql(
                        i,
                        &[
                            Datum::Text(sink.type_name()),
                            opt_text(connection.as_deref()),
                            opt_text(envelope),
                            Datum::Text(value),
                            opt_text(key),
                            Datum::Text(value),
                            opt_text(cluster_of(i)),
                        ],
                    ))
                };
                of_kind(s, ItemKind::Sink).filter_map(row).collect()
            },
        ),
        mz(
            "mz_indexes",
            "id text, oid oid, name text, on_id text, cluster_id text = u1, owner_id text = u1, create_sql text?, \
             redacted_create_sql text?",
            |s| {
                let row = |i: &CatalogItem| {
                    let on = i.index.as_ref()?.0.to_string();
                    let (id, sql) = (i.id.to_string(), create_sql(i));
                    let sql = opt_text(sql.as_deref());
                    let oid = Datum::UInt32(sql::catalog::oid(i.id));
                    Some(Row::pack([
                        Datum::Text(&id),
                        oid,
                        Datum::Text(&i.name.item),
                        Datum::Text(&on),
                        sql,
                        sql,
                    ]))
                };
                of_kind(s, ItemKind::Index).filter_map(row).collect()
            },
        ),
        mz(
            "mz_index_columns",
            "index_id text, index_position uint8, on_position uint8?, on_expression text?, nullable bool",
            index_columns,
        ),
        mz(
            "mz_connections",
            "id text, oid oid, schema_id text, name text, type text, owner_id text = u1, privileges text[] = {}, \
             create_sql text?, redacted_create_sql text?",
            |s| {
                let kind = |i: &CatalogItem| match i.connection {
                    Some(ConnectionPlan::Segment(_)) => "segment",
                    _ => "kafka",
                };
                of_kind(s, ItemKind::Connection).map(|i| with_sql(i, &[Datum::Text(kind(i))])).collect()
            },
        ),
        mz(
            "mz_secrets",
            "id text, oid oid, schema_id text, name text, owner_id text = u1, privileges text[] = {}",
            |s| of_kind(s, ItemKind::Secret).map(|i| object(i, &[])).collect(),
        ),
        mz(
            "mz_clusters",
            "id text, name text, owner_id text = u1, privileges text[] = {}, managed bool = t, size text, \
             replication_factor uint4 = 1, disk bool = t, availability_zones text[] = null, \
             introspection_debugging bool = f, introspection_interval interval = null",
            |_| vec![Row::pack([CLUSTER_ID, CLUSTER, SIZE].map(Datum::Text))],
        ),
        mz(
            "mz_cluster_replicas",
            "id text, name text, cluster_id text, size text, availability_zone text = null, owner_id text = u1, \
             disk bool = t",
            |_| vec![Row::pack([REPLICA_ID, REPLICA, CLUSTER_ID, SIZE].map(Datum::Text))],
        ),
        mz(
            "mz_roles",
            "id text, oid oid, name text, inherit bool = t, rolcanlogin bool = t, rolsuper bool = t",
            |s| {
                let row =
                    |(name, oid, id)| Row::pack([Datum::Text(id), Datum::UInt32(oid), Datum::Text(name)]);
                s.roles().into_iter().map(row).collect()
            },
        ),
        none("mz_role_members", "role_id text, member text, grantor text"),
        none("mz_role_parameters", "role_id text, parameter_name text, parameter_value text"),
        none(
            "mz_default_privileges",
            "role_id text, database_id text?, schema_id text?, object_type text, grantee text, privileges text",
        ),
        none("mz_system_privileges", "privileges text"),
        mz(
            "mz_types",
            "id text, oid oid, schema_id text, name text, category text, owner_id text = u1, privileges text[] = {}, \
             create_sql text = null, redacted_create_sql text = null",
            |_| {
                let row = |t: &types::TypeRow| {
                    let category = match t.category {
                        "A" => "array",
                        "B" => "boolean",
                        "D" => "date-time",
                        "N" => "numeric",
                        "P" => "pseudo",
                        "R" => "range",
                        "S" => "string",
                        "T" => "timespan",
                        _ => "user-defined",
                    };
                    let schema = schema_id("", t.schema);
                    let id = type_id(t.oid);
                    let parts = [&schema, &t.name, category].map(Datum::Text);
                    Row::pack([Datum::Text(&id), Datum::UInt32(t.oid)].into_iter().chain(parts))
                };
                types::all().iter().map(row).collect()
            },
        ),
        mz("mz_base_types", "id text", |_| type_ids(|t| t.kind == "b" && t.category != "A")),
        mz("mz_pseudo_types", "id text", |_| type_ids(|t| t.kind == "p")),
        mz("mz_array_types", "id text, element_id text", |_| {
            let arrays = types::all().iter().filter(|t| t.category == "A" && t.element != 0);
            let row = |t: &types::TypeRow| {
                Row::pack([Datum::Text(&type_id(t.oid)), Datum::Text(&type_id(t.element))])
            };
            arrays.map(row).collect()
        }),
        none("mz_list_types", "id text, element_id text, element_modifiers int8[]?"),
        none(
            "mz_map_types",
            "id text, key_id text, value_id text, key_modifiers int8[]?, value_modifiers int8[]?",
        ),
        mz(
            "mz_functions",
            "id text, oid oid, schema_id text = s2, name text, argument_type_ids text[], \
             variadic_argument_type_id text?, return_type_id text, returns_set bool, owner_id text = u1",
            |_| {
                let arena = Arena::new();
                let row = |(oid, f): (u32, plan::func::Signature)| {
                    let ids: Vec<String> = f.arg_oids.iter().map(|o| type_id(*o)).collect();
                    let variadic = ids.last().filter(|_| f.variadic).map(String::as_str);
                    Row::pack([
                        Datum::Text(&format!("s{}", 1_000_000_000 + u64::from(oid))),
                        Datum::UInt32(oid),
                        Datum::Text(f.name),
                        texts(&arena, ids.iter().map(|i| arena.text(i))),
                        opt_text(variadic),
                        Datum::Text(&type_id(f.ret_oid)),
                        Datum::Bool(f.set),
                    ])
                };
                pg_catalog::functions().filter(|(_, f)| f.kind != FunctionKind::Operator).map(row).collect()
            },
        ),
        mz("mz_operators", "oid oid, name text, argument_type_ids text[], return_type_id text", |_| {
            let arena = Arena::new();
            let row = |(oid, f): (u32, plan::func::Signature)| {
                let ids = f.arg_oids.iter().map(|o| arena.text(&type_id(*o)));
                let ids = texts(&arena, ids);
                Row::pack([Datum::UInt32(oid), Datum::Text(f.name), ids, Datum::Text(&type_id(f.ret_oid))])
            };
            pg_catalog::operators().map(row).collect()
        }),
        mz("mz_kafka_sources", "id text, group_id_prefix text, topic text", kafka_sources),
        mz("mz_kafka_sinks", "id text, topic text", |s| {
            let row = |i: &CatalogItem| match &i.sink {
                Some(SinkInto::Kafka(plan)) => {
                    Some(Row::pack([Datum::Text(&i.id.to_string()), Datum::Text(&plan.topic)]))
                }
                _ => None,
            };
            s.all_items().filter_map(row).collect()
        }),
        mz("mz_kafka_connections", "id text, brokers text[], sink_progress_topic text", |s| {
            let arena = Arena::new();
            let row = |i: &CatalogItem| {
                let Some(ConnectionPlan::Kafka(kafka)) = &i.connection else { return None };
                let id = i.id.to_string();
                let brokers = texts(&arena, kafka.brokers.iter().map(|b| arena.text(b)));
                let topic =
                    kafka.progress_topic.clone().unwrap_or_else(|| crate::sinks::progress_topic(i.id));
                Some(Row::pack([Datum::Text(&id), brokers, Datum::Text(&topic)]))
            };
            s.all_items().filter_map(row).collect()
        }),
        none("mz_ssh_tunnel_connections", "id text, public_key_1 text, public_key_2 text"),
        mz(
            "mz_cluster_replica_sizes",
            "size text, processes uint8 = 1, workers uint8 = null, cpu_nano_cores uint8 = null, \
             memory_bytes uint8 = null, disk_bytes uint8 = null",
            |_| vec![Row::pack([Datum::Text(SIZE)])],
        ),
        none(
            "mz_audit_events",
            "id uint8, event_type text, object_type text, details jsonb, \"user\" text?, occurred_at timestamptz",
        ),
        none("mz_storage_usage", "object_id text, size_bytes uint8, collection_timestamp timestamptz"),
        none("mz_recent_storage_usage", "object_id text, size_bytes uint8?"),
        // As `SHOW` would list what is in the session's database.
        mz("mz_show_tables", "schema_id text, name text, comment text", |s| shown(s, ItemKind::Table)),
        mz("mz_show_views", "schema_id text, name text, comment text", |s| shown(s, ItemKind::View)),
        mz(
            "mz_show_materialized_views",
            "schema_id text, name text, comment text, cluster text = quickstart, cluster_id text = u1",
            |s| shown(s, ItemKind::MaterializedView),
        ),
        mz("mz_show_connections", "schema_id text, name text, comment text, type text = kafka", |s| {
            shown(s, ItemKind::Connection)
        }),
        mz("mz_show_secrets", "schema_id text, name text, comment text", |s| shown(s, ItemKind::Secret)),
        mz(
            "mz_show_sources",
            "schema_id text, name text, comment text, type text, cluster text = quickstart, cluster_id text = u1",
            |s| sources(s).map(|(i, source)| shown_item(s, i, &[Datum::Text(source_type(source))])).collect(),
        ),
        mz(
            "mz_show_indexes",
            "schema_id text, name text, comment text, \"on\" text, key text[], on_id text, \
             cluster text = quickstart, cluster_id text = u1",
            |s| {
                let arena = Arena::new();
                let row = |(index, on, key): (&CatalogItem, &CatalogItem, &[plan::ScalarExpr])| {
                    let parts = key_texts(index, on, key);
                    let key = texts(&arena, parts.iter().map(|k| arena.text(k)));
                    let on_id = on.id.to_string();
                    shown_item(s, index, &[Datum::Text(&on.name.item), key, Datum::Text(&on_id)])
                };
                s.indexes().filter(|(i, ..)| matches!(i.id, GlobalId::User(_))).map(row).collect()
            },
        ),
        mz("mz_show_schemas", "database_id text?, name text, comment text = ''", |s| {
            let row = |n: Schema<'_>| {
                let database = (!n.system).then(|| database_id(n.database));
                Row::pack([opt_text(database.as_deref()), Datum::Text(n.name)])
            };
            s.schemas().filter(|n| n.name != "mz_temp").map(row).collect()
        }),
        mz("mz_show_databases", "name text, comment text = ''", |s| {
            s.databases().into_iter().map(|d| Row::pack([Datum::Text(d)])).collect()
        }),
        mz("mz_show_clusters", "name text, replicas text, comment text = ''", |_| {
            vec![Row::pack([Datum::Text(CLUSTER), Datum::Text(&format!("{REPLICA} ({SIZE})"))])]
        }),
        mz("mz_show_roles", "name text, comment text = ''", |s| {
            s.roles().into_iter().map(|(n, ..)| Row::pack([Datum::Text(n)])).collect()
        }),
    ]
}

fn of_kind<'a>(s: &State<'a>, kind: ItemKind) -> impl Iterator<Item = &'a CatalogItem> {
    s.all_items().filter(move |i| i.kind == kind)
}

/// Identity, number, schema, name, and what follows.
fn object(item: &CatalogItem, rest: &[Datum<'_>]) -> Row {
    let (id, schema) = (item.id.to_string(), item_schema_id(item));
    let oid = Datum::UInt32(sql::catalog::oid(item.id));
    let mut row = Row::pack([Datum::Text(&id), oid, Datum::Text(&schema), Datum::Text(&item.name.item)]);
    rest.iter().for_each(|d| row.push(*d));
    row
}

/// The same with the statement, twice: it is shown without secrets only.
fn with_sql(item: &CatalogItem, rest: &[Datum<'_>]) -> Row {
    let sql = create_sql(item);
    let mut row = object(item, rest);
    row.push(opt_text(sql.as_deref()));
    row.push(opt_text(sql.as_deref()));
    row
}

fn with_definition(item: &CatalogItem) -> Row {
    let definition = view_definition(item);
    with_sql(item, &[opt_text(definition.as_deref())])
}

fn mz_sources(s: &State<'_>) -> Vec<Row> {
    let catalog = s.catalog;
    let row = |i: &CatalogItem| {
        let source = catalog.sources.get(&i.id);
        if source.is_none() && !is_companion(i.id) {
            return None;
        }
        let connection = match source.map(|s| &s.from) {
            Some(SourceFrom::Kafka { connection, .. }) => connection.map(|c| c.to_string()),
            _ => None,
        };
        let upper = i.create_sql.to_uppercase();
        let envelope = ["UPSERT", "DEBEZIUM"].into_iter().find(|e| upper.contains(&format!("ENVELOPE {e}")));
        let envelope = source.map(|_| envelope.unwrap_or("NONE").to_lowercase());
        let formats = ["JSON", "TEXT", "BYTES", "CSV", "AVRO", "PROTOBUF", "REGEX"];
        let format =
            formats.into_iter().find(|f| upper.contains(&format!("FORMAT {f}"))).map(str::to_lowercase);
        Some(with_sql(
            i,
            &[
                Datum::Text(source.map_or("progress", source_type)),
                opt_text(connection.as_deref()),
                opt_text(envelope.as_deref()),
                opt_text(format.as_deref()),
                opt_text(source.and_then(|_| cluster_of(i))),
            ],
        ))
    };
    s.all_items().filter_map(row).collect()
}

fn index_columns(s: &State<'_>) -> Vec<Row> {
    let of = |(index, on, key): (&CatalogItem, &CatalogItem, &[plan::ScalarExpr])| {
        let id = index.id.to_string();
        let texts = key_texts(index, on, key);
        let row = |(i, (part, text)): (usize, (&plan::ScalarExpr, String))| {
            let column = match part {
                plan::ScalarExpr::Column(c) => Some(*c),
                _ => None,
            };
            let nullable =
                column.and_then(|c| on.desc.as_ref()?.columns.get(c)).is_none_or(|c| c.ty.nullable);
            Row::pack([
                Datum::Text(&id),
                Datum::UInt64(i as u64 + 1),
                column.map_or(Datum::Null, |c| Datum::UInt64(c as u64 + 1)),
                opt_text(column.is_none().then_some(text.as_str())),
                Datum::Bool(nullable),
            ])
        };
        key.iter().zip(texts).enumerate().map(row).collect::<Vec<_>>()
    };
    s.indexes().flat_map(of).collect()
}

fn type_id(oid: u32) -> String {
    format!("s{}", 2_000_000_000 + u64::from(oid))
}

fn type_ids(which: fn(&types::TypeRow) -> bool) -> Vec<Row> {
    types::all().iter().filter(|t| which(t)).map(|t| Row::pack([Datum::Text(&type_id(t.oid))])).collect()
}

/// Schema, name, comment, and what follows.
fn shown_item(s: &State<'_>, item: &CatalogItem, rest: &[Datum<'_>]) -> Row {
    let comment = s.catalog.records.get(&item.id).and_then(|r| r.comment.as_deref()).unwrap_or("");
    let schema = item_schema_id(item);
    let parts = [&schema, &item.name.item, comment].map(Datum::Text);
    Row::pack(parts.into_iter().chain(rest.iter().copied()))
}

fn shown(s: &State<'_>, kind: ItemKind) -> Vec<Row> {
    s.user_items().filter(|i| i.kind == kind).map(|i| shown_item(s, i, &[])).collect()
}

fn message_format(format: MessageFormat) -> &'static str {
    match format {
        MessageFormat::Json => "json",
        MessageFormat::Text => "text",
        MessageFormat::Bytes => "bytes",
    }
}
