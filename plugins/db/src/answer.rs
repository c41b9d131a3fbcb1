//! From query to answer: all of the worker but the bus.

use crate::message::{Answer, Content, Query};
use crate::movie::NewMovie;
use crate::store::Store;

/// A query that cannot be answered with content.
struct Refusal {
    status: u16,
    error: String,
}

/// Answers a query. `request` names it: a query that comes twice is stored once.
///
/// # Errors
/// Where the database fails, which may pass. What is wrong with the query itself goes into the answer.
pub fn answer(store: &Store, list_limit: u32, query: Query, request: &str) -> rusqlite::Result<Answer> {
    let Query { method, params, res_id, time, via } = query;
    let outcome = match (&*method, params.id) {
        ("GET", None) => Ok(Content::Many(store.list(params.after.unwrap_or(0), list_limit)?)),
        ("GET", Some(id)) => match store.get(id)? {
            Some(movie) => Ok(Content::One(movie)),
            None => Err(Refusal { status: 404, error: format!("no movie has the id {id}") }),
        },
        ("POST", _) => match NewMovie::from_value(params.body.unwrap_or_default()) {
            Ok(movie) => Ok(Content::One(store.insert(&movie, request)?)),
            Err(error) => Err(Refusal { status: 400, error }),
        },
        _ => Err(Refusal { status: 404, error: format!("expected the method GET or POST, found {method:?}") }),
    };
    let (content, refusal) = match outcome {
        Ok(content) => (Some(content), None),
        Err(refusal) => (None, Some(refusal)),
    };
    let status = refusal.as_ref().map(|refusal| refusal.status);
    Ok(Answer { content, error: refusal.map(|refusal| refusal.error), status, res_id, time, via })
}
