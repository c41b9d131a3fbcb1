#![allow(clippy::unwrap_used)]

use super::*;

fn args(name: &str, into: &Path) -> NewArgs {
    NewArgs { name: name.to_owned(), into: Some(into.to_owned()), api: None }
}

#[test]
fn every_place_of_every_template_is_filled() {
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("deep/down/image_resizer");
    let told = write(&args("image_resizer", &into)).unwrap();
    for (file, _) in FILES {
        let text = fs::read_to_string(into.join(file)).unwrap();
        assert!(!text.contains('@'), "{file}: {text}");
    }
    assert!(told.contains("plugin = \"image_resizer\"") && !told.contains('@'), "{told}");
    fs::read_to_string(into.join("Cargo.toml")).unwrap().parse::<toml::Table>().unwrap();
    let beside: Vec<_> =
        fs::read_dir(into.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside, ["image_resizer"], "nothing else is left");
}

#[test]
fn whatever_is_there_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (full, link) = (dir.path().join("full"), dir.path().join("link"));
    fs::create_dir(&full).unwrap();
    fs::write(full.join("Cargo.toml"), "mine").unwrap();
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    for into in [&full, &full.join("Cargo.toml"), &link] {
        assert!(matches!(write(&args("db", into)), Err(NewError::Exists(_))), "{}", into.display());
    }
    assert_eq!(fs::read_to_string(full.join("Cargo.toml")).unwrap(), "mine");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn a_folder_that_is_not_the_api_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("db");
    let error = write(&NewArgs { api: Some(dir.path().to_owned()), ..args("db", &into) }).unwrap_err();
    assert!(error.to_string().contains("mshost-plugin-api"), "{error}");
    assert!(!into.exists());
}
