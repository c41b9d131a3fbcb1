//! A movie: a title, an id that the database gives, and whatever else its author wrote about it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The longest title, in characters.
const MAX_TITLE_CHARS: usize = 300;

/// A movie as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Movie {
    /// Unique for ever: never given to another movie.
    pub id: i64,
    /// Its title.
    pub title: String,
    /// Every other field that came with it.
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

/// A movie on its way into the database.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct NewMovie {
    /// Its title.
    pub title: String,
    /// Every other field.
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

impl NewMovie {
    /// Reads a movie from what a client sent. A field `id` is ignored: ids are the database's to give.
    ///
    /// # Errors
    /// A sentence for the client, where it is no object or has no usable title.
    pub fn from_value(value: Value) -> Result<Self, String> {
        let mut movie: Self = serde_json::from_value(value)
            .map_err(|error| format!("expected a movie like {{\"title\": \"Alien\"}}: {error}"))?;
        if movie.title.trim().is_empty() {
            return Err("expected a `title` that is not blank".into());
        }
        let chars = movie.title.chars().count();
        if chars > MAX_TITLE_CHARS {
            return Err(format!("expected a `title` of at most {MAX_TITLE_CHARS} characters, found {chars}"));
        }
        movie.details.remove("id");
        Ok(movie)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_client_adds_is_kept_and_its_id_is_not() {
        let movie = NewMovie::from_value(json!({"id": 7, "title": "Alien", "year": 1979})).unwrap();
        assert_eq!(movie.title, "Alien");
        assert_eq!(Value::Object(movie.details), json!({"year": 1979}));
    }

    #[test]
    fn a_movie_needs_a_usable_title() {
        let reason = |value| NewMovie::from_value(value).unwrap_err();
        assert!(reason(json!({"year": 1979})).contains("missing field `title`"));
        assert!(reason(json!({"title": 3})).contains("expected a string"));
        assert!(reason(json!({"title": " \t"})).contains("not blank"));
        assert!(reason(json!({"title": "x".repeat(301)})).contains("at most 300"));
        assert!(reason(json!("Alien")).contains("expected a movie like"));
        assert!(NewMovie::from_value(json!({"title": "é".repeat(300)})).is_ok());
    }
}
