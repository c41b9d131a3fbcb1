//! Which file of a crate uses which: read off the paths that begin with `crate`, `super` and `self`.
//!
//! A name that a module only hands on (`pub use child::Name`) is taken from the file that it stands in, so that a folder's
//! `mod.rs` may present its parts. Tests are left out.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness that cannot read the code has nothing else to say

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module's path from the root of its crate; the root's is empty.
type ModulePath = Vec<String>;

/// The files of a crate and the names that each takes from others.
#[derive(Debug)]
pub struct ModuleGraph {
    files: BTreeMap<ModulePath, SourceFile>,
}

#[derive(Debug)]
struct SourceFile {
    path: PathBuf,
    /// The code without its imports: what tells whether an imported name is used here or only handed on.
    body: String,
    /// What a name is an import of.
    imports: BTreeMap<String, ModulePath>,
    /// Paths that stand in the code itself.
    inline: Vec<ModulePath>,
}

impl ModuleGraph {
    /// Reads the crate whose `lib.rs` is in this folder.
    #[must_use]
    pub fn read(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        collect(folder, &Vec::new(), &mut files);
        Self { files }
    }

    /// Groups of files that use each other in a circle, each in the order of their names.
    #[must_use]
    pub fn circles(&self) -> Vec<Vec<PathBuf>> {
        let edges: BTreeMap<_, _> = self.files.keys().map(|module| (module, self.used_by(module))).collect();
        let reach = |from: &ModulePath| {
            let mut seen: BTreeSet<&ModulePath> = BTreeSet::new();
            let mut next: Vec<&ModulePath> = edges[from].iter().collect();
            while let Some(module) = next.pop() {
                if seen.insert(module) {
                    next.extend(edges[module].iter());
                }
            }
            seen
        };
        let reached: BTreeMap<_, _> = self.files.keys().map(|module| (module, reach(module))).collect();
        let mut circles = BTreeSet::new();
        for (module, others) in &reached {
            let circle: BTreeSet<_> = others.iter().filter(|other| reached[**other].contains(module)).collect();
            if circle.len() > 1 {
                let files: BTreeSet<_> = circle.into_iter().map(|module| self.files[*module].path.clone()).collect();
                circles.insert(files.into_iter().collect::<Vec<_>>());
            }
        }
        circles.into_iter().collect()
    }

    /// How many files there are, and how many arrows between them.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.files.len(), self.files.keys().map(|module| self.used_by(module).len()).sum())
    }

    fn used_by(&self, module: &ModulePath) -> BTreeSet<ModulePath> {
        let file = &self.files[module];
        let used = file.imports.iter().filter(|(name, _)| mentions(&file.body, name)).map(|(_, path)| path);
        used.chain(&file.inline).filter_map(|path| self.file_of(path, 8)).filter(|other| other != module).collect()
    }

    /// The file that what a path names stands in; `None` for what is no file's.
    fn file_of(&self, path: &[String], depth: usize) -> Option<ModulePath> {
        let length = (0..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(length);
        match rest.first().and_then(|name| self.files[module].imports.get(name)) {
            Some(import) if depth > 0 && import.as_slice() != path => {
                let further: Vec<_> = import.iter().chain(&rest[1..]).cloned().collect();
                self.file_of(&further, depth - 1)
            }
            _ => Some(module.to_owned()),
        }
    }
}

fn collect(folder: &Path, module: &ModulePath, files: &mut BTreeMap<ModulePath, SourceFile>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "tests" || name.ends_with("_tests") || name == "main" {
            continue;
        }
        let inner = |name: &str| module.iter().cloned().chain([name.to_owned()]).collect::<Vec<_>>();
        if path.is_dir() {
            collect(&path, &inner(&name), files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let own = if matches!(&*name, "lib" | "mod") { module.clone() } else { inner(&name) };
            files.insert(own.clone(), SourceFile::read(path, &own));
        }
    }
}

impl SourceFile {
    fn read(path: PathBuf, module: &ModulePath) -> Self {
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let text = text.split("#[cfg(test)]\n#[allow").next().unwrap();
        let code: String = text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n");
        let children: BTreeSet<String> =
            code.lines().filter_map(|line| line.rsplit_once("mod ")?.1.strip_suffix(';').map(str::to_owned)).collect();
        let (mut imports, mut body, mut inline) = (BTreeMap::new(), String::new(), Vec::new());
        for statement in code.split_inclusive(';') {
            match import_of(statement) {
                Some((before, tree)) => {
                    body.push_str(before);
                    for (name, path) in leaves(tree) {
                        if let Some(path) = absolute(&path, module, &children) {
                            imports.insert(name, path);
                        }
                    }
                }
                None => {
                    body.push_str(statement);
                    inline.extend(paths_in(statement).filter_map(|path| absolute(&path, module, &BTreeSet::new())));
                }
            }
        }
        Self { path, body, imports, inline }
    }
}

/// What stands before the `use` of a statement that ends with one, and its tree.
fn import_of(statement: &str) -> Option<(&str, &str)> {
    let at = statement.match_indices("use ").map(|(at, _)| at).find(|at| {
        let line = statement[..*at].rsplit('\n').next().unwrap().trim();
        line.is_empty() || line.starts_with("pub")
    })?;
    let tree = statement[at + 4..].trim().trim_end_matches(';');
    Some((statement[..at].trim_end_matches("pub "), tree))
}

/// The names that a tree of imports brings in, each with its path.
fn leaves(tree: &str) -> Vec<(String, Vec<String>)> {
    let Some((prefix, inner)) = tree.split_once("::{") else {
        let (path, name) = tree.split_once(" as ").unwrap_or((tree, ""));
        let path: Vec<_> = path.trim().split("::").map(|part| part.trim().to_owned()).collect();
        let name = if name.is_empty() { path.last().unwrap().clone() } else { name.trim().to_owned() };
        return vec![(name, path)];
    };
    let prefix: Vec<_> = prefix.trim().split("::").map(|part| part.trim().to_owned()).collect();
    let inner = inner.trim_end().strip_suffix('}').unwrap_or(inner);
    let (mut depth, mut start, mut parts) = (0_usize, 0, Vec::new());
    for (at, character) in inner.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    let found = parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).flat_map(leaves);
    found
        .map(|(name, path)| {
            let path = if path == ["self"] { Vec::new() } else { path };
            let name = if name == "self" { prefix.last().unwrap().clone() } else { name };
            (name, prefix.iter().cloned().chain(path).collect())
        })
        .collect()
}

/// The paths in code that begin at the crate's root or at a module's.
fn paths_in(code: &str) -> impl Iterator<Item = Vec<String>> {
    let starts = ["crate::", "super::", "self::"];
    let all = starts.into_iter().flat_map(move |start| code.match_indices(start).map(|(at, _)| at));
    all.filter(move |at| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '$'))).map(
        move |at| {
            let path: String =
                code[at..].chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':')).collect();
            path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()
        },
    )
}

/// The path from the crate's root; `None` for that of another crate.
fn absolute(path: &[String], module: &[String], children: &BTreeSet<String>) -> Option<ModulePath> {
    let mut base = module.to_vec();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => {
            base.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {}
        child if children.contains(child) => {}
        _ => return None,
    }
    while rest.first().is_some_and(|part| part == "super") {
        base.pop();
        rest = &rest[1..];
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

fn mentions(code: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name)
        .any(|(at, _)| !code[..at].ends_with(is_word) && !code[at + name.len()..].starts_with(is_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let file = folder.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let name = |path: &PathBuf| path.strip_prefix(folder.path()).unwrap().display().to_string();
        ModuleGraph::read(folder.path()).circles().iter().map(|circle| circle.iter().map(name).collect()).collect()
    }

    #[test]
    fn two_files_that_use_each_other_are_a_circle() {
        let circles = graph(&[
            ("lib.rs", "mod a;\nmod b;\nmod c;\n"),
            ("a.rs", "use super::b::B;\nstruct A(B);"),
            ("b.rs", "struct B(Option<Box<crate::a::A>>);"),
            ("c.rs", "use super::a::A;\nstruct C(A);"),
        ]);
        assert_eq!(circles, [["a.rs", "b.rs"]]);
    }

    #[test]
    fn a_name_that_is_handed_on_is_its_own_files() {
        let parts = [
            ("lib.rs", "mod a;\npub use a::{Inner, One as Two};\n"),
            ("a/mod.rs", "mod inner;\npub use self::inner::{Inner, One};\n"),
            ("a/inner.rs", "pub struct Inner; pub struct One;"),
        ];
        assert_eq!(graph(&parts), Vec::<Vec<String>>::new());
        let back = [parts[0], parts[1], ("a/inner.rs", "use crate::Two;\npub struct Inner(Two); pub struct One;")];
        assert_eq!(graph(&back), Vec::<Vec<String>>::new());
    }

    #[test]
    fn a_parent_and_its_child_can_be_a_circle() {
        let circles = graph(&[
            ("lib.rs", "mod a;\nuse a::A;\npub struct Root(A);"),
            ("a.rs", "use super::Root;\npub struct A(Option<Box<Root>>);"),
        ]);
        assert_eq!(circles, [["a.rs", "lib.rs"]]);
        let only_hands_on =
            graph(&[("lib.rs", "mod a;\npub use a::A;\npub struct Root;"), ("a.rs", "pub struct A(super::Root);")]);
        assert_eq!(only_hands_on, Vec::<Vec<String>>::new());
    }

    #[test]
    fn comments_and_tests_use_nothing() {
        let circles = graph(&[
            ("lib.rs", "mod a;\nmod b;\n"),
            ("a.rs", "use super::b::B;\nstruct A(B);"),
            ("b.rs", "// crate::a::A\nstruct B;\n#[cfg(test)]\nmod tests { use crate::a::A; fn t(_: A) {} }"),
        ]);
        assert_eq!(circles, Vec::<Vec<String>>::new());
    }
}
