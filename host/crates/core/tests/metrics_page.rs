//! The reference of the metrics is what the code says: `docs/metrics.md`.
//!
//! `BLESS=1 cargo test -p mshost-core --test metrics_page` writes it anew; read the difference before you commit it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use mshost_core::metrics::metrics_page;

fn root() -> PathBuf {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|folder| folder.join("Cargo.lock").is_file());
    found.unwrap().to_owned()
}

#[test]
fn the_page_is_what_the_metrics_say() {
    let (page, path) = (metrics_page(), root().join("docs/metrics.md"));
    if env::var_os("BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "docs/metrics.md is not current: run this test with BLESS=1");
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("microservices_") || word.starts_with("mshost_")).collect()
}

#[test]
fn every_metric_that_the_manual_names_exists() {
    let page = metrics_page();
    // Crates, and what a name begins with.
    let others = BTreeSet::from(["mshost_plugin_api", "mshost_", "microservices_"]);
    let known = names(&page).union(&others).copied().collect::<BTreeSet<_>>();
    let pages = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    for path in pages.chain([root().join("README.md"), root().join("ARCHITECTURE.md")]) {
        if path.extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(&path).unwrap();
            let unknown: Vec<_> = names(&text).difference(&known).copied().collect();
            assert_eq!(unknown, Vec::<&str>::new(), "{}", path.display());
        }
    }
}
