//! `POST /api/sql`, in the shapes of Materialize's.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use coord::{Handle, Outcome, Rows, Session};
use repr::error::code;
use repr::{Arena, Datum, Row, ScalarType, SqlError};
use serde_json::{Value, json};

/// One query with its parameters as text.
struct Query {
    text: String,
    parameters: Vec<Option<String>>,
}

pub(super) async fn sql(State(handle): State<Handle>, headers: HeaderMap, body: Bytes) -> Response {
    if let Err((status, why)) = super::local_request(&headers) {
        return (status, why).into_response();
    }
    let queries = match queries(&body) {
        Ok(queries) => queries,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    let mut session = handle.session("materialize", None, &[]);
    let mut results = vec![];
    'queries: for query in queries {
        let statements = match session.parse(&query.text).await {
            Ok(statements) => statements,
            Err(e) => {
                results.push(json!({ "error": error(&e), "notices": [] }));
                break;
            }
        };
        for statement in statements {
            let result = run(&mut session, statement, &query.parameters).await;
            let notices: Vec<Value> = session.take_notices().iter().map(error).collect();
            match result {
                Ok(mut result) => {
                    result["notices"] = Value::Array(notices);
                    results.push(result);
                }
                Err(e) => {
                    session.failed();
                    results.push(json!({ "error": error(&e), "notices": notices }));
                    break 'queries;
                }
            }
        }
    }
    let text = json!({ "results": results }).to_string();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn queries(body: &[u8]) -> Result<Vec<Query>, &'static str> {
    const SHAPE: &str =
        "the body must be {\"query\": \"…\"} or {\"queries\": [{\"query\": \"…\", \"params\": […]}]}";
    let body: Value = serde_json::from_slice(body).map_err(|_| SHAPE)?;
    if let Some(text) = body["query"].as_str() {
        return Ok(vec![Query { text: text.into(), parameters: vec![] }]);
    }
    let list = body["queries"].as_array().ok_or(SHAPE)?;
    let query = |q: &Value| {
        let text = q["query"].as_str()?.to_string();
        let parameters = match &q["params"] {
            Value::Null => vec![],
            Value::Array(list) => list
                .iter()
                .map(|p| match p {
                    Value::Null => Some(None),
                    Value::String(s) => Some(Some(s.clone())),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>()?,
            _ => return None,
        };
        Some(Query { text, parameters })
    };
    list.iter().map(query).collect::<Option<Vec<_>>>().ok_or(SHAPE)
}

async fn run(
    session: &mut Session,
    statement: sql::Statement,
    parameters: &[Option<String>],
) -> Result<Value, SqlError> {
    let mut prepared = session.prepare(statement, vec![]).await?;
    let types = prepared.planned.parameters.clone();
    if types.len() != parameters.len() {
        let message = format!(
            "request supplied {} parameters, but the statement requires {}",
            parameters.len(),
            types.len()
        );
        return Err(SqlError::new(code::PROTOCOL_VIOLATION, message));
    }
    let arena = Arena::new();
    let value = |(text, ty): (&Option<String>, &ScalarType)| match text {
        None => Ok(Row::pack([Datum::Null])),
        Some(text) => Ok(Row::pack([repr::text::parse(text, ty, &arena)?])),
    };
    let parameters = parameters.iter().zip(&types).map(value).collect::<Result<Vec<Row>, SqlError>>()?;
    drop(arena);
    match session.execute(&mut prepared, &parameters).await? {
        Outcome::Empty => Ok(json!({ "ok": "" })),
        Outcome::Done(tag) => Ok(json!({ "ok": tag })),
        Outcome::Rows { tag, rows } => {
            if rows.is_endless() {
                return Err(SqlError::unsupported("SUBSCRIBE over HTTP", "Use the Postgres protocol."));
            }
            json_rows(tag, rows).await
        }
        Outcome::CopyOut { .. } | Outcome::CopyIn(_) => {
            Err(SqlError::unsupported("COPY over HTTP", "Use the Postgres protocol."))
        }
    }
}

async fn json_rows(tag: &str, rows: Rows) -> Result<Value, SqlError> {
    let desc = rows.desc.clone();
    let columns: Vec<Value> = desc
        .columns
        .iter()
        .map(|c| {
            let (size, modifier) = crate::pg::size_and_modifier(&c.ty.scalar);
            json!({ "name": c.name, "type_oid": c.ty.scalar.oid(), "type_len": size, "type_mod": modifier })
        })
        .collect();
    let rows = rows.collect().await?;
    let cells = |row: &Row| -> Value {
        row.iter().zip(&desc.columns).map(|(datum, c)| cell(datum, &c.ty.scalar)).collect()
    };
    let count = rows.len();
    let rows: Vec<Value> = rows.iter().map(cells).collect();
    Ok(json!({ "desc": { "columns": columns }, "rows": rows, "tag": format!("{tag} {count}") }))
}

/// Numbers go as text, so that no reader rounds them; JSON as JSON.
fn cell(datum: Datum<'_>, ty: &ScalarType) -> Value {
    let mut text = String::new();
    match datum {
        Datum::Null => Value::Null,
        Datum::Bool(b) => Value::Bool(b),
        datum => {
            repr::text::print(datum, ty, &mut text);
            match ty {
                ScalarType::Jsonb => serde_json::from_str(&text).unwrap_or(Value::String(text)),
                _ => Value::String(text),
            }
        }
    }
}

fn error(e: &SqlError) -> Value {
    let mut value = json!({ "code": e.code.as_str(), "message": e.message });
    for (name, text) in [("detail", &e.detail), ("hint", &e.hint)] {
        if let Some(text) = text {
            value[name] = json!(text);
        }
    }
    if let Some(position) = e.position {
        value["position"] = json!(position);
    }
    value
}
