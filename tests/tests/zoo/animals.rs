//! The animals that are refused: files that are no plugin, each bad in its own way.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use mshost_tests::fixtures::{Build, c_library, echo_of_another_api, fixture, fixture_built, with_deed};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::elf::Patched;

/// A bad plugin file.
pub struct Animal {
    /// The plugin that it pretends to be.
    pub name: &'static str,
    /// The label under which its refusal is counted.
    pub kind: &'static str,
    /// What lies in the folder.
    pub body: Body,
}

/// What lies in the folder of plugins.
pub enum Body {
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
    Twins,
}

impl Animal {
    /// Where it is to be seen.
    pub fn path(&self, plugins: &Path) -> PathBuf {
        plugins.join(format!("lib{}.so", self.name))
    }

    /// Puts it there, at once.
    pub fn enter(&self, plugins: &Path) {
        let path = self.path(plugins);
        match &self.body {
            Body::Bytes(bytes) => {
                let unseen = path.with_extension("tmp");
                fs::write(&unseen, bytes).unwrap();
                fs::rename(unseen, path).unwrap();
            }
            Body::Sparse(length) => fs::File::create(path).unwrap().set_len(*length).unwrap(),
            Body::Folder => fs::create_dir(path).unwrap(),
            Body::Pipe => mkfifo(&path, Mode::S_IRWXU).unwrap(),
            Body::Link(target) => symlink(target, path).unwrap(),
            Body::Twins => {
                fs::write(twin(&path), b"one").unwrap();
                fs::write(path, b"two").unwrap();
            }
        }
    }

    /// Puts a good file in its place, by a link: there are many animals, and a plugin is large.
    pub fn heal(&self, plugins: &Path, good: &Path) {
        let path = self.path(plugins);
        match self.body {
            Body::Folder => fs::remove_dir(&path).unwrap(),
            Body::Twins => fs::remove_file(twin(&path)).unwrap(),
            _ => {}
        }
        let unseen = path.with_extension("tmp");
        fs::hard_link(good, &unseen).unwrap();
        fs::rename(unseen, path).unwrap();
    }
}

/// Another name for the same plugin: without `lib`.
fn twin(path: &Path) -> PathBuf {
    path.with_file_name(path.file_name().unwrap().to_str().unwrap().trim_start_matches("lib"))
}

/// All of them. One that would end its process once it is loaded has no place here: the probe is no fence for those.
pub fn animals() -> Vec<Animal> {
    let mut all = not_whole();
    all.extend(not_a_library());
    all.extend(not_for_this_machine());
    all.extend(not_loadable());
    all.extend(bad_constructors());
    all.extend(not_of_our_abi());
    all.extend(bad_modules());
    all
}

fn animal(name: &'static str, kind: &'static str, body: impl Into<Body>) -> Animal {
    Animal { name, kind, body: body.into() }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<&[u8]> for Body {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<Patched> for Body {
    fn from(library: Patched) -> Self {
        Self::Bytes(library.0)
    }
}

fn library() -> Vec<u8> {
    fs::read(fixture("not-a-plugin")).unwrap()
}

fn not_whole() -> Vec<Animal> {
    let whole = library();
    let half = whole.len() / 2;
    vec![
        animal("empty", "not_a_library", &[][..]),
        animal("ten_bytes", "truncated", &whole[..10]),
        animal("header_alone", "truncated", &whole[..64]),
        animal("first_page_alone", "truncated", &whole[..4096]),
        animal("half", "truncated", &whole[..half]),
        animal("last_byte_missing", "truncated", &whole[..whole.len() - 1]),
        animal("zeros_after_the_headers", "not_a_library", Patched(whole).with_zeros_after_the_headers()),
    ]
}

fn not_a_library() -> Vec<Animal> {
    let random: Vec<u8> = (0..65_536_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    vec![
        animal("random", "not_a_library", random),
        animal("html", "not_a_library", &b"<!doctype html>\n<title>404 Not Found</title>\n"[..]),
        animal("script", "not_a_library", &b"#!/bin/sh\nexit 0\n"[..]),
        animal("windows", "not_a_library", &b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff"[..]),
        animal("macos", "not_a_library", &b"\xcf\xfa\xed\xfe\x0c\0\0\x01"[..]),
        animal("archive", "not_a_library", &b"!<arch>\n"[..]),
        animal("program", "not_a_library", fs::read("/bin/true").unwrap()),
        animal("old_program", "not_a_library", Patched(library()).of_type(2)),
        animal("object", "not_a_library", Patched(library()).of_type(1)),
        animal("core_dump", "not_a_library", Patched(library()).of_type(4)),
        animal("folder", "not_a_library", Body::Folder),
        animal("pipe", "not_a_library", Body::Pipe),
        animal("dangling", "io", Body::Link("/there/is/no/such/file".into())),
        animal("link_to_itself", "io", Body::Link("liblink_to_itself.so".into())),
        animal("twins", "ambiguous", Body::Twins),
        animal("huge", "not_a_library", Body::Sparse((1 << 30) + 1)),
    ]
}

fn not_for_this_machine() -> Vec<Animal> {
    vec![
        animal("risc_v", "wrong_architecture", Patched(library()).for_machine(243_u16.to_le_bytes())),
        animal("bits_32", "wrong_architecture", Patched(library()).for_machine(3_u16.to_le_bytes()).of_class(1)),
        animal("big_endian", "wrong_architecture", Patched(library()).for_machine(22_u16.to_be_bytes()).of_order(2)),
        animal("no_such_class", "not_a_library", Patched(library()).of_class(7)),
    ]
}

fn not_loadable() -> Vec<Animal> {
    let calls_nobody = "void of_nowhere(void); void call(void) { of_nowhere(); }";
    let needs_a_library = Patched(library()).with_text(b"libgcc_s.so.1", b"libgcc_x.so.1");
    vec![
        animal("missing_symbol", "open", c_library(calls_nobody, &[])),
        animal("missing_library", "open", needs_a_library),
        animal("newer_glibc", "open", Patched(library()).with_text(b"GLIBC_2.", b"GLIBC_9.")),
        animal("executable_stack", "not_a_library", c_library("int nothing;", &["-Wl,-z,execstack"])),
        animal("no_symbol", "not_a_plugin", library()),
        animal("no_libc", "not_a_plugin", c_library("int nothing(void) { return 0; }", &["-nostdlib"])),
    ]
}

fn bad_constructors() -> Vec<Animal> {
    let hostile = |name, kind, deed| animal(name, kind, with_deed("hostile", deed));
    vec![
        hostile("segfaults", "crashed", "segfault"),
        hostile("aborts", "crashed", "abort"),
        hostile("overflows_its_stack", "crashed", "overflow"),
        hostile("panics_in_a_constructor", "crashed", "panic"),
        hostile("exits", "probe", "exit"),
        hostile("never_ends", "timed_out", "hang"),
        hostile("leaves_a_helper", "not_a_plugin", "helper"),
    ]
}

fn not_of_our_abi() -> Vec<Animal> {
    let noise = "char _1as_0lib_1header_0root_bmodule_bloader[4096] = \"this is no header of abi_stable\";";
    let of_the_future = echo_of_another_api("future", "0.2.0", str::to_owned);
    let read = |path: PathBuf| fs::read(path).unwrap();
    vec![
        animal("other_header", "abi", c_library(noise, &[])),
        animal("other_module", "abi", read(fixture("other-layout"))),
        animal("newer_api", "abi", read(of_the_future)),
        animal("panics_abort", "panic_abort", read(fixture_built("echo", Build::PanicAbort))),
    ]
}

fn bad_modules() -> Vec<Animal> {
    let strange = |name, kind, deed| animal(name, kind, with_deed("strange-module", deed));
    vec![
        strange("describe_panics", "abi", "describe panics"),
        strange("describe_says_nothing", "abi", "describe says nothing"),
        strange("describe_is_no_json", "abi", "describe is no JSON"),
        strange("describe_lacks_a_key", "abi", "describe lacks a key"),
        strange("describe_is_endless", "abi", "describe is endless"),
        strange("init_panics", "init", "init panics"),
        strange("init_fails", "init", "init fails"),
        strange("init_hangs", "timed_out", "init hangs"),
    ]
}
