//! `information_schema`: the standard's view of tables and columns.

use repr::{Datum, Row, ScalarType};
use sql::{CatalogItem, ItemKind};

use super::*;

const SCHEMA: &str = "information_schema";

/// The columns of Postgres, as text where it has domains.
pub(super) fn relations() -> Vec<Builtin> {
    let of = |name, columns: &str, rows| relation(SCHEMA, name, columns, rows);
    let none = |name, columns: &str| empty(SCHEMA, name, columns);
    vec![
        of(
            "tables",
            "table_catalog text, table_schema text, table_name text, table_type text, \
             self_referencing_column_name text = null, reference_generation text = null, \
             user_defined_type_catalog text = null, user_defined_type_schema text = null, \
             user_defined_type_name text = null, is_insertable_into text, is_typed text = NO, commit_action text = null",
            |s| {
                let row = |i: &CatalogItem| {
                    let kind = match i.kind {
                        _ if is_companion(i.id) => "SOURCE",
                        ItemKind::MaterializedView => "MATERIALIZED VIEW",
                        ItemKind::View => "VIEW",
                        ItemKind::Source => "SOURCE",
                        _ => "BASE TABLE",
                    };
                    let writable = Datum::Text(if i.kind == ItemKind::Table { "YES" } else { "NO" });
                    Row::pack(name(s, i).into_iter().chain([Datum::Text(kind), writable]))
                };
                s.relations().map(row).collect()
            },
        ),
        of(
            "columns",
            "table_catalog text, table_schema text, table_name text, column_name text, ordinal_position int4, \
             column_default text?, is_nullable text, data_type text, character_maximum_length int4?, \
             character_octet_length int4?, numeric_precision int4?, numeric_precision_radix int4?, numeric_scale int4?, \
             datetime_precision int4?, interval_type text = null, interval_precision int4 = null, \
             character_set_catalog text = null, character_set_schema text = null, character_set_name text = null, \
             collation_catalog text = null, collation_schema text = null, collation_name text = null, \
             domain_catalog text = null, domain_schema text = null, domain_name text = null, udt_catalog text, \
             udt_schema text, udt_name text, scope_catalog text = null, scope_schema text = null, \
             scope_name text = null, maximum_cardinality int4 = null, dtd_identifier text, \
             is_self_referencing text = NO, is_identity text = NO, identity_generation text = null, \
             identity_start text = null, identity_increment text = null, identity_maximum text = null, \
             identity_minimum text = null, identity_cycle text = NO, is_generated text = NEVER, \
             generation_expression text = null, is_updatable text",
            |s| s.columns().map(|c| column(s, &c)).collect(),
        ),
        of(
            "views",
            "table_catalog text, table_schema text, table_name text, view_definition text?, check_option text = NONE, \
             is_updatable text = NO, is_insertable_into text = NO, is_trigger_updatable text = NO, \
             is_trigger_deletable text = NO, is_trigger_insertable_into text = NO",
            |s| {
                let row = |i: &CatalogItem| {
                    let definition = view_definition(i);
                    Row::pack(name(s, i).into_iter().chain([opt_text(definition.as_deref())]))
                };
                s.relations().filter(|i| i.kind == ItemKind::View && !is_companion(i.id)).map(row).collect()
            },
        ),
        of(
            "schemata",
            "catalog_name text, schema_name text, schema_owner text = materialize, \
             default_character_set_catalog text = null, default_character_set_schema text = null, \
             default_character_set_name text = null, sql_path text = null",
            |s| {
                let shown = s.schemas().filter(|n| n.name != "mz_temp");
                shown.map(|n| Row::pack([Datum::Text(s.database()), Datum::Text(n.name)])).collect()
            },
        ),
        of("information_schema_catalog_name", "catalog_name text", |s| {
            vec![Row::pack([Datum::Text(s.database())])]
        }),
        of("enabled_roles", "role_name text", |s| {
            s.roles().into_iter().map(|(n, ..)| Row::pack([Datum::Text(n)])).collect()
        }),
        none("applicable_roles", "grantee text, role_name text, is_grantable text"),
        of(
            "character_sets",
            "character_set_catalog text = null, character_set_schema text = null, character_set_name text = UTF8, \
             character_repertoire text = UCS, form_of_use text = UTF8, default_collate_catalog text, \
             default_collate_schema text = pg_catalog, default_collate_name text = default",
            |s| vec![Row::pack([Datum::Text(s.database())])],
        ),
        of(
            "table_privileges",
            "grantor text = materialize, grantee text = materialize, table_catalog text, table_schema text, \
             table_name text, privilege_type text, is_grantable text = YES, with_hierarchy text = NO",
            privileges,
        ),
        of(
            "role_table_grants",
            "grantor text = materialize, grantee text = materialize, table_catalog text, table_schema text, \
             table_name text, privilege_type text, is_grantable text = YES, with_hierarchy text = NO",
            privileges,
        ),
        none(
            "table_constraints",
            "constraint_catalog text, constraint_schema text, constraint_name text, table_catalog text, \
             table_schema text, table_name text, constraint_type text, is_deferrable text, initially_deferred text, \
             enforced text, nulls_distinct text?",
        ),
        none(
            "key_column_usage",
            "constraint_catalog text, constraint_schema text, constraint_name text, table_catalog text, \
             table_schema text, table_name text, column_name text, ordinal_position int4, \
             position_in_unique_constraint int4?",
        ),
        none(
            "constraint_column_usage",
            "table_catalog text, table_schema text, table_name text, column_name text, constraint_catalog text, \
             constraint_schema text, constraint_name text",
        ),
        none(
            "constraint_table_usage",
            "table_catalog text, table_schema text, table_name text, constraint_catalog text, constraint_schema text, \
             constraint_name text",
        ),
        none(
            "check_constraints",
            "constraint_catalog text, constraint_schema text, constraint_name text, check_clause text",
        ),
        none(
            "referential_constraints",
            "constraint_catalog text, constraint_schema text, constraint_name text, unique_constraint_catalog text, \
             unique_constraint_schema text, unique_constraint_name text, match_option text, update_rule text, \
             delete_rule text",
        ),
        none(
            "routines",
            "specific_catalog text, specific_schema text, specific_name text, routine_catalog text, \
             routine_schema text, routine_name text, routine_type text, data_type text?, routine_definition text?, \
             external_language text",
        ),
        none(
            "parameters",
            "specific_catalog text, specific_schema text, specific_name text, ordinal_position int4, \
             parameter_mode text, parameter_name text?, data_type text, parameter_default text?",
        ),
        none(
            "triggers",
            "trigger_catalog text, trigger_schema text, trigger_name text, event_manipulation text, \
             event_object_catalog text, event_object_schema text, event_object_table text, action_order int4, \
             action_condition text?, action_statement text, action_orientation text, action_timing text",
        ),
        none(
            "sequences",
            "sequence_catalog text, sequence_schema text, sequence_name text, data_type text, numeric_precision int4, \
             numeric_precision_radix int4, numeric_scale int4, start_value text, minimum_value text, \
             maximum_value text, increment text, cycle_option text",
        ),
        none(
            "domains",
            "domain_catalog text, domain_schema text, domain_name text, data_type text, domain_default text?, \
             udt_catalog text, udt_schema text, udt_name text",
        ),
        none(
            "element_types",
            "object_catalog text, object_schema text, object_name text, object_type text, \
             collection_type_identifier text, data_type text, udt_schema text, udt_name text",
        ),
        none(
            "column_privileges",
            "grantor text, grantee text, table_catalog text, table_schema text, table_name text, column_name text, \
             privilege_type text, is_grantable text",
        ),
        none(
            "collations",
            "collation_catalog text, collation_schema text, collation_name text, pad_attribute text",
        ),
    ]
}

/// Catalog, schema, name; the schemas of the system are in every database.
fn name<'a>(s: &State<'a>, item: &'a CatalogItem) -> [Datum<'a>; 3] {
    [Datum::Text(s.database()), Datum::Text(&item.name.schema), Datum::Text(&item.name.item)]
}

fn column(s: &State<'_>, c: &ColumnOf<'_>) -> Row {
    let ty = &c.column.ty.scalar;
    let int = |n: Option<i32>| n.map_or(Datum::Null, Datum::Int32);
    let length = match ty {
        ScalarType::VarChar { length } | ScalarType::Char { length } => {
            length.and_then(|n| i32::try_from(n).ok())
        }
        _ => None,
    };
    // Bits of binary numbers, digits of decimal ones.
    let (precision, radix, scale) = match ty {
        ScalarType::Int16 => (Some(16), Some(2), Some(0)),
        ScalarType::Int32 => (Some(32), Some(2), Some(0)),
        ScalarType::Int64 => (Some(64), Some(2), Some(0)),
        ScalarType::Float32 => (Some(24), Some(2), None),
        ScalarType::Float64 => (Some(53), Some(2), None),
        ScalarType::Numeric { scale: Some(scale) } => (Some(39), Some(10), Some(i32::from(*scale))),
        ScalarType::Numeric { scale: None } => (None, Some(10), None),
        _ => (None, None, None),
    };
    let time = match ty {
        ScalarType::Date => Some(0),
        ScalarType::Timestamp { precision } | ScalarType::TimestampTz { precision } => {
            Some(precision.map_or(6, i32::from))
        }
        ScalarType::Time | ScalarType::Interval => Some(6),
        _ => None,
    };
    let octets = match ty {
        ScalarType::Text => Some(1 << 30),
        _ => length.map(|n| n.saturating_mul(4)),
    };
    let kind = match ty {
        ScalarType::Array(_) => "ARRAY".into(),
        other => other.name(),
    };
    let (udt, position) = (types::short_name(ty), i32::from(c.position));
    let udt_schema = types::of(ty).map_or("pg_catalog", |t| t.schema);
    let default = c.item.defaults.get(position as usize - 1).and_then(|d| d.as_deref());
    let identifier = position.to_string();
    let yes_no = |b: bool| Datum::Text(if b { "YES" } else { "NO" });
    let before = [
        Datum::Text(&c.column.name),
        Datum::Int32(position),
        opt_text(default),
        yes_no(c.column.ty.nullable),
        Datum::Text(&kind),
        int(length),
        int(octets),
        int(precision),
        int(radix),
        int(scale),
        int(time),
    ];
    let udt = [Datum::Text(s.database()), Datum::Text(udt_schema), Datum::Text(&udt)];
    let after = [Datum::Text(&identifier), yes_no(c.item.kind == ItemKind::Table)];
    Row::pack(name(s, c.item).into_iter().chain(before).chain(udt).chain(after))
}

/// The owner may do everything that can be done.
fn privileges(s: &State<'_>) -> Vec<Row> {
    let of = |i: &CatalogItem| {
        let all: &[&str] =
            if i.kind == ItemKind::Table { &["SELECT", "INSERT", "UPDATE", "DELETE"] } else { &["SELECT"] };
        let row = |p: &&'static str| Row::pack(name(s, i).into_iter().chain([Datum::Text(p)]));
        all.iter().map(row).collect::<Vec<_>>()
    };
    s.relations().filter(|i| matches!(i.id, GlobalId::User(_))).flat_map(of).collect()
}
