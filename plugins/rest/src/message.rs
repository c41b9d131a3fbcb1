//! What travels on the bus, as this plugin writes and reads it. The other plugins have their own view of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A request, on its way to `WD:*`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Question {
    /// The HTTP method.
    pub method: &'static str,
    /// What the path, the query and the body say.
    pub params: Params,
    /// Which request this is; comes back in the [`Answer`].
    #[serde(rename = "resId")]
    pub res_id: String,
    /// When it came, in milliseconds since the epoch.
    pub time: u64,
}

/// The parameters of a [`Question`].
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Params {
    /// This movie only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<i64>,
    /// The movies after this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// A movie to store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Answer {
    /// The body of the response.
    #[serde(default)]
    pub content: Value,
    /// The [`Question`]'s.
    #[serde(rename = "resId")]
    pub res_id: String,
    /// In place of content: what is wrong.
    #[serde(default)]
    pub error: Option<String>,
    /// The HTTP status that goes with `error`.
    #[serde(default)]
    pub status: Option<u16>,
    /// Who handled it on its way; shown as `x-served-by`.
    #[serde(default)]
    pub via: Option<String>,
}

/// All that is read of a job that failed: each message of the pipeline carries it.
#[derive(Debug, Clone, Deserialize)]
pub struct FailedJob {
    /// The [`Question`]'s.
    #[serde(rename = "resId")]
    pub res_id: String,
}

#[cfg(test)]
mod tests {
    use mshost_plugin_api::{Codec, Payload};
    use serde_json::json;

    use super::*;

    /// Encoded by whoever, decoded as `T`.
    fn received<T: serde::de::DeserializeOwned>(codec: Codec, sent: &impl Serialize) -> T {
        Payload::encode(codec, sent).unwrap().decode().unwrap()
    }

    #[test]
    fn a_question_is_what_the_protocol_says_in_every_codec() {
        let params = Params { body: Some(json!({"title": "Alien"})), ..Params::default() };
        let question = Question { method: "POST", params, res_id: "r".into(), time: 1_460_306_476_102 };
        for codec in Codec::ALL {
            assert_eq!(
                received::<Value>(codec, &question),
                json!({"method": "POST", "params": {"body": {"title": "Alien"}}, "resId": "r", "time": 1_460_306_476_102_u64}),
                "{codec}"
            );
        }
    }

    #[test]
    fn the_originals_answer_is_enough() {
        for codec in Codec::ALL {
            let answer: Answer =
                received(codec, &json!({"content": [1, 2.5], "resId": "r", "time": 1_460_306_476_102.0}));
            assert_eq!(answer, Answer { content: json!([1, 2.5]), res_id: "r".into(), ..Answer::default() }, "{codec}");
        }
    }

    #[test]
    fn a_failed_job_of_any_stage_says_whose_it_was() {
        for codec in Codec::ALL {
            let question = json!({"method": "GET", "params": {}, "resId": "r", "time": 1, "via": "pilot 1"});
            assert_eq!(received::<FailedJob>(codec, &question).res_id, "r");
            assert_eq!(received::<FailedJob>(codec, &json!({"content": [], "resId": "r"})).res_id, "r");
        }
    }
}
