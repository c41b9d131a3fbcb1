//! Loading of plugin files: from a file in the plugin folder to an initialised plugin.
//!
//! A file is copied to a private path ([`ShadowCopy`], which checks its ELF headers), tried in a child process ([`probe()`]),
//! opened ([`library`], the only unsafe code of the host) and initialised ([`LoadedPlugin`]).

mod elf;
#[cfg(test)]
mod elf_tests;
mod library;
mod linker_message;
mod load_error;
mod loaded_plugin;
mod manifest;
mod mapped_libraries;
mod probe;
mod shadow_copy;

pub(crate) use library::ThreadKeys;
pub use library::free_thread_keys;
pub use load_error::{LoadError, LoadFailure};
pub(crate) use loaded_plugin::LoadedPlugin;
pub use mapped_libraries::MappedLibraries;
pub use probe::{PROBE_OPTION, probe, probe_main, program, set_probe_program};
pub use shadow_copy::ShadowCopy;
