//! `pg_catalog`: the engine's objects as Postgres' own catalog would show them, for clients that look there.
//!
//! Tables and sources are ordinary tables (`r`), views `v`, materialized views `m`, indexes `i`. What the engine does not
//! have (constraints, triggers, sequences …) are relations without rows.

use std::collections::BTreeSet;

use plan::func::{FunctionKind, Signature};
use repr::{Arena, Datum, GlobalId, Row, ScalarType};
use sql::{CatalogItem, ItemKind};

use super::*;

/// Casts are numbered from here.
const FIRST_CAST: u32 = 10_000;
const SCHEMA: &str = "pg_catalog";
const HEAP: u32 = 2;
const BTREE: u32 = 403;
const OPCLASS: u32 = 1_978;

/// What the planner sees in these is fixed by Postgres 15: names, types and order of columns.
pub(super) fn relations() -> Vec<Builtin> {
    let pg = |name, columns: &str, rows| relation(SCHEMA, name, columns, rows);
    let none = |name, columns: &str| empty(SCHEMA, name, columns);
    vec![
        pg(
            "pg_class",
            "oid oid, relname name, relnamespace oid, reltype oid = 0, reloftype oid = 0, relowner oid = 10, relam oid, \
             relfilenode oid = 0, reltablespace oid = 0, relpages int4 = 0, reltuples float4 = -1, relallvisible int4 = 0, \
             reltoastrelid oid = 0, relhasindex bool, relisshared bool = f, relpersistence char, relkind char, \
             relnatts int2, relchecks int2 = 0, relhasrules bool, relhastriggers bool = f, relhassubclass bool = f, \
             relrowsecurity bool = f, relforcerowsecurity bool = f, relispopulated bool = t, relreplident char = d, \
             relispartition bool = f, relrewrite oid = 0, relfrozenxid oid = 0, relminmxid oid = 0, \
             relacl text[] = null, reloptions text[] = null, relpartbound text = null",
            class,
        ),
        pg(
            "pg_attribute",
            "attrelid oid, attname name, atttypid oid, attstattarget int4 = -1, attlen int2, attnum int2, attndims int4, \
             attcacheoff int4 = -1, atttypmod int4, attbyval bool, attalign char, attstorage char, \
             attcompression char = '', attnotnull bool, atthasdef bool, atthasmissing bool = f, attidentity char = '', \
             attgenerated char = '', attisdropped bool = f, attislocal bool = t, attinhcount int4 = 0, \
             attcollation oid, attacl text[] = null, attoptions text[] = null, attfdwoptions text[] = null, \
             attmissingval text = null",
            attribute,
        ),
        pg(
            "pg_type",
            "oid oid, typname name, typnamespace oid, typowner oid = 10, typlen int2, typbyval bool, typtype char, \
             typcategory char, typispreferred bool, typisdefined bool = t, typdelim char, typrelid oid = 0, \
             typsubscript regproc = 0, typelem oid, typarray oid, typinput regproc, typoutput regproc, \
             typreceive regproc, typsend regproc, typmodin regproc = 0, typmodout regproc = 0, typanalyze regproc = 0, \
             typalign char, typstorage char, typnotnull bool = f, typbasetype oid = 0, typtypmod int4 = -1, \
             typndims int4 = 0, typcollation oid, typdefaultbin text = null, typdefault text = null, typacl text[] = null",
            types,
        ),
        pg(
            "pg_proc",
            "oid oid, proname name, pronamespace oid = 11, proowner oid = 10, prolang oid = 12, procost float4 = 1, \
             prorows float4, provariadic oid, prosupport regproc = 0, prokind char, prosecdef bool = f, \
             proleakproof bool = f, proisstrict bool, proretset bool, provolatile char, proparallel char = s, \
             pronargs int2, pronargdefaults int2 = 0, prorettype oid, proargtypes oidvector, proallargtypes oid[] = null, \
             proargmodes char[] = null, proargnames text[] = null, proargdefaults text = null, protrftypes oid[] = null, \
             prosrc text, probin text = null, prosqlbody text = null, proconfig text[] = null, proacl text[] = null",
            proc,
        ),
        pg(
            "pg_operator",
            "oid oid, oprname name, oprnamespace oid = 11, oprowner oid = 10, oprkind char, oprcanmerge bool = f, \
             oprcanhash bool = f, oprleft oid, oprright oid, oprresult oid, oprcom oid = 0, oprnegate oid = 0, \
             oprcode regproc = 0, oprrest regproc = 0, oprjoin regproc = 0",
            operator,
        ),
        pg(
            "pg_aggregate",
            "aggfnoid regproc, aggkind char = n, aggnumdirectargs int2 = 0, aggtransfn regproc = 0, \
             aggfinalfn regproc = 0, aggcombinefn regproc = 0, aggserialfn regproc = 0, aggdeserialfn regproc = 0, \
             aggmtransfn regproc = 0, aggminvtransfn regproc = 0, aggmfinalfn regproc = 0, aggfinalextra bool = f, \
             aggmfinalextra bool = f, aggfinalmodify char = r, aggmfinalmodify char = r, aggsortop oid = 0, \
             aggtranstype oid = 0, aggtransspace int4 = 0, aggmtranstype oid = 0, aggmtransspace int4 = 0, \
             agginitval text = null, aggminitval text = null",
            |_| {
                let aggregates = functions().filter(|(_, s)| s.kind == FunctionKind::Aggregate);
                aggregates.map(|(oid, _)| Row::pack([Datum::UInt32(oid)])).collect()
            },
        ),
        pg(
            "pg_index",
            "indexrelid oid, indrelid oid, indnatts int2, indnkeyatts int2, indisunique bool = f, \
             indnullsnotdistinct bool = f, indisprimary bool = f, indisexclusion bool = f, indimmediate bool = t, \
             indisclustered bool = f, indisvalid bool = t, indcheckxmin bool = f, indisready bool = t, \
             indislive bool = t, indisreplident bool = f, indkey int2vector, indcollation oidvector, indclass oidvector, \
             indoption int2vector, indexprs text?, indpred text = null",
            index,
        ),
        pg("pg_namespace", "oid oid, nspname name, nspowner oid = 10, nspacl text[] = null", |s| {
            let temporary = s.items().any(|i| i.name.schema == "mz_temp");
            let schemas = s.schemas().filter(|n| temporary || n.name != "mz_temp");
            schemas.map(|n| Row::pack([Datum::UInt32(n.oid), Datum::Text(n.name)])).collect()
        }),
        pg(
            "pg_database",
            "oid oid, datname name, datdba oid = 10, encoding int4 = 6, datlocprovider char = c, datistemplate bool = f, \
             datallowconn bool = t, datconnlimit int4 = -1, datfrozenxid oid = 0, datminmxid oid = 0, \
             dattablespace oid = 1663, datcollate text = C, datctype text = C.UTF-8, daticulocale text = null, \
             datcollversion text = null, datacl text[] = null",
            |s| {
                let row = |d: &str| Row::pack([Datum::UInt32(database_oid(d)), Datum::Text(d)]);
                s.databases().into_iter().map(row).collect()
            },
        ),
        pg(
            "pg_roles",
            "rolname name, rolsuper bool = t, rolinherit bool = t, rolcreaterole bool = t, rolcreatedb bool = t, \
             rolcanlogin bool = t, rolreplication bool = f, rolconnlimit int4 = -1, rolpassword text = ********, \
             rolvaliduntil timestamptz = null, rolbypassrls bool = t, rolconfig text[] = null, oid oid",
            |s| {
                s.roles()
                    .into_iter()
                    .map(|(n, oid, _)| Row::pack([Datum::Text(n), Datum::UInt32(oid)]))
                    .collect()
            },
        ),
        pg(
            "pg_authid",
            "oid oid, rolname name, rolsuper bool = t, rolinherit bool = t, rolcreaterole bool = t, rolcreatedb bool = t, \
             rolcanlogin bool = t, rolreplication bool = f, rolbypassrls bool = t, rolconnlimit int4 = -1, \
             rolpassword text = null, rolvaliduntil timestamptz = null",
            |s| {
                s.roles()
                    .into_iter()
                    .map(|(n, oid, _)| Row::pack([Datum::UInt32(oid), Datum::Text(n)]))
                    .collect()
            },
        ),
        pg(
            "pg_user",
            "usename name, usesysid oid, usecreatedb bool = t, usesuper bool = t, userepl bool = f, \
             usebypassrls bool = t, passwd text = ********, valuntil timestamptz = null, useconfig text[] = null",
            |s| {
                s.roles()
                    .into_iter()
                    .map(|(n, oid, _)| Row::pack([Datum::Text(n), Datum::UInt32(oid)]))
                    .collect()
            },
        ),
        none("pg_auth_members", "roleid oid, member oid, grantor oid, admin_option bool"),
        pg("pg_attrdef", "oid oid, adrelid oid, adnum int2, adbin text", attrdef),
        pg("pg_description", "objoid oid, classoid oid, objsubid int4, description text", description),
        none("pg_shdescription", "objoid oid, classoid oid, description text"),
        pg("pg_am", "oid oid, amname name, amhandler regproc = 0, amtype char", |_| {
            let row = |oid, name, kind| Row::pack([Datum::UInt32(oid), Datum::Text(name), Datum::Text(kind)]);
            vec![row(HEAP, "heap", "t"), row(BTREE, "btree", "i")]
        }),
        pg(
            "pg_opclass",
            "oid oid, opcmethod oid = 403, opcname name = default_ops, opcnamespace oid = 11, opcowner oid = 10, \
             opcfamily oid = 0, opcintype oid = 2276, opcdefault bool = t, opckeytype oid = 0",
            |_| vec![Row::pack([Datum::UInt32(OPCLASS)])],
        ),
        none("pg_opfamily", "oid oid, opfmethod oid, opfname name, opfnamespace oid, opfowner oid"),
        none(
            "pg_amop",
            "oid oid, amopfamily oid, amoplefttype oid, amoprighttype oid, amopstrategy int2, amoppurpose char, \
             amopopr oid, amopmethod oid, amopsortfamily oid",
        ),
        none(
            "pg_amproc",
            "oid oid, amprocfamily oid, amproclefttype oid, amprocrighttype oid, amprocnum int2, amproc regproc",
        ),
        pg(
            "pg_collation",
            "oid oid, collname name, collnamespace oid = 11, collowner oid = 10, collprovider char, \
             collisdeterministic bool = t, collencoding int4 = -1, collcollate text?, collctype text?, \
             colliculocale text = null, collversion text = null",
            |_| {
                let row = |oid, name, provider, locale| {
                    let locale = opt_text(locale);
                    Row::pack([Datum::UInt32(oid), Datum::Text(name), Datum::Text(provider), locale, locale])
                };
                vec![
                    row(100, "default", "d", None),
                    row(950, "C", "c", Some("C")),
                    row(951, "POSIX", "c", Some("POSIX")),
                ]
            },
        ),
        pg(
            "pg_language",
            "tableoid oid = 0, oid oid, lanname name, lanowner oid = 10, lanispl bool = f, lanpltrusted bool, \
             lanplcallfoid oid = 0, laninline oid = 0, lanvalidator oid = 0, lanacl text[] = null",
            |_| {
                let row = |oid, name, trusted| {
                    Row::pack([Datum::UInt32(oid), Datum::Text(name), Datum::Bool(trusted)])
                };
                vec![row(12, "internal", false), row(14, "sql", true)]
            },
        ),
        pg(
            "pg_tablespace",
            "oid oid, spcname name, spcowner oid = 10, spcacl text[] = null, spcoptions text[] = null",
            |_| {
                let row = |oid, name| Row::pack([Datum::UInt32(oid), Datum::Text(name)]);
                vec![row(1_663, "pg_default"), row(1_664, "pg_global")]
            },
        ),
        pg(
            "pg_range",
            "rngtypid oid, rngsubtype oid, rngmultitypid oid = 0, rngcollation oid = 0, rngsubopc oid = 1978, \
             rngcanonical regproc = 0, rngsubdiff regproc = 0",
            |_| {
                let ranges = super::types::all().iter().filter(|t| t.subtype != 0);
                ranges.map(|t| Row::pack([Datum::UInt32(t.oid), Datum::UInt32(t.subtype)])).collect()
            },
        ),
        pg(
            "pg_rewrite",
            "oid oid, rulename name = _RETURN, ev_class oid, ev_type char = 1, ev_enabled char = O, is_instead bool = t, \
             ev_qual text = <>, ev_action text = <>",
            |s| {
                let row = |v: &CatalogItem| {
                    Row::pack([Datum::UInt32(rule_oid(v)), Datum::UInt32(sql::catalog::oid(v.id))])
                };
                user_views(s).map(row).collect()
            },
        ),
        pg(
            "pg_depend",
            "classid oid, objid oid, objsubid int4 = 0, refclassid oid, refobjid oid, refobjsubid int4 = 0, deptype char",
            depend,
        ),
        none(
            "pg_shdepend",
            "dbid oid, classid oid, objid oid, objsubid int4, refclassid oid, refobjid oid, deptype char",
        ),
        pg(
            "pg_settings",
            "name text, setting text, unit text = null, category text = Session, short_desc text = '', \
             extra_desc text = null, context text = user, vartype text = string, source text, min_val text = null, \
             max_val text = null, enumvals text[] = null, boot_val text?, reset_val text?, sourcefile text = null, \
             sourceline int4 = null, pending_restart bool = f",
            settings,
        ),
        pg(
            "pg_tables",
            "schemaname name, tablename name, tableowner name = materialize, tablespace name = null, hasindexes bool, \
             hasrules bool = f, hastriggers bool = f, rowsecurity bool = f",
            |s| {
                let indexed = indexed(s);
                let tables = s.relations().filter(|i| relkind(i) == Some("r"));
                let row = |i: &CatalogItem| {
                    let has = Datum::Bool(indexed.contains(&i.id));
                    Row::pack([Datum::Text(&i.name.schema), Datum::Text(&i.name.item), has])
                };
                tables.map(row).collect()
            },
        ),
        pg(
            "pg_views",
            "schemaname name, viewname name, viewowner name = materialize, definition text?",
            |s| {
                let views = s.relations().filter(|i| relkind(i) == Some("v"));
                let row = |i: &CatalogItem| {
                    let definition = view_definition(i);
                    Row::pack([
                        Datum::Text(&i.name.schema),
                        Datum::Text(&i.name.item),
                        opt_text(definition.as_deref()),
                    ])
                };
                views.map(row).collect()
            },
        ),
        pg(
            "pg_matviews",
            "schemaname name, matviewname name, matviewowner name = materialize, tablespace name = null, \
             hasindexes bool, ispopulated bool = t, definition text?",
            |s| {
                let indexed = indexed(s);
                let views = s.relations().filter(|i| relkind(i) == Some("m"));
                let row = |i: &CatalogItem| {
                    let definition = view_definition(i);
                    let has = Datum::Bool(indexed.contains(&i.id));
                    let definition = opt_text(definition.as_deref());
                    Row::pack([Datum::Text(&i.name.schema), Datum::Text(&i.name.item), has, definition])
                };
                views.map(row).collect()
            },
        ),
        pg(
            "pg_indexes",
            "schemaname name, tablename name, indexname name, tablespace name = null, indexdef text",
            |s| {
                let row = |(index, on, key): (&CatalogItem, &CatalogItem, &[plan::ScalarExpr])| {
                    let definition = index_definition(index, on, key);
                    Row::pack([
                        Datum::Text(&on.name.schema),
                        Datum::Text(&on.name.item),
                        Datum::Text(&index.name.item),
                        Datum::Text(&definition),
                    ])
                };
                s.indexes().map(row).collect()
            },
        ),
        pg(
            "pg_stat_user_indexes",
            "relid oid, indexrelid oid, schemaname name, relname name, indexrelname name, idx_scan int8 = 0, \
             idx_tup_read int8 = 0, idx_tup_fetch int8 = 0",
            |s| {
                let row = |(index, on, _): (&CatalogItem, &CatalogItem, &[plan::ScalarExpr])| {
                    Row::pack([
                        Datum::UInt32(sql::catalog::oid(on.id)),
                        Datum::UInt32(sql::catalog::oid(index.id)),
                        Datum::Text(&on.name.schema),
                        Datum::Text(&on.name.item),
                        Datum::Text(&index.name.item),
                    ])
                };
                s.indexes().map(row).collect()
            },
        ),
        pg(
            "pg_statio_all_tables",
            "relid oid, schemaname name, relname name, heap_blks_read int8 = 0, heap_blks_hit int8 = 0, \
             idx_blks_read int8 = 0, idx_blks_hit int8 = 0, toast_blks_read int8 = 0, toast_blks_hit int8 = 0, \
             tidx_blks_read int8 = 0, tidx_blks_hit int8 = 0",
            table_oids,
        ),
        pg(
            "pg_stat_user_tables",
            "relid oid, schemaname name, relname name, seq_scan int8 = 0, seq_tup_read int8 = 0, idx_scan int8 = 0, \
             idx_tup_fetch int8 = 0, n_tup_ins int8 = 0, n_tup_upd int8 = 0, n_tup_del int8 = 0, n_live_tup int8 = 0, \
             n_dead_tup int8 = 0",
            table_oids,
        ),
        pg(
            "pg_stat_activity",
            "datid oid, datname name, pid int4, leader_pid int4 = null, usesysid oid, usename name, \
             application_name text, client_addr text = null, client_hostname text = null, client_port int4 = null, \
             backend_start timestamptz = null, xact_start timestamptz = null, query_start timestamptz = null, \
             state_change timestamptz = null, wait_event_type text = null, wait_event text = null, \
             state text = active, backend_xid oid = null, backend_xmin oid = null, query_id int8 = null, \
             query text = '', backend_type text = client backend",
            |s| {
                let user = if s.session.user.is_empty() { OWNER } else { &s.session.user };
                let role = s.roles().into_iter().find(|r| r.0 == user).map_or(OWNER_OID, |r| r.1);
                let application = s.session.settings.iter().find(|(n, _)| n == "application_name");
                vec![Row::pack([
                    Datum::UInt32(database_oid(s.database())),
                    Datum::Text(s.database()),
                    Datum::Int32(s.session.pid as i32),
                    Datum::UInt32(role),
                    Datum::Text(user),
                    Datum::Text(application.map_or("", |a| &a.1)),
                ])]
            },
        ),
        // What is not here.
        none(
            "pg_constraint",
            "oid oid, conname name, connamespace oid, contype char, condeferrable bool, condeferred bool, \
             convalidated bool, conrelid oid, contypid oid, conindid oid, conparentid oid, confrelid oid, \
             confupdtype char, confdeltype char, confmatchtype char, conislocal bool, coninhcount int4, \
             connoinherit bool, conkey int2[]?, confkey int2[]?, conpfeqop oid[]?, conppeqop oid[]?, conffeqop oid[]?, \
             confdelsetcols int2[]?, conexclop oid[]?, conbin text?",
        ),
        none("pg_inherits", "inhrelid oid, inhparent oid, inhseqno int4, inhdetachpending bool"),
        none(
            "pg_partitioned_table",
            "partrelid oid, partstrat char, partnatts int2, partdefid oid, partattrs int2vector, partclass oidvector, partcollation oidvector, partexprs text?",
        ),
        none(
            "pg_policy",
            "oid oid, polname name, polrelid oid, polcmd char, polpermissive bool, polroles oid[], polqual text?, \
             polwithcheck text?",
        ),
        none(
            "pg_policies",
            "schemaname name, tablename name, policyname name, permissive text, roles name[], cmd text, qual text?, \
             with_check text?",
        ),
        none(
            "pg_publication",
            "oid oid, pubname name, pubowner oid, puballtables bool, pubinsert bool, pubupdate bool, pubdelete bool, \
             pubtruncate bool, pubviaroot bool",
        ),
        none("pg_publication_rel", "oid oid, prpubid oid, prrelid oid, prqual text?, prattrs int2vector?"),
        none("pg_publication_namespace", "oid oid, pnpubid oid, pnnspid oid"),
        none(
            "pg_publication_tables",
            "pubname name, schemaname name, tablename name, attnames name[], rowfilter text?",
        ),
        none(
            "pg_subscription",
            "oid oid, subdbid oid, subskiplsn text, subname name, subowner oid, subenabled bool, subbinary bool, \
             substream bool, subtwophasestate char, subdisableonerr bool, subconninfo text, subslotname name?, \
             subsynccommit text, subpublications text[]",
        ),
        none(
            "pg_statistic_ext",
            "oid oid, stxrelid oid, stxname name, stxnamespace oid, stxowner oid, stxstattarget int4, \
             stxkeys int2vector, stxkind char[], stxexprs text?",
        ),
        none(
            "pg_stats",
            "schemaname name, tablename name, attname name, inherited bool, null_frac float4, avg_width int4, \
             n_distinct float4",
        ),
        none(
            "pg_trigger",
            "oid oid, tgrelid oid, tgparentid oid, tgname name, tgfoid oid, tgtype int2, tgenabled char, \
             tgisinternal bool, tgconstrrelid oid, tgconstrindid oid, tgconstraint oid, tgdeferrable bool, \
             tginitdeferred bool, tgnargs int2, tgattr int2vector, tgargs bytea?, tgqual text?, tgoldtable name?, \
             tgnewtable name?",
        ),
        none(
            "pg_event_trigger",
            "oid oid, evtname name, evtevent name, evtowner oid, evtfoid oid, evtenabled char, evttags text[]?",
        ),
        none(
            "pg_extension",
            "oid oid, extname name, extowner oid, extnamespace oid, extrelocatable bool, extversion text, \
             extconfig oid[]?, extcondition text[]?",
        ),
        none(
            "pg_available_extensions",
            "name name, default_version text, installed_version text?, comment text",
        ),
        none("pg_enum", "oid oid, enumtypid oid, enumsortorder float4, enumlabel name"),
        pg(
            "pg_cast",
            "oid oid, castsource oid, casttarget oid, castfunc oid = 0, castcontext char, castmethod char = f",
            |_| {
                let row = |(i, (from, to, context)): (usize, (u32, u32, &str))| {
                    let [oid, from, to] = [FIRST_CAST + i as u32, from, to].map(Datum::UInt32);
                    Row::pack([oid, from, to, Datum::Text(context)])
                };
                plan::func::casts().enumerate().map(row).collect()
            },
        ),
        none(
            "pg_conversion",
            "oid oid, conname name, connamespace oid, conowner oid, conforencoding int4, contoencoding int4, \
             conproc regproc, condefault bool",
        ),
        none(
            "pg_default_acl",
            "oid oid, defaclrole oid, defaclnamespace oid, defaclobjtype char, defaclacl text[]",
        ),
        none("pg_db_role_setting", "setdatabase oid, setrole oid, setconfig text[]?"),
        none(
            "pg_foreign_data_wrapper",
            "oid oid, fdwname name, fdwowner oid, fdwhandler oid, fdwvalidator oid, fdwacl text[]?, fdwoptions text[]?",
        ),
        none(
            "pg_foreign_server",
            "oid oid, srvname name, srvowner oid, srvfdw oid, srvtype text?, srvversion text?, srvacl text[]?, \
             srvoptions text[]?",
        ),
        none("pg_foreign_table", "ftrelid oid, ftserver oid, ftoptions text[]?"),
        none("pg_user_mapping", "oid oid, umuser oid, umserver oid, umoptions text[]?"),
        none(
            "pg_user_mappings",
            "umid oid, srvid oid, srvname name, umuser oid, usename name, umoptions text[]?",
        ),
        none(
            "pg_sequence",
            "seqrelid oid, seqtypid oid, seqstart int8, seqincrement int8, seqmax int8, seqmin int8, seqcache int8, \
             seqcycle bool",
        ),
        none(
            "pg_sequences",
            "schemaname name, sequencename name, sequenceowner name, data_type text, start_value int8, \
             min_value int8, max_value int8, increment_by int8, cycle bool, cache_size int8, last_value int8?",
        ),
        none("pg_rules", "schemaname name, tablename name, rulename name, definition text"),
        none("pg_seclabel", "objoid oid, classoid oid, objsubid int4, provider text, label text"),
        none(
            "pg_seclabels",
            "objoid oid, classoid oid, objsubid int4, objtype text, objnamespace oid, objname text, provider text, label text",
        ),
        none("pg_init_privs", "objoid oid, classoid oid, objsubid int4, privtype char, initprivs text[]"),
        none("pg_largeobject_metadata", "oid oid, lomowner oid, lomacl text[]?"),
        none("pg_ts_config", "oid oid, cfgname name, cfgnamespace oid, cfgowner oid, cfgparser oid"),
        none(
            "pg_ts_dict",
            "oid oid, dictname name, dictnamespace oid, dictowner oid, dicttemplate oid, dictinitoption text?",
        ),
        none(
            "pg_ts_parser",
            "oid oid, prsname name, prsnamespace oid, prsstart regproc, prstoken regproc, prsend regproc, prsheadline regproc, prslextype regproc",
        ),
        none(
            "pg_ts_template",
            "oid oid, tmplname name, tmplnamespace oid, tmplinit regproc, tmpllexize regproc",
        ),
        none("pg_transform", "oid oid, trftype oid, trflang oid, trffromsql regproc, trftosql regproc"),
        none(
            "pg_locks",
            "locktype text, database oid?, relation oid?, page int4?, tuple int2?, virtualxid text?, \
             transactionid oid?, classid oid?, objid oid?, objsubid int2?, virtualtransaction text?, pid int4?, \
             mode text, granted bool, fastpath bool, waitstart timestamptz?",
        ),
        none(
            "pg_cursors",
            "name text, statement text, is_holdable bool, is_binary bool, is_scrollable bool, creation_time timestamptz",
        ),
        none(
            "pg_prepared_statements",
            "name text, statement text, prepare_time timestamptz, parameter_types text[], from_sql bool",
        ),
    ]
}

/// The letter by which Postgres knows what an object is.
fn relkind(item: &CatalogItem) -> Option<&'static str> {
    match item.kind {
        ItemKind::Table | ItemKind::Source => Some("r"),
        ItemKind::View if is_companion(item.id) => Some("r"),
        ItemKind::View => Some("v"),
        ItemKind::MaterializedView => Some("m"),
        ItemKind::Index => Some("i"),
        ItemKind::Sink | ItemKind::Connection | ItemKind::Secret | ItemKind::Type => None,
    }
}

fn indexed(s: &State<'_>) -> BTreeSet<GlobalId> {
    s.indexes().map(|(_, on, _)| on.id).collect()
}

fn user_views<'a>(s: &State<'a>) -> impl Iterator<Item = &'a CatalogItem> {
    s.user_items().filter(|i| matches!(i.kind, ItemKind::View | ItemKind::MaterializedView))
}

/// The number of the rule that stands for a view's query.
fn rule_oid(view: &CatalogItem) -> u32 {
    0x5000_0000_u32.saturating_add(sql::catalog::oid(view.id))
}

/// The number of a relation of this schema, by which others refer to what is in it.
fn class_oid(name: &str) -> u32 {
    let position = builtins().iter().position(|b| b.schema == SCHEMA && b.name == name);
    position.map_or(0, |i| sql::catalog::oid(builtin_id(i)))
}

fn class(s: &State<'_>) -> Vec<Row> {
    let indexed = indexed(s);
    let row = |i: &CatalogItem| {
        let kind = relkind(i)?;
        let columns = match &i.index {
            Some((_, key)) => key.len(),
            None => i.desc.as_ref().map_or(0, |d| d.arity()),
        };
        let am = match kind {
            "i" => BTREE,
            "v" => 0,
            _ => HEAP,
        };
        let temporary = i.name.schema == "mz_temp";
        Some(Row::pack([
            Datum::UInt32(sql::catalog::oid(i.id)),
            Datum::Text(&i.name.item),
            Datum::UInt32(item_schema_oid(i)),
            Datum::UInt32(am),
            Datum::Bool(indexed.contains(&i.id)),
            Datum::Text(if temporary { "t" } else { "p" }),
            Datum::Text(kind),
            Datum::Int16(columns as i16),
            Datum::Bool(kind == "v" || kind == "m"),
        ]))
    };
    s.items().filter_map(row).collect()
}

fn attribute(s: &State<'_>) -> Vec<Row> {
    let row = |of: GlobalId, number: i16, name: &str, ty: &ScalarType, not_null: bool, default: bool| {
        let known = super::types::of(ty);
        let len = super::types::len(ty);
        Row::pack([
            Datum::UInt32(sql::catalog::oid(of)),
            Datum::Text(name),
            Datum::UInt32(ty.oid()),
            Datum::Int16(len),
            Datum::Int16(number),
            Datum::Int32(i32::from(matches!(ty, ScalarType::Array(_)))),
            Datum::Int32(type_modifier(ty)),
            Datum::Bool([1, 2, 4, 8].contains(&len)),
            Datum::Text(known.map_or("i", |t| t.align)),
            Datum::Text(known.map_or("x", |t| t.storage)),
            Datum::Bool(not_null),
            Datum::Bool(default),
            Datum::UInt32(known.map_or(0, |t| t.collation)),
        ])
    };
    let columns = s.columns().map(|c| {
        let default = c.item.defaults.get(c.position as usize - 1).is_some_and(Option::is_some);
        row(c.item.id, c.position, &c.column.name, &c.column.ty.scalar, !c.column.ty.nullable, default)
    });
    let keys = s.indexes().flat_map(|(index, on, key)| {
        let texts = key_texts(index, on, key);
        let part = |(i, (part, text)): (usize, (&plan::ScalarExpr, String))| {
            let column = match part {
                plan::ScalarExpr::Column(c) => on.desc.as_ref().and_then(|d| d.columns.get(*c)),
                _ => None,
            };
            let (name, ty) =
                column.map_or((text.as_str(), ScalarType::Text), |c| (c.name.as_str(), c.ty.scalar.clone()));
            row(index.id, i as i16 + 1, name, &ty, false, false)
        };
        key.iter().zip(texts).enumerate().map(part).collect::<Vec<_>>()
    });
    columns.chain(keys).collect()
}

fn types(_: &State<'_>) -> Vec<Row> {
    let row = |t: &super::types::TypeRow| {
        let io = |what| Datum::UInt32(io_oid(&format!("{}{what}", t.io)));
        Row::pack([
            Datum::UInt32(t.oid),
            Datum::Text(&t.name),
            Datum::UInt32(schema_oid("", t.schema)),
            Datum::Int16(t.len),
            Datum::Bool([1, 2, 4, 8].contains(&t.len)),
            Datum::Text(t.kind),
            Datum::Text(t.category),
            Datum::Bool(t.preferred),
            Datum::Text(","),
            Datum::UInt32(t.element),
            Datum::UInt32(t.array),
            io("in"),
            io("out"),
            io("recv"),
            io("send"),
            Datum::Text(t.align),
            Datum::Text(t.storage),
            Datum::UInt32(t.collation),
        ])
    };
    super::types::all().iter().map(row).collect()
}

/// The number of a function that reads or writes values of a type; these exist for clients that look for them only.
fn io_oid(name: &str) -> u32 {
    if name == "array_in" { 750 } else { named_oid(name) }
}

/// Functions, aggregates and window functions with their numbers.
pub(super) fn functions() -> impl Iterator<Item = (u32, Signature)> {
    let all = plan::func::signatures().enumerate().map(|(i, s)| (1_000 + i as u32, s));
    all.filter(|(_, s)| s.kind != FunctionKind::Operator)
}

pub(super) fn operators() -> impl Iterator<Item = (u32, Signature)> {
    let all = plan::func::signatures().enumerate().map(|(i, s)| (1_000 + i as u32, s));
    all.filter(|(_, s)| s.kind == FunctionKind::Operator)
}

/// Functions whose result is the session's or the statement's, and those that differ at every call.
const STABLE: [&str; 16] = [
    "now",
    "current_timestamp",
    "transaction_timestamp",
    "statement_timestamp",
    "mz_now",
    "mz_logical_timestamp",
    "current_user",
    "current_role",
    "session_user",
    "user",
    "current_database",
    "current_catalog",
    "current_schema",
    "current_schemas",
    "current_setting",
    "pg_backend_pid",
];
const VOLATILE: [&str; 5] = ["random", "gen_random_uuid", "clock_timestamp", "pg_sleep", "set_config"];

fn proc(_: &State<'_>) -> Vec<Row> {
    let arena = Arena::new();
    let row = |oid: u32, s: &Signature| {
        let kind = match s.kind {
            FunctionKind::Aggregate => "a",
            FunctionKind::Window => "w",
            FunctionKind::Function | FunctionKind::Operator | FunctionKind::Table => "f",
        };
        let volatility = if STABLE.contains(&s.name) {
            "s"
        } else if VOLATILE.contains(&s.name) {
            "v"
        } else {
            "i"
        };
        let variadic = s.arg_oids.last().filter(|_| s.variadic).copied().unwrap_or(0);
        Row::pack([
            Datum::UInt32(oid),
            Datum::Text(s.name),
            Datum::Float32(if s.set { 1_000.0 } else { 0.0 }),
            Datum::UInt32(variadic),
            Datum::Text(kind),
            Datum::Bool(s.strict),
            Datum::Bool(s.set),
            Datum::Text(volatility),
            Datum::Int16(s.arg_oids.len() as i16),
            Datum::UInt32(s.ret_oid),
            oids(&arena, s.arg_oids.iter().copied()),
            Datum::Text(s.id),
        ])
    };
    let mut rows: Vec<Row> = functions().map(|(oid, s)| row(oid, &s)).collect();
    let mut seen = BTreeSet::new();
    for t in super::types::all() {
        for (what, args, returns) in
            [("in", 2275, t.oid), ("out", t.oid, 2275), ("recv", 2281, t.oid), ("send", t.oid, 17)]
        {
            let name = format!("{}{what}", t.io);
            if !seen.insert(name.clone()) {
                continue;
            }
            rows.push(Row::pack([
                Datum::UInt32(io_oid(&name)),
                Datum::Text(&name),
                Datum::Float32(0.0),
                Datum::UInt32(0),
                Datum::Text("f"),
                Datum::Bool(true),
                Datum::Bool(false),
                Datum::Text("i"),
                Datum::Int16(1),
                Datum::UInt32(returns),
                oids(&arena, [args]),
                Datum::Text(&name),
            ]));
        }
    }
    rows
}

fn operator(_: &State<'_>) -> Vec<Row> {
    let row = |(oid, s): (u32, Signature)| {
        let (kind, left, right) = match s.arg_oids.as_slice() {
            [left, right] => ("b", *left, *right),
            [right] => ("l", 0, *right),
            _ => return None,
        };
        Some(Row::pack([
            Datum::UInt32(oid),
            Datum::Text(s.name),
            Datum::Text(kind),
            Datum::UInt32(left),
            Datum::UInt32(right),
            Datum::UInt32(s.ret_oid),
        ]))
    };
    operators().filter_map(row).collect()
}

fn index(s: &State<'_>) -> Vec<Row> {
    let arena = Arena::new();
    let row = |(index, on, key): (&CatalogItem, &CatalogItem, &[plan::ScalarExpr])| {
        let column = |k: &plan::ScalarExpr| match k {
            plan::ScalarExpr::Column(c) => *c as i16 + 1,
            // An expression, as Postgres marks it.
            _ => 0,
        };
        let expressions: Vec<String> = key
            .iter()
            .zip(key_texts(index, on, key))
            .filter(|(k, _)| column(k) == 0)
            .map(|(_, text)| text)
            .collect();
        let expressions = (!expressions.is_empty()).then(|| expressions.join(", "));
        let n = key.len();
        Row::pack([
            Datum::UInt32(sql::catalog::oid(index.id)),
            Datum::UInt32(sql::catalog::oid(on.id)),
            Datum::Int16(n as i16),
            Datum::Int16(n as i16),
            numbers(&arena, key.iter().map(column)),
            oids(&arena, vec![0; n]),
            oids(&arena, vec![OPCLASS; n]),
            numbers(&arena, vec![0; n]),
            opt_text(expressions.as_deref()),
        ])
    };
    s.indexes().map(row).collect()
}

fn attrdef(s: &State<'_>) -> Vec<Row> {
    let defaults = s.user_items().flat_map(|i| {
        let own = i.defaults.iter().enumerate();
        own.filter_map(move |(column, default)| {
            Some((sql::catalog::oid(i.id), column as i16 + 1, default.as_deref()?))
        })
    });
    let row = |(of, number, default): (u32, i16, &str)| {
        let oid = named_oid(&format!("{of}.{number}"));
        Row::pack([Datum::UInt32(oid), Datum::UInt32(of), Datum::Int16(number), Datum::Text(default)])
    };
    defaults.map(row).collect()
}

fn description(s: &State<'_>) -> Vec<Row> {
    let (relations, functions_class) = (class_oid("pg_class"), class_oid("pg_proc"));
    let row = |of: u32, class: u32, sub: i32, text: &str| {
        Row::pack([Datum::UInt32(of), Datum::UInt32(class), Datum::Int32(sub), Datum::Text(text)])
    };
    let comments =
        s.comments().map(|(i, sub, text)| row(sql::catalog::oid(i.id), relations, sub.unwrap_or(0), text));
    let of_functions = functions().filter(|(_, s)| !s.description.is_empty());
    comments.chain(of_functions.map(|(oid, s)| row(oid, functions_class, 0, s.description))).collect()
}

fn depend(s: &State<'_>) -> Vec<Row> {
    let (relations, rules) = (class_oid("pg_class"), class_oid("pg_rewrite"));
    let row = |class: u32, of: u32, used: u32, kind: &str| {
        let parts = [class, of, relations, used].map(Datum::UInt32);
        Row::pack(parts.into_iter().chain([Datum::Text(kind)]))
    };
    let mut rows: Vec<Row> =
        user_views(s).map(|v| row(rules, rule_oid(v), sql::catalog::oid(v.id), "i")).collect();
    for (item, used) in s.dependencies() {
        let used = sql::catalog::oid(used.id);
        match item.kind {
            ItemKind::View | ItemKind::MaterializedView => rows.push(row(rules, rule_oid(item), used, "n")),
            _ => rows.push(row(relations, sql::catalog::oid(item.id), used, "a")),
        }
    }
    rows
}

/// What clients read from here and no session can set.
const FIXED_SETTINGS: [(&str, &str); 4] =
    [("block_size", "8192"), ("max_connections", "1000"), ("max_index_keys", "32"), ("ssl", "off")];

fn settings(s: &State<'_>) -> Vec<Row> {
    let defaults = crate::variables::Variables::default().all();
    let row = |name: &str, value: &str, default: Option<&str>| {
        let source = if default == Some(value) { "default" } else { "session" };
        Row::pack([
            Datum::Text(name),
            Datum::Text(value),
            Datum::Text(source),
            opt_text(default),
            opt_text(default),
        ])
    };
    let set = if s.session.settings.is_empty() { &defaults } else { &s.session.settings };
    let known = set.iter().map(|(name, value)| {
        let default = defaults.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        row(name, value, default)
    });
    let fixed = FIXED_SETTINGS.iter().filter(|(name, _)| !set.iter().any(|(n, _)| n == name));
    known.chain(fixed.map(|(name, value)| row(name, value, Some(value)))).collect()
}

fn table_oids(s: &State<'_>) -> Vec<Row> {
    let row = |i: &CatalogItem| {
        Row::pack([
            Datum::UInt32(sql::catalog::oid(i.id)),
            Datum::Text(&i.name.schema),
            Datum::Text(&i.name.item),
        ])
    };
    s.user_items().filter(|i| matches!(relkind(i), Some("r" | "m"))).map(row).collect()
}
