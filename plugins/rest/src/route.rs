//! Which request asks for what.

use hyper::{Method, Uri};

/// What this service can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `GET /movies/`, `GET /movies/?after=ID`
    List {
        /// Only the movies after this id.
        after: Option<i64>,
    },
    /// `GET /movies/ID`
    One(i64),
    /// `POST /movies/`
    Create,
}

/// A request for something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoute {
    /// 404
    NotFound,
    /// 400, and why.
    BadQuery(String),
}

impl Route {
    /// Reads the request line. A slash at the end makes no difference.
    ///
    /// # Errors
    /// [`NoRoute`] where there is nothing at this path for this method.
    pub fn of(method: &Method, uri: &Uri) -> Result<Self, NoRoute> {
        let rest = uri.path().strip_prefix("/movies").ok_or(NoRoute::NotFound)?;
        match (method, rest) {
            (&Method::GET, "" | "/") => Ok(Self::List { after: after(uri.query().unwrap_or_default())? }),
            (&Method::POST, "" | "/") => Ok(Self::Create),
            (&Method::GET, _) => movie_id(rest).map(Self::One).ok_or(NoRoute::NotFound),
            _ => Err(NoRoute::NotFound),
        }
    }
}

/// `/12` or `/12/`. One spelling per movie: no sign, no leading zero.
fn movie_id(rest: &str) -> Option<i64> {
    let text = rest.strip_prefix('/')?;
    let text = text.strip_suffix('/').unwrap_or(text);
    let starts_well = text.as_bytes().first().is_some_and(|first| (b'1'..=b'9').contains(first));
    if starts_well { text.parse().ok() } else { None }
}

fn after(query: &str) -> Result<Option<i64>, NoRoute> {
    let Some(text) = query.split('&').find_map(|pair| pair.strip_prefix("after=")) else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|_| NoRoute::BadQuery(format!("expected the id of a movie in `after`, found {text:?}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(method: Method, uri: &str) -> Result<Route, NoRoute> {
        Route::of(&method, &uri.parse().unwrap())
    }

    #[test]
    fn the_movies_and_nothing_else() {
        for path in ["/movies", "/movies/", "/movies/?x=y"] {
            assert_eq!(of(Method::GET, path), Ok(Route::List { after: None }), "{path}");
            assert_eq!(of(Method::POST, path), Ok(Route::Create), "{path}");
        }
        assert_eq!(of(Method::GET, "/movies/?x=y&after=12"), Ok(Route::List { after: Some(12) }));
        assert!(matches!(of(Method::GET, "/movies/?after=x"), Err(NoRoute::BadQuery(_))));
        for path in ["/movies/12", "/movies/12/"] {
            assert_eq!(of(Method::GET, path), Ok(Route::One(12)), "{path}");
            assert_eq!(of(Method::POST, path), Err(NoRoute::NotFound), "{path}");
        }
        for path in [
            "/",
            "/movie/",
            "/movies12",
            "/moviesx/",
            "//movies/",
            "/movies//",
            "/movies//12",
            "/movies/x",
            "/movies/0",
            "/movies/012",
            "/movies/+1",
            "/movies/-1",
            "/movies/1/2",
            "/movies/1//",
            "/movies/9223372036854775808",
            "/movies/%31",
            "/MOVIES/",
        ] {
            assert_eq!(of(Method::GET, path), Err(NoRoute::NotFound), "{path}");
        }
        for method in [Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS, Method::PATCH] {
            assert_eq!(of(method.clone(), "/movies/"), Err(NoRoute::NotFound), "{method}");
        }
    }

    proptest! {
        #[test]
        fn every_id_has_one_path(id in 1..=i64::MAX) {
            prop_assert_eq!(of(Method::GET, &format!("/movies/{id}")), Ok(Route::One(id)));
        }

        #[test]
        fn no_path_panics(path in "/[!-~&&[^#?]]{0,30}", query in "[!-~&&[^#]]{0,20}") {
            if let Ok(uri) = format!("{path}?{query}").parse::<Uri>() {
                let _ = Route::of(&Method::GET, &uri);
            }
        }
    }
}
