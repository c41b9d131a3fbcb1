//! Files of a cgroup.

use std::fs;
use std::path::Path;

pub(super) fn read(folder: &Path, name: &str) -> Result<String, String> {
    let path = folder.join(name);
    fs::read_to_string(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

pub(super) fn write(folder: &Path, name: &str, value: &str) -> Result<(), String> {
    let path = folder.join(name);
    fs::write(&path, value).map_err(|error| format!("`{value}` cannot be written to {}: {error}", path.display()))
}
