//! Where a new crate gets mshost-plugin-api from; it is not published.

use std::fs;
use std::path::{Path, PathBuf};

/// The name of the crate that is looked for.
const API: &str = "mshost-plugin-api";

/// The folder given is not that of mshost-plugin-api.
#[derive(Debug, thiserror::Error)]
#[error("{} is not the folder of {API}: it has no Cargo.toml of that package", .0.display())]
pub(super) struct NotPluginApi(PathBuf);

/// Where mshost-plugin-api is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ApiSource {
    /// In a folder of this machine.
    Folder(PathBuf),
    /// In the repository that this program was built from.
    Repository(&'static str),
}

impl ApiSource {
    pub(super) fn folder(folder: &Path) -> Result<Self, NotPluginApi> {
        let canonical = folder.canonicalize().ok().filter(|folder| is_api(folder));
        canonical.map(Self::Folder).ok_or_else(|| NotPluginApi(folder.to_owned()))
    }

    /// The source tree that this program was built in, where it still stands in it; else the repository.
    pub(super) fn of_this_program() -> Self {
        let program = std::env::current_exe().and_then(|program| program.canonicalize()).unwrap_or_default();
        Self::above(&program).unwrap_or(Self::Repository(env!("CARGO_PKG_REPOSITORY")))
    }

    fn above(program: &Path) -> Option<Self> {
        program.ancestors().skip(1).find_map(|folder| Self::folder(&folder.join("plugin-api")).ok())
    }

    /// As the value of a dependency in Cargo.toml.
    pub(super) fn as_toml(&self) -> String {
        match self {
            // A path with quotes or backslashes in it has to be escaped; `toml` knows how.
            Self::Folder(folder) => format!("{{ path = {} }}", toml::Value::from(folder.to_string_lossy().as_ref())),
            Self::Repository(url) => format!("{{ git = {} }}", toml::Value::from(*url)),
        }
    }
}

fn is_api(folder: &Path) -> bool {
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).ok().and_then(|text| text.parse::<toml::Table>().ok());
    let name = manifest.as_ref().and_then(|manifest| manifest.get("package")?.get("name")?.as_str());
    name == Some(API)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_tree_around_the_program_is_found_and_nothing_else_is() {
        let tree = tempfile::tempdir().unwrap();
        let root = tree.path().canonicalize().unwrap();
        let program = root.join("target/release/mshost");
        assert_eq!(ApiSource::above(&program), None);
        let api = root.join("plugin-api");
        fs::create_dir(&api).unwrap();
        fs::write(api.join("Cargo.toml"), "[package]\nname = \"another\"\n").unwrap();
        assert_eq!(ApiSource::above(&program), None);
        fs::write(api.join("Cargo.toml"), "[package]\nname = \"mshost-plugin-api\"\n").unwrap();
        assert_eq!(ApiSource::above(&program), Some(ApiSource::Folder(api)));
    }

    #[test]
    fn any_path_is_valid_toml() {
        for source in [ApiSource::Folder("/a \"b\"\\c\nd".into()), ApiSource::Repository("https://example.org/x")] {
            let table: toml::Table = format!("api = {}", source.as_toml()).parse().unwrap();
            let (key, value) = table["api"].as_table().unwrap().iter().next().unwrap();
            match &source {
                ApiSource::Folder(folder) => assert_eq!((key.as_str(), value.as_str()), ("path", folder.to_str())),
                ApiSource::Repository(url) => assert_eq!((key.as_str(), value.as_str()), ("git", Some(*url))),
            }
        }
    }
}
