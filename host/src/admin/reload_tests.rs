use super::*;
use crate::admin::reload::{MAX_TOPOLOGY, ReloadError, ReloadReport, ReloadSource, WorkerAction, WorkerChange};

/// Swaps one worker; what is asked of it is written down.
#[derive(Default)]
pub(super) struct FakeReload {
    pub(super) asked: Mutex<Vec<String>>,
    /// What is wrong with the topology.
    errors: Mutex<Vec<String>>,
    closed: Mutex<bool>,
}

impl FakeReload {
    fn report(&self, applied: bool, asked: String) -> Result<ReloadReport, ReloadError> {
        self.asked.lock().push(asked);
        if *self.closed.lock() {
            return Err(ReloadError("the host is shutting down".to_owned()));
        }
        let change = WorkerChange {
            slot: "WB[0]".to_owned(),
            worker_type: "WB".to_owned(),
            plugin: "db".to_owned(),
            action: WorkerAction::Swap,
            reasons: vec!["config".to_owned()],
        };
        let errors = self.errors.lock().clone();
        Ok(ReloadReport { applied, changes: vec![change], errors, ..ReloadReport::default() })
    }
}

#[async_trait]
impl ReloadSource for FakeReload {
    async fn reload(&self) -> Result<ReloadReport, ReloadError> {
        self.report(true, "reload".to_owned())
    }

    async fn preview(&self, topology: Option<String>) -> Result<ReloadReport, ReloadError> {
        self.report(false, format!("preview {topology:?}"))
    }
}

#[tokio::test]
async fn a_reload_answers_with_what_has_changed_and_a_dry_run_with_what_would() {
    let server = start().await;
    let (code, report) = server.post("/api/reload", "").await;
    let change = json!({"slot": "WB[0]", "type": "WB", "plugin": "db", "action": "swap", "reasons": ["config"]});
    let expected = json!({
        "host": null, "applied": true, "bus": null, "changes": [change], "plugins": [], "settings": [], "errors": [], "warnings": [],
    });
    assert_eq!((code, report), (200, expected));
    assert_eq!(server.post("/api/reload?dry_run=1", "").await.1["applied"], false);
    assert_eq!(server.post("/api/reload?dry_run=true", "[host]").await.0, 200);
    assert_eq!(server.post("/api/reload?dry_run=0", "").await.1["applied"], true);
    let asked = std::mem::take(&mut *server.reloading.asked.lock());
    assert_eq!(asked, ["reload", "preview None", "preview Some(\"[host]\")", "reload"]);
}

#[tokio::test]
async fn a_reload_that_makes_no_sense_reloads_nothing() {
    let server = start().await;
    for (path, body, words) in [
        ("/api/reload?dry_run=maybe", "", "must be 1 or 0"),
        ("/api/reload?dryrun=1", "", "there is no `dryrun` here"),
        ("/api/reload", "[host]", "only compared"),
    ] {
        let (code, answer) = server.post(path, body).await;
        assert_eq!((code, answer["error"].as_str().unwrap().contains(words)), (400, true), "{path}: {answer}");
    }
    let (code, answer) = server.post("/api/reload?dry_run=1", &" ".repeat(MAX_TOPOLOGY + 1)).await;
    assert_eq!(code, 413, "{answer}");
    assert!(server.reloading.asked.lock().is_empty());
}

#[tokio::test]
async fn a_topology_with_errors_is_a_failure_that_says_all_the_same_what_changes() {
    let server = start().await;
    server.reloading.errors.lock().push("topology.toml:3:5: error: no".to_owned());
    let (code, report) = server.post("/api/reload", "").await;
    assert_eq!(
        (code, &report["errors"][0], report["changes"][0]["slot"].as_str()),
        (422, &json!("topology.toml:3:5: error: no"), Some("WB[0]"))
    );
    *server.reloading.closed.lock() = true;
    let (code, answer) = server.post("/api/reload?dry_run=1", "").await;
    assert_eq!((code, answer), (503, json!({"error": "the host is shutting down"})));
}
