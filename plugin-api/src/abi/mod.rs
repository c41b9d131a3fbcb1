//! ABI between a host and a plugin, and all unsafe code of this crate. Authors need nothing of it.
//!
//! Both sides are compiled apart, perhaps by other compilers, against other versions of this crate. What crosses is
//! therefore `#[repr(C)]`, described by `abi_stable` layouts, and checked before anything is called. `abi_stable` is
//! seen nowhere outside of this module and of [`crate::export_plugin!`].
//!
//! # Who calls what
//! The host finds the header static, checks layouts, and asks the [`PluginModule`] to describe itself (JSON text) and
//! to [`init`](PluginModule). It gets a [`Plugin`], starts instances from it ([`AsyncInstance`], [`BlockingInstance`]),
//! and lends it a [`Host`] (log), [`Services`] (one an instance) and a [`Scope`] (one a job).
//!
//! # How this may grow
//! A plugin built against an older version must load in a newer host, and the other way round, as long as the version's
//! leading number (`0.x`: the second) is the same. So, for ever:
//! 1. Traits and [`PluginModule`] grow only at their end. The method marked `last_prefix_field` stays where it is, and
//!    each later one has a default (an older vtable does not have it).
//! 2. Plain structs and enums (`Abi…`) never change. A new fact gets a new method.
//! 3. What only describes (`describe`, configuration, schemas) is JSON, whose unknown keys both sides ignore.
//! 4. Discriminants that may grow (codec, kinds of errors, log levels) cross as a `u8`, and an unknown one has a meaning.
//!
//! # What both sides uphold
//! * No panic crosses: every entry, drops included, goes through [`fenced`]. One that reached an
//!   `extern "C"` frame would end the host.
//! * The library's code runs only on the host's threads of its generation and on threads that the plugin made itself;
//!   so does the drop of every value it made. The host copies what it keeps.
//! * Nothing of the library is used after [`Plugin::shutdown`] returned `true` and the plugin was dropped.

#![allow(unsafe_code)] // the one module of this crate that may: see each block's SAFETY

mod guarded;
mod module;
mod traits;
mod types;

pub(crate) use guarded::Guarded;
pub use guarded::fenced;
pub use module::{Exported, HEADER_SYMBOL, LibHeader, OpenError, PluginModule, PluginModuleRef, lib_header, open};
pub(crate) use traits::stateless;
pub use traits::{
    AsyncInstance, AsyncInstanceObject, BlockingInstance, BlockingInstanceObject, Host, HostObject, Plugin,
    PluginObject, Scope, ScopeObject, Services, ServicesObject,
};
pub(crate) use types::adopt_fd;
pub use types::{
    AbiBytes, AbiError, AbiFailure, AbiHeader, AbiRecord, AbiRoute, AbiSend, AbiSendError, AbiSent, AbiUnit,
    error_kind, send_error_kind,
};

pub use abi_stable::std_types::{RBox, ROption, RResult, RSlice, RStr, RString, RVec, Tuple2};
pub use abi_stable::type_level::downcasting::TD_Opaque;
pub use async_ffi::{FfiFuture, FutureExt, LocalFfiFuture};
