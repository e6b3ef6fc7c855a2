//! The types that Postgres clients find in `pg_type`.

use std::sync::LazyLock;

use repr::ScalarType;

/// A row of `pg_type`.
pub(super) struct TypeRow {
    pub oid: u32,
    pub name: String,
    /// Bytes of a value; −1: varies.
    pub len: i16,
    /// `b`ase, `p`seudo, `r`ange.
    pub kind: &'static str,
    pub category: &'static str,
    pub preferred: bool,
    pub element: u32,
    pub array: u32,
    pub collation: u32,
    pub align: &'static str,
    pub storage: &'static str,
    /// What the functions that read and write values are called: the part before `in`, `out`, `recv`, `send`.
    pub io: String,
    /// Which of the schemas it is in.
    pub schema: &'static str,
    /// For a range: what it ranges over.
    pub subtype: u32,
}

/// Oid, name, bytes, category (upper case: preferred in it), oid of the array, prefix of its functions.
const BASE: [(u32, &str, i16, &str, u32, &str); 33] = [
    (16, "bool", 1, "B*", 1000, "bool"),
    (17, "bytea", -1, "U", 1001, "bytea"),
    (18, "char", 1, "Z", 1002, "char"),
    (19, "name", 64, "S", 1003, "name"),
    (20, "int8", 8, "N", 1016, "int8"),
    (21, "int2", 2, "N", 1005, "int2"),
    (22, "int2vector", -1, "A", 1006, "int2vector"),
    (23, "int4", 4, "N", 1007, "int4"),
    (24, "regproc", 4, "N", 1008, "regproc"),
    (25, "text", -1, "S*", 1009, "text"),
    (26, "oid", 4, "N*", 1028, "oid"),
    (30, "oidvector", -1, "A", 1013, "oidvector"),
    (114, "json", -1, "U", 199, "json_"),
    (700, "float4", 4, "N", 1021, "float4"),
    (701, "float8", 8, "N*", 1022, "float8"),
    (1042, "bpchar", -1, "S", 1014, "bpchar"),
    (1043, "varchar", -1, "S", 1015, "varchar"),
    (1082, "date", 4, "D", 1182, "date_"),
    (1083, "time", 8, "D", 1183, "time_"),
    (1114, "timestamp", 8, "D", 1115, "timestamp_"),
    (1184, "timestamptz", 8, "D*", 1185, "timestamptz_"),
    (1186, "interval", 16, "T*", 1187, "interval_"),
    (1700, "numeric", -1, "N", 1231, "numeric_"),
    (2205, "regclass", 4, "N*", 2210, "regclass"),
    (2206, "regtype", 4, "N*", 2211, "regtype"),
    (2950, "uuid", 16, "U", 2951, "uuid_"),
    (3802, "jsonb", -1, "U", 3807, "jsonb_"),
    (4089, "regnamespace", 4, "N", 4090, "regnamespace"),
    (4096, "regrole", 4, "N", 4097, "regrole"),
    (16_460, "uint2", 2, "N", 16_461, "uint2"),
    (16_462, "uint4", 4, "N", 16_463, "uint4"),
    (16_464, "uint8", 8, "N", 16_465, "uint8"),
    (16_552, "mz_timestamp", 8, "U", 16_553, "mz_timestamp_"),
];

/// Oid, name, oid of what it ranges over, oid of the array.
const RANGES: [(u32, &str, u32, u32); 6] = [
    (3904, "int4range", 23, 3905),
    (3906, "numrange", 1700, 3907),
    (3908, "tsrange", 1114, 3909),
    (3910, "tstzrange", 1184, 3911),
    (3912, "daterange", 1082, 3913),
    (3926, "int8range", 20, 3927),
];

/// Oid, name, oid of the array, category.
const PSEUDO: [(u32, &str, u32, &str); 17] = [
    (194, "pg_node_tree", 0, "Z"),
    (705, "unknown", 0, "X"),
    (1033, "aclitem", 1034, "U"),
    (2249, "record", 2287, "P"),
    (2275, "cstring", 1263, "P"),
    (2276, "any", 0, "P"),
    (2277, "anyarray", 0, "P"),
    (2278, "void", 0, "P"),
    (2279, "trigger", 0, "P"),
    (2281, "internal", 0, "P"),
    (2283, "anyelement", 0, "P"),
    (2776, "anynonarray", 0, "P"),
    (3831, "anyrange", 0, "P"),
    (5077, "anycompatible", 0, "P"),
    (5078, "anycompatiblearray", 0, "P"),
    (16_384, "list", 0, "P"),
    (16_385, "map", 0, "P"),
];

/// All of them, by oid.
pub(super) fn all() -> &'static [TypeRow] {
    static ALL: LazyLock<Vec<TypeRow>> = LazyLock::new(make);
    &ALL
}

fn make() -> Vec<TypeRow> {
    let mut all = vec![];
    let schema = |oid: u32| if oid >= 16_384 { "mz_catalog" } else { "pg_catalog" };
    let mut with_array = |row: TypeRow| {
        if row.array != 0 {
            all.push(TypeRow {
                oid: row.array,
                name: format!("_{}", row.name),
                len: -1,
                kind: if row.kind == "p" { "p" } else { "b" },
                category: if row.kind == "p" { "P" } else { "A" },
                preferred: false,
                element: row.oid,
                array: 0,
                collation: row.collation,
                align: if row.align == "d" { "d" } else { "i" },
                storage: "x",
                io: "array_".into(),
                schema: row.schema,
                subtype: 0,
            });
        }
        all.push(row);
    };
    for (oid, name, len, category, array, io) in BASE {
        let string = ["text", "bpchar", "varchar"].contains(&name);
        with_array(TypeRow {
            oid,
            name: name.into(),
            len,
            kind: "b",
            category: &category[..1],
            preferred: category.ends_with('*'),
            element: match name {
                "int2vector" => 21,
                "oidvector" => 26,
                "name" => 18,
                _ => 0,
            },
            array,
            collation: if string { 100 } else { 0 },
            align: match len {
                1 => "c",
                2 => "s",
                8 | 16 if name != "uuid" => "d",
                64 | 16 => "c",
                _ => "i",
            },
            storage: if len < 0 { "x" } else { "p" },
            io: io.into(),
            schema: schema(oid),
            subtype: 0,
        });
    }
    for (oid, name, subtype, array) in RANGES {
        with_array(TypeRow {
            oid,
            name: name.into(),
            len: -1,
            kind: "r",
            category: "R",
            preferred: false,
            element: 0,
            array,
            collation: 0,
            align: "d",
            storage: "x",
            io: "range_".into(),
            schema: "pg_catalog",
            subtype,
        });
    }
    for (oid, name, array, category) in PSEUDO {
        with_array(TypeRow {
            oid,
            name: name.into(),
            len: if name == "cstring" { -2 } else { -1 },
            kind: if category == "P" { "p" } else { "b" },
            category,
            preferred: false,
            element: 0,
            array,
            collation: 0,
            align: "i",
            storage: if name == "cstring" { "p" } else { "x" },
            io: match name {
                "record" => "record_".into(),
                "aclitem" => "aclitem".into(),
                other => format!("{other}_"),
            },
            schema: "pg_catalog",
            subtype: 0,
        });
    }
    all.sort_by_key(|t| t.oid);
    all
}

/// The row of a type.
pub(super) fn of(ty: &ScalarType) -> Option<&'static TypeRow> {
    let oid = ty.oid();
    all().binary_search_by_key(&oid, |t| t.oid).ok().map(|i| &all()[i])
}

/// The short name of a type, as `udt_name` has it.
pub(super) fn short_name(ty: &ScalarType) -> String {
    of(ty).map_or_else(|| ty.name(), |t| t.name.clone())
}

/// How many bytes a value has; −1: it varies.
pub(super) fn len(ty: &ScalarType) -> i16 {
    of(ty).map_or(-1, |t| t.len)
}
