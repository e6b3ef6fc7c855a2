//! What Postgres clients ask of the catalog beside its relations, as far as the answer needs no catalog; and the names
//! of values that belong to a statement's execution.

use repr::Datum;

use super::compare::print_value;
use super::numeric::int4;
use super::registry::{FAILS, LAX, LAX_MAYBE, MAYBE, PURE, Table};
use super::resolve::{type_by_name, type_by_oid};
use crate::scalar::Context;

pub(super) fn register(t: &mut Table) {
    t.context(
        Context::Now,
        "now() -> timestamptz; current_timestamp() -> timestamptz; transaction_timestamp() -> timestamptz; \
         statement_timestamp() -> timestamptz; clock_timestamp() -> timestamptz -- when the transaction began",
    );
    t.context(
        Context::MzNow,
        "mz_now() -> mz_timestamp; mz_logical_timestamp() -> mz_timestamp -- the time that is read",
    );
    t.context(
        Context::CurrentUser,
        "current_user() -> name; current_role() -> name; session_user() -> name; user() -> name",
    );
    t.context(Context::CurrentDatabase, "current_database() -> name; current_catalog() -> name");
    t.context(Context::CurrentSchema, "current_schema() -> name");
    t.context(Context::CurrentSchemas, "current_schemas(bool) -> name[]");
    t.context(Context::BackendPid, "pg_backend_pid() -> int4");
    t.context(Context::Version, "version() -> text");
    t.context(Context::MzVersion, "mz_version() -> text");

    t.add("format_type", "format_type(oid, int4) -> text -- a type's name in SQL", LAX_MAYBE, |a, _, m| {
        if a[0].is_null() {
            return Ok(Datum::Null);
        }
        let oid = a[0].int() as u32;
        let typmod = if a[1].is_null() { -1 } else { int4(&a[1]) };
        let name = match (oid, type_by_oid(oid, typmod)) {
            (0, _) => "-".into(),
            // The modifier holds the precision too, which the type here has no place for.
            (1700, Some(_)) if typmod >= 4 => {
                format!("numeric({},{})", (typmod - 4) >> 16 & 0xffff, (typmod - 4) & 0x7ff)
            }
            (1042, _) if typmod < 0 => "bpchar".into(),
            (2249, _) => "record".into(),
            (705, _) => "unknown".into(),
            (_, Some(ty)) => ty.to_string(),
            (_, None) => "???".into(),
        };
        Ok(Datum::Text(m.text(&name)))
    });
    t.add("pg_typeof", "pg_typeof(any) -> regtype -- the value's type", LAX, |a, _, _| {
        Ok(Datum::UInt32(super::compare::type_of_value(&a[0]).oid()))
    });
    t.add("to_regtype", "to_regtype(text) -> regtype -- NULL if there is no such type", MAYBE, |a, _, _| {
        Ok(type_by_name(a[0].text(), &[]).map_or(Datum::Null, |t| Datum::UInt32(t.oid())))
    });
    t.add(
        "pg_column_size",
        "pg_column_size(any) -> int4; mz_row_size(any) -> int4 -- bytes",
        LAX,
        |a, _, _| {
            Ok(if a[0].is_null() {
                Datum::Null
            } else {
                Datum::Int32(repr::Row::pack([a[0]]).bytes().len() as i32)
            })
        },
    );

    t.volatile(
        "gen_random_uuid",
        "gen_random_uuid() -> uuid; uuid_generate_v4() -> uuid -- a new UUID",
        |_, _, _| Ok(Datum::Uuid(uuid::Uuid::new_v4().into_bytes())),
    );
    t.volatile(
        "txid_current",
        "txid_current() -> int8; pg_current_xact_id() -> int8 -- a number that grows",
        |_, _, _| {
            static NEXT: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(1_000);
            Ok(Datum::Int64(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)))
        },
    );
    t.volatile("random", "random() -> float8 -- at least 0, less than 1", |_, _, _| {
        const BITS: u32 = f64::MANTISSA_DIGITS;
        let random = uuid::Uuid::new_v4().as_u128() as u64 & ((1 << BITS) - 1);
        Ok(Datum::Float64(random as f64 / (1u64 << BITS) as f64))
    });

    // One user owns everything and may do everything; everything is visible.
    t.add("pg_get_userbyid", "pg_get_userbyid(oid) -> name", PURE, |_, _, _| Ok(Datum::Text("materialize")));
    // Built-in relations answer to their names, but `\d` lists what users made. Oids below 16384 are built in.
    t.add("pg_table_is_visible", "pg_table_is_visible(oid) -> bool -- listed by psql", PURE, |a, _, _| {
        Ok(Datum::Bool(matches!(a[0], Datum::UInt32(oid) if oid >= 16_384)))
    });
    t.add(
        "always_true",
        "pg_type_is_visible(oid) -> bool; pg_function_is_visible(oid) -> bool; \
         pg_operator_is_visible(oid) -> bool; pg_collation_is_visible(oid) -> bool; pg_conversion_is_visible(oid) -> bool; \
         pg_opclass_is_visible(oid) -> bool; pg_opfamily_is_visible(oid) -> bool; pg_statistics_obj_is_visible(oid) -> bool; \
         pg_ts_config_is_visible(oid) -> bool; pg_ts_dict_is_visible(oid) -> bool; pg_ts_parser_is_visible(oid) -> bool; \
         pg_ts_template_is_visible(oid) -> bool; mz_is_superuser() -> bool; row_security_active(oid) -> bool; \
         pg_cancel_backend(int4) -> bool -- true",
        PURE,
        |_, _, _| Ok(Datum::Bool(true)),
    );
    macro_rules! privileges {
        ($($name:literal)*) => {
            concat!($(
                $name, "(text, text) -> bool; ", $name, "(oid, text) -> bool; ", $name, "(text, text, text) -> bool; ",
                $name, "(text, oid, text) -> bool; ", $name, "(oid, text, text) -> bool; ", $name, "(oid, oid, text) -> bool; "
            ),*)
        };
    }
    t.add(
        "has_privilege",
        concat!(
            privileges!("has_database_privilege" "has_schema_privilege" "has_table_privilege" "has_type_privilege"
                "has_function_privilege" "has_sequence_privilege" "has_language_privilege" "has_tablespace_privilege"
                "has_server_privilege" "has_foreign_data_wrapper_privilege" "has_any_column_privilege"
                "has_cluster_privilege" "has_connection_privilege" "has_secret_privilege" "pg_has_role"),
            "has_column_privilege(oid, int2, text) -> bool; has_column_privilege(text, text, text) -> bool; \
             has_column_privilege(oid, text, text) -> bool; has_role(text, text, text) -> bool; \
             has_system_privilege(text) -> bool; has_system_privilege(text, text) -> bool"
        ),
        PURE,
        |_, _, _| Ok(Datum::Bool(true)),
    );
    t.add(
        "always_false",
        "pg_is_in_recovery() -> bool; pg_is_other_temp_schema(oid) -> bool; pg_relation_is_publishable(oid) -> bool; \
         pg_try_advisory_lock(int8) -> bool; pg_advisory_unlock(int8) -> bool -- false",
        PURE,
        |_, _, _| Ok(Datum::Bool(false)),
    );
    t.add(
        "always_null_text",
        "pg_get_expr(text, oid) -> text; pg_get_expr(text, oid, bool) -> text; pg_get_constraintdef(oid) -> text; \
         pg_get_constraintdef(oid, bool) -> text; pg_get_ruledef(oid) -> text; pg_get_ruledef(oid, bool) -> text; \
         pg_get_viewdef(oid) -> text; pg_get_viewdef(oid, bool) -> text; pg_get_viewdef(oid, int4) -> text; \
         pg_get_viewdef(text) -> text; pg_get_viewdef(text, bool) -> text; pg_get_indexdef(oid) -> text; \
         pg_get_indexdef(oid, int4, bool) -> text; pg_get_triggerdef(oid) -> text; pg_get_triggerdef(oid, bool) -> text; \
         pg_get_functiondef(oid) -> text; pg_get_function_arguments(oid) -> text; \
         pg_get_function_identity_arguments(oid) -> text; pg_get_function_result(oid) -> text; \
         pg_get_function_sqlbody(oid) -> text; pg_get_partkeydef(oid) -> text; pg_get_statisticsobjdef(oid) -> text; \
         pg_get_statisticsobjdef_columns(oid) -> text; pg_get_serial_sequence(text, text) -> text; \
         obj_description(oid) -> text; obj_description(oid, text) -> text; col_description(oid, int4) -> text; \
         shobj_description(oid, text) -> text; pg_get_partition_constraintdef(oid) -> text; \
         inet_server_addr() -> text; inet_client_addr() -> text -- NULL",
        LAX_MAYBE,
        |_, _, _| Ok(Datum::Null),
    );
    t.add(
        "always_null_size",
        "pg_table_size(oid) -> int8; pg_relation_size(oid) -> int8; pg_relation_size(oid, text) -> int8; \
         pg_total_relation_size(oid) -> int8; pg_indexes_size(oid) -> int8; pg_database_size(name) -> int8; \
         pg_database_size(oid) -> int8; pg_tablespace_size(oid) -> int8; txid_current_if_assigned() -> int8 -- NULL",
        LAX_MAYBE,
        |_, _, _| Ok(Datum::Null),
    );
    t.add(
        "always_null_bool",
        "pg_index_column_has_property(oid, int4, text) -> bool; pg_index_has_property(oid, text) -> bool",
        LAX_MAYBE,
        |_, _, _| Ok(Datum::Null),
    );
    t.add(
        "always_empty",
        "pg_tablespace_location(oid) -> text; pg_advisory_unlock_all() -> text -- the empty string",
        PURE,
        |_, _, _| Ok(Datum::Text("")),
    );
    t.add("always_zero", "pg_my_temp_schema() -> oid", PURE, |_, _, _| Ok(Datum::UInt32(0)));
    t.add("pg_stat_get_numscans", "pg_stat_get_numscans(oid) -> int8", PURE, |_, _, _| Ok(Datum::Int64(0)));
    t.add("pg_encoding_to_char", "pg_encoding_to_char(int4) -> name", PURE, |a, _, _| {
        Ok(Datum::Text(if int4(&a[0]) == 6 { "UTF8" } else { "" }))
    });
    t.add("pg_char_to_encoding", "pg_char_to_encoding(name) -> int4", PURE, |a, _, _| {
        let name = a[0].text();
        let utf8 = ["utf8", "utf-8", "unicode"].iter().any(|n| name.eq_ignore_ascii_case(n));
        Ok(Datum::Int32(if utf8 { 6 } else { -1 }))
    });
    t.add(
        "getdatabaseencoding",
        "getdatabaseencoding() -> name; pg_client_encoding() -> name",
        PURE,
        |_, _, _| Ok(Datum::Text("UTF8")),
    );
    t.add("mz_environment_id", "mz_environment_id() -> text", PURE, |_, _, _| Ok(Datum::Text("local")));
    t.add("mz_version_num", "mz_version_num() -> int4", PURE, |_, _, _| Ok(Datum::Int32(100)));
    t.add(
        "pg_size_pretty",
        "pg_size_pretty(int8) -> text; pg_size_pretty(numeric) -> text -- bytes in words",
        FAILS,
        |a, _, m| {
            let n = match a[0] {
                Datum::Numeric(n) => {
                    n.round(0)?.to_i64().unwrap_or(if n.is_negative() { i64::MIN } else { i64::MAX })
                }
                d => d.int(),
            };
            Ok(Datum::Text(m.text(&size_pretty(n))))
        },
    );
    t.add("mz_type_name", "mz_type_name(oid) -> text", MAYBE, |a, _, m| {
        Ok(type_by_oid(a[0].int() as u32, -1).map_or(Datum::Null, |t| Datum::Text(m.text(&t.name()))))
    });
    t.add("text_of_any", "mz_render(any) -> text -- the value's text form", LAX, |a, _, m| {
        if a[0].is_null() {
            return Ok(Datum::Null);
        }
        let mut out = String::new();
        print_value(a[0], &mut out);
        Ok(Datum::Text(m.text(&out)))
    });

    t.rows("pg_partition_ancestors", "pg_partition_ancestors(oid) -> (relid regclass)", true, |_, _, _| {
        Ok(())
    });
    t.rows(
        "pg_available_extensions",
        "pg_available_extensions() -> (name name, default_version text, comment text)",
        true,
        |_, _, _| Ok(()),
    );
    t.rows(
        "pg_get_keywords",
        "pg_get_keywords() -> (word text, catcode char, catdesc text)",
        true,
        |_, _, emit| {
            for word in super::text::RESERVED {
                emit(&[Datum::Text(word), Datum::Text("R"), Datum::Text("reserved")]);
            }
            Ok(())
        },
    );
    t.rows(
        "aclexplode",
        "aclexplode(text[]) -> (grantor oid, grantee oid, privilege_type text, is_grantable bool)",
        true,
        |_, _, _| Ok(()),
    );
}

/// As Postgres: the unit grows once there are 10 × 1024 of the smaller one.
fn size_pretty(n: i64) -> String {
    let magnitude = n.unsigned_abs();
    let sign = if n < 0 { "-" } else { "" };
    if magnitude < 10 * 1024 {
        return format!("{n} bytes");
    }
    let mut half_units = magnitude >> 9;
    for unit in ["kB", "MB", "GB", "TB"] {
        if half_units < 20 * 1024 - 1 {
            return format!("{sign}{} {unit}", half_units.div_ceil(2));
        }
        half_units >>= 10;
    }
    format!("{sign}{} PB", half_units.div_ceil(2))
}

#[cfg(test)]
mod tests {
    use crate::func::resolve::tests::run;

    #[test]
    fn types_are_named_with_their_modifiers() {
        assert_eq!(run("format_type", &["1700::oid", "655366::int4"]), "numeric(10,2)");
        assert_eq!(run("format_type", &["1043::oid", "14::int4"]), "character varying(10)");
        assert_eq!(run("format_type", &["1184::oid", "3::int4"]), "timestamp(3) with time zone");
        assert_eq!(run("format_type", &["1007::oid", "NULL::int4"]), "integer[]");
        assert_eq!(run("format_type", &["99999::oid", "-1::int4"]), "???");
        assert_eq!(run("format_type", &["NULL::oid", "-1::int4"]), "NULL");
    }

    #[test]
    fn sizes_are_pretty() {
        for (n, text) in
            [("10239", "10239 bytes"), ("10240", "10 kB"), ("1234567", "1206 kB"), ("123456789", "118 MB")]
        {
            assert_eq!(run("pg_size_pretty", &[&format!("{n}::int8")]), text);
        }
    }
}
