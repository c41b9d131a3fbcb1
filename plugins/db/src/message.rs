//! What travels on the bus, as this plugin reads and writes it. The other plugins have their own view of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::movie::Movie;

/// What is asked of the database.
#[derive(Debug, Clone, Deserialize)]
pub struct Query {
    /// `GET` reads, `POST` stores.
    pub method: String,
    /// Which movies, or which movie.
    #[serde(default)]
    pub params: Params,
    /// Goes back as it came: it tells the asker which request this is.
    #[serde(rename = "resId")]
    pub res_id: Value,
    /// Goes back as it came.
    #[serde(default)]
    pub time: Value,
    /// Goes back as it came: who handled it on its way.
    #[serde(default)]
    pub via: Option<String>,
}

/// The parameters of a [`Query`]; which of them count depends on its method.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Params {
    /// `GET`: this movie only.
    pub id: Option<i64>,
    /// `GET`: the movies after this id.
    pub after: Option<i64>,
    /// `POST`: the movie.
    pub body: Option<Value>,
}

/// The answer.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    /// The movie or the movies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// What is wrong with the query, for the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The HTTP status that goes with `error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// As in the query.
    #[serde(rename = "resId")]
    pub res_id: Value,
    /// As in the query.
    pub time: Value,
    /// As in the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
}

/// What an [`Answer`] is about.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Content {
    /// One movie.
    One(Movie),
    /// Several.
    Many(Vec<Movie>),
}

#[cfg(test)]
mod tests {
    use mshost_plugin_api::{Codec, Payload};
    use serde_json::{Map, json};

    use super::*;

    #[test]
    fn a_query_is_read_and_an_answer_written_in_every_codec() {
        for codec in Codec::ALL {
            let sent = json!({"method": "POST", "params": {"body": {"title": "Alien"}}, "resId": "r", "time": 1_460_306_476_102.0});
            let query: Query = Payload::encode(codec, &sent).unwrap().decode().unwrap();
            assert_eq!(query.params.body, Some(json!({"title": "Alien"})), "{codec}");

            let details = Map::from_iter([("year".to_owned(), json!(1979))]);
            let movie = Movie { id: 4, title: "Alien".into(), details };
            let answer = Answer {
                content: Some(Content::One(movie)),
                error: None,
                status: None,
                res_id: query.res_id,
                time: query.time,
                via: None,
            };
            let received: Value = Payload::encode(codec, &answer).unwrap().decode().unwrap();
            let content = json!({"id": 4, "title": "Alien", "year": 1979});
            assert_eq!(received, json!({"content": content, "resId": "r", "time": 1_460_306_476_102.0}), "{codec}");
        }
    }
}
