//! The plugin files that are refused, each bad in its own way.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use mshost_tests::fixtures::{c_library, echo_of_another_api, fixture, panic_abort_plugin, with_mode};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::patched_elf::Patched;

/// A bad plugin file.
pub struct BadPlugin {
    /// The plugin that it pretends to be.
    pub name: &'static str,
    /// The label under which its refusal is counted.
    pub kind: &'static str,
    /// What lies in the folder.
    pub body: FileContent,
}

/// What lies in the folder of plugins.
pub enum FileContent {
    /// A file.
    Bytes(Vec<u8>),
    /// A file of so many bytes, none of which takes room on the disk.
    Sparse(u64),
    /// A folder.
    Folder,
    /// A pipe with a name.
    Pipe,
    /// A link to this.
    Link(PathBuf),
    /// Two files, of which none can be chosen.
    TwoFiles,
}

impl BadPlugin {
    /// Where it is to be seen.
    pub fn path(&self, plugins: &Path) -> PathBuf {
        plugins.join(format!("lib{}.so", self.name))
    }

    /// Puts it there, at once.
    pub fn put(&self, plugins: &Path) {
        let path = self.path(plugins);
        match &self.body {
            FileContent::Bytes(bytes) => {
                let unseen = path.with_extension("tmp");
                fs::write(&unseen, bytes).unwrap();
                fs::rename(unseen, path).unwrap();
            }
            FileContent::Sparse(length) => fs::File::create(path).unwrap().set_len(*length).unwrap(),
            FileContent::Folder => fs::create_dir(path).unwrap(),
            FileContent::Pipe => mkfifo(&path, Mode::S_IRWXU).unwrap(),
            FileContent::Link(target) => symlink(target, path).unwrap(),
            FileContent::TwoFiles => {
                fs::write(namesake(&path), b"one").unwrap();
                fs::write(path, b"two").unwrap();
            }
        }
    }

    /// Puts a good file in its place, by a link: there are many cases, and a plugin is large.
    pub fn replace_by_good(&self, plugins: &Path, good: &Path) {
        let path = self.path(plugins);
        match self.body {
            FileContent::Folder => fs::remove_dir(&path).unwrap(),
            FileContent::TwoFiles => fs::remove_file(namesake(&path)).unwrap(),
            _ => {}
        }
        let unseen = path.with_extension("tmp");
        fs::hard_link(good, &unseen).unwrap();
        fs::rename(unseen, path).unwrap();
    }
}

/// Another name for the same plugin: without `lib`.
fn namesake(path: &Path) -> PathBuf {
    path.with_file_name(path.file_name().unwrap().to_str().unwrap().trim_start_matches("lib"))
}

/// All of them. One that would end its process once it is loaded has no place here: the probe is no fence for those.
pub fn cases() -> Vec<BadPlugin> {
    let mut all = not_whole();
    all.extend(not_a_library());
    all.extend(not_for_this_machine());
    all.extend(not_loadable());
    all.extend(bad_constructors());
    all.extend(not_of_our_abi());
    all.extend(bad_modules());
    all
}

fn case(name: &'static str, kind: &'static str, body: impl Into<FileContent>) -> BadPlugin {
    BadPlugin { name, kind, body: body.into() }
}

impl From<Vec<u8>> for FileContent {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<&[u8]> for FileContent {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<Patched> for FileContent {
    fn from(library: Patched) -> Self {
        Self::Bytes(library.0)
    }
}

fn library() -> Vec<u8> {
    fs::read(fixture("not-a-plugin")).unwrap()
}

fn not_whole() -> Vec<BadPlugin> {
    let whole = library();
    let half = whole.len() / 2;
    vec![
        case("empty", "not_a_library", &[][..]),
        case("ten_bytes", "truncated", &whole[..10]),
        case("header_alone", "truncated", &whole[..64]),
        case("first_page_alone", "truncated", &whole[..4096]),
        case("half", "truncated", &whole[..half]),
        case("last_byte_missing", "truncated", &whole[..whole.len() - 1]),
        case("zeros_after_the_headers", "not_a_library", Patched(whole).with_zeros_after_the_headers()),
    ]
}

fn not_a_library() -> Vec<BadPlugin> {
    let random: Vec<u8> = (0..65_536_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    vec![
        case("random", "not_a_library", random),
        case("html", "not_a_library", &b"<!doctype html>\n<title>404 Not Found</title>\n"[..]),
        case("script", "not_a_library", &b"#!/bin/sh\nexit 0\n"[..]),
        case("windows", "not_a_library", &b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff"[..]),
        case("macos", "not_a_library", &b"\xcf\xfa\xed\xfe\x0c\0\0\x01"[..]),
        case("archive", "not_a_library", &b"!<arch>\n"[..]),
        case("program", "not_a_library", fs::read("/bin/true").unwrap()),
        case("old_program", "not_a_library", Patched(library()).of_type(2)),
        case("object", "not_a_library", Patched(library()).of_type(1)),
        case("core_dump", "not_a_library", Patched(library()).of_type(4)),
        case("folder", "not_a_library", FileContent::Folder),
        case("pipe", "not_a_library", FileContent::Pipe),
        case("dangling", "io", FileContent::Link("/there/is/no/such/file".into())),
        case("link_to_itself", "io", FileContent::Link("liblink_to_itself.so".into())),
        case("two_files", "ambiguous", FileContent::TwoFiles),
        case("huge", "not_a_library", FileContent::Sparse((1 << 30) + 1)),
    ]
}

fn not_for_this_machine() -> Vec<BadPlugin> {
    vec![
        case("risc_v", "wrong_architecture", Patched(library()).for_machine(243_u16.to_le_bytes())),
        case("bits_32", "wrong_architecture", Patched(library()).for_machine(3_u16.to_le_bytes()).of_class(1)),
        case("big_endian", "wrong_architecture", Patched(library()).for_machine(22_u16.to_be_bytes()).of_order(2)),
        case("no_such_class", "not_a_library", Patched(library()).of_class(7)),
    ]
}

fn not_loadable() -> Vec<BadPlugin> {
    let calls_nobody = "void of_nowhere(void); void call(void) { of_nowhere(); }";
    let needs_a_library = Patched(library()).with_text(b"libgcc_s.so.1", b"libgcc_x.so.1");
    vec![
        case("missing_symbol", "open", c_library(calls_nobody, &[])),
        case("missing_library", "open", needs_a_library),
        case("newer_glibc", "open", Patched(library()).with_text(b"GLIBC_2.", b"GLIBC_9.")),
        case("executable_stack", "not_a_library", c_library("int nothing;", &["-Wl,-z,execstack"])),
        case("no_symbol", "not_a_plugin", library()),
        case("no_libc", "not_a_plugin", c_library("int nothing(void) { return 0; }", &["-nostdlib"])),
    ]
}

fn bad_constructors() -> Vec<BadPlugin> {
    let bad_constructor = |name, kind, mode| case(name, kind, with_mode("bad-constructor", mode));
    vec![
        bad_constructor("segfaults", "crashed", "segfault"),
        bad_constructor("aborts", "crashed", "abort"),
        bad_constructor("overflows_its_stack", "crashed", "overflow"),
        bad_constructor("panics_in_a_constructor", "crashed", "panic"),
        bad_constructor("exits", "probe", "exit"),
        bad_constructor("never_ends", "timed_out", "hang"),
        bad_constructor("leaves_a_helper", "not_a_plugin", "helper"),
    ]
}

fn not_of_our_abi() -> Vec<BadPlugin> {
    let noise = "char _1as_0lib_1header_0root_bmodule_bloader[4096] = \"this is no header of abi_stable\";";
    let of_the_future = echo_of_another_api("future", "0.2.0", str::to_owned);
    let read = |path: PathBuf| fs::read(path).unwrap();
    vec![
        case("other_header", "abi", c_library(noise, &[])),
        case("other_module", "abi", read(fixture("other-layout"))),
        case("newer_api", "abi", read(of_the_future)),
        case("panics_abort", "panic_abort", read(panic_abort_plugin())),
    ]
}

fn bad_modules() -> Vec<BadPlugin> {
    let bad_module = |name, kind, mode| case(name, kind, with_mode("bad-root-module", mode));
    vec![
        bad_module("describe_panics", "abi", "describe panics"),
        bad_module("describe_says_nothing", "abi", "describe says nothing"),
        bad_module("describe_is_no_json", "abi", "describe is no JSON"),
        bad_module("describe_lacks_a_key", "abi", "describe lacks a key"),
        bad_module("describe_is_endless", "abi", "describe is endless"),
        bad_module("init_panics", "init", "init panics"),
        bad_module("init_fails", "init", "init fails"),
        bad_module("init_hangs", "timed_out", "init hangs"),
    ]
}
