//! `mshost new`: a plugin crate that builds as it is.

mod api_source;
mod plugin_name;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use api_source::{ApiSource, NotPluginApi};
use plugin_name::{InvalidName, PluginCrateName};

use super::print::{CommandError, out};

/// What `mshost new` takes.
#[derive(Debug, clap::Args)]
pub(super) struct NewArgs {
    /// The plugin's name: lower-case letters, digits and `_`
    #[arg(value_name = "NAME")]
    name: String,

    /// The folder to write [default: ./NAME]
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,

    /// The folder of mshost-plugin-api [default: this program's own source tree, else its repository]
    #[arg(long, value_name = "FOLDER")]
    api: Option<PathBuf>,
}

/// The files of a new crate, with `@…@` for what differs.
const FILES: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    ("src/lib.rs", include_str!("template/lib.rs.in")),
    ("README.md", include_str!("template/README.md.in")),
    (".gitignore", "target/\n"),
];

/// Why no crate was written. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
enum NewError {
    /// The name cannot be used.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// `--api` is not mshost-plugin-api.
    #[error(transparent)]
    Api(#[from] NotPluginApi),
    /// Something of that name is there.
    #[error("{} exists already: choose another name, or another folder with `--into`", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("cannot write {}: {error}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

pub(super) fn run(args: &NewArgs) -> Result<ExitCode, CommandError> {
    out(write(args).map_err(CommandError::new)?.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the crate and returns what to tell the user.
fn write(args: &NewArgs) -> Result<String, NewError> {
    let name = PluginCrateName::new(&args.name)?;
    let api = match &args.api {
        Some(folder) => ApiSource::folder(folder)?,
        None => ApiSource::of_this_program(),
    };
    let into = args.into.clone().unwrap_or_else(|| PathBuf::from(name.as_str()));
    let fill = |template: &str| {
        template
            .replace("@NAME@", name.as_str())
            .replace("@STRUCT@", &name.type_name())
            .replace("@TYPE@", &name.worker_type())
            .replace("@API@", &api.as_toml())
            .replace("@RUST_VERSION@", env!("CARGO_PKG_RUST_VERSION"))
    };
    write_whole(&into, &FILES.map(|(path, template)| (path, fill(template))))?;
    Ok(fill(include_str!("template/next.txt.in")).replace("@FOLDER@", &into.display().to_string()))
}

/// All files or none: they are written aside and moved into place.
fn write_whole(into: &Path, files: &[(&str, String)]) -> Result<(), NewError> {
    let fail = |path: &Path, error| NewError::Write { path: path.to_owned(), error };
    if into.symlink_metadata().is_ok() {
        return Err(NewError::Exists(into.to_owned()));
    }
    let parent = into.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|error| fail(parent, error))?;
    let aside =
        tempfile::Builder::new().prefix(".mshost-new-").tempdir_in(parent).map_err(|error| fail(parent, error))?;
    let root = aside.path().join("crate");
    for (path, text) in files {
        let path = root.join(path);
        let folder = path.parent().unwrap_or(&root);
        fs::create_dir_all(folder).and_then(|()| fs::write(&path, text)).map_err(|error| fail(&path, error))?;
    }
    // It fails where something has been put there meanwhile, unless that is an empty folder.
    fs::rename(&root, into).map_err(|error| fail(into, error))
}

#[cfg(test)]
mod tests;
