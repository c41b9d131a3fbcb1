//! The kinds of values that keys have. A kind reads a value, names itself for the reference, and writes its JSON Schema.

mod addresses;
mod json;
mod lists;
mod names;
mod numbers;
mod quantities;
mod tables;
mod words;

pub(crate) use addresses::{A_BUS_URL, AdminAddressKind, BusUrlKind, ListenKind};
pub(crate) use json::schema_definitions;
pub(crate) use lists::ListKind;
pub(crate) use names::{HostNameKind, PathKind, PluginNameKind, ServerNameKind, WorkerTypeKind, WorkingPathKind};
pub(crate) use numbers::{IntegerKind, KeepaliveMillisecondsKind, NumberKind, RestartLimitKind};
pub(crate) use quantities::{DurationKind, DurationOrOffKind, SizeKind};
pub(crate) use tables::{PluginConfigKind, TableKind, WorkersKind};
pub(crate) use words::{BooleanKind, CodecKind, WordKind};
