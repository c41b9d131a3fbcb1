//! Messages on RabbitMQ that are not jobs: kept and shown byte by byte.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use mshost_tests::broker::Broker;
use serde_json::Value;

use super::support::{FailingJobsHost, PIPELINES, command};

/// Neither text nor JSON.
const NOT_A_JOB: &[u8] = b"\xff\x00 {\"not\": a job\n\x1b[2J";

async fn publish(url: &str) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = BasicProperties::default().with_message_id("odd/one".into());
    let confirm =
        channel.basic_publish("mshost.jobs".into(), "HA".into(), options, NOT_A_JOB, properties).await.unwrap();
    assert!(confirm.await.unwrap().take_message().is_none(), "it went nowhere");
}

#[test]
fn what_is_not_a_job_is_shown_byte_by_byte() {
    let url = Broker::shared().url_of("not-a-job");
    let failing = FailingJobsHost::with_dead_letters(&url);
    tokio::runtime::Runtime::new().unwrap().block_on(publish(&url));
    failing.until_dead(PIPELINES + 1);

    let table = failing.letters(&["list", "--reason", "malformed"]).succeeded();
    assert!(table.lines().count() == 2 && table.contains("odd/one"), "{table}");
    let listed: Value = serde_json::from_str(&failing.letters(&["list", "--json"]).succeeded()).unwrap();
    let raw: Vec<_> = listed["letters"].as_array().unwrap().iter().map(|letter| &letter["raw"]).collect();
    assert_eq!(raw.iter().filter(|raw| raw["size"] == NOT_A_JOB.len()).count(), 1, "{listed}");
    assert_eq!(raw.iter().filter(|raw| raw.is_null()).count(), 3, "{listed}");
    assert!(raw.iter().all(|raw| raw["base64"].is_null()), "{listed}");

    let shown = failing.letters(&["show", "odd/one"]).succeeded();
    assert!(shown.contains("It is not a job but 21 bytes:") && shown.contains("00000000  ff 00 20 7b"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
    let args = ["show", "odd/one", "--raw"];
    let output = command(&failing.host.site, &args).output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, NOT_A_JOB);
    // By the command, and by the host's own API.
    let by_command: Value = serde_json::from_str(&failing.letters(&["show", "odd/one", "--json"]).succeeded()).unwrap();
    let by_api = failing.host.ask("/api/dead-letters/odd%2Fone").json();
    for shown in [by_command, by_api] {
        let letter = &shown["letters"][0];
        assert_eq!((&letter["job"], &letter["raw"]["size"]), (&Value::Null, &21.into()), "{shown}");
        assert_eq!(letter["raw"]["base64"], "/wAgeyJub3QiOiBhIGpvYgobWzJK", "{shown}");
    }
    let refused = failing.letters(&["requeue", "odd/one"]).failed();
    assert!(refused.contains("it is not a job"), "{refused}");
}
