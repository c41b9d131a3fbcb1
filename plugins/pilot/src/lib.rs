//! The pilot of the movie example (`WD`): it hands each request to a database worker, whose answer goes to whoever asked.
//!
//! This is the smallest useful plugin; begin yours by copying it.

use mshost_plugin_api::{Context, Error, Job, NoConfig, Worker, export_plugin};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What answers show as `x-served-by`. A build can choose it: `PILOT_VERSION=mine cargo build --release -p mshost-plugin-pilot`.
const VERSION: &str = match option_env!("PILOT_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

struct Pilot;

impl Worker for Pilot {
    type Config = NoConfig;

    async fn start(_: NoConfig, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    async fn handle(&self, job: Job, ctx: &Context) -> Result<(), Error> {
        let request: Request = job.data()?;
        // Two stages: any database worker does it, and forwards its answer to the worker that asked.
        ctx.send(["WB:*", &job.sender.id], &Request { via: Some(VERSION.into()), ..request }).await?;
        Ok(())
    }
}

/// A request to the movie service. Only `method` and `params` mean something to the database; the rest comes back.
#[derive(Serialize, Deserialize)]
struct Request {
    method: String,
    #[serde(default)]
    params: Value,
    #[serde(rename = "resId")]
    res_id: Value,
    #[serde(default)]
    time: Value,
    via: Option<String>,
}

export_plugin! { workers: { "WD" => Pilot } }

#[cfg(test)]
mod tests {
    use mshost_plugin_api::{Codec, Payload};
    use serde_json::json;

    use super::*;

    #[test]
    fn all_that_the_asker_wrote_goes_on() {
        let sent = json!({"method": "GET", "params": {"id": 3}, "resId": 7, "time": 1460306476102.0});
        for codec in Codec::ALL {
            let read: Request = Payload::encode(codec, &sent).unwrap().decode().unwrap();
            let written = Payload::encode(codec, &Request { via: Some("v".into()), ..read }).unwrap();
            let mut expected = sent.clone();
            expected["via"] = "v".into();
            assert_eq!(written.decode::<Value>().unwrap(), expected, "{codec}");
        }
    }
}
