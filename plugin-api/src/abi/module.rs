//! Root module of a plugin: the one symbol of its library, how it is made, and how it is read.

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::{
    AbiInstability, CheckingGlobals, ExpectedFound, check_layout_compatibility_with_globals,
};
use abi_stable::library::{AbiHeader, AbiHeaderRef, CheckTypeLayout, LibraryError, RootModule, RootModuleResult};
use abi_stable::marker_type::ErasedPrefix;
use abi_stable::package_version_strings;
use abi_stable::prefix_type::WithMetadata;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RResult, RString};
use abi_stable::type_layout::{TLFieldOrFunction, TypeLayout};

pub use abi_stable::library::LibHeader;

use super::traits::{HostObject, PluginObject};

/// The name of the header static, as `abi_stable` mangles it. [`crate::export_plugin!`] repeats it as a literal.
pub const HEADER_SYMBOL: &str = "_1as_0lib_1header_0root_bmodule_bloader";

/// The root module that a plugin's library exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef)))]
#[sabi(missing_field(panic))]
pub struct PluginModule {
    /// What it is, as the JSON text of a [`crate::Manifest`]. Starts nothing.
    pub describe: extern "C" fn() -> RString,
    /// Starts the plugin's runtime and log. To be called once, on a thread of the generation.
    #[sabi(last_prefix_field)]
    pub init: extern "C" fn(HostObject) -> RResult<PluginObject, RString>,
}

impl RootModule for PluginModuleRef {
    abi_stable::declare_root_module_statics! {PluginModuleRef}
    const BASE_NAME: &'static str = "mshost_plugin";
    const NAME: &'static str = "mshost_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// The plugin's functions, implemented by [`crate::export_plugin!`].
pub trait Exported: 'static {
    /// As [`PluginModule::describe`].
    fn describe() -> String;
    /// As [`PluginModule::init`].
    ///
    /// # Errors
    /// A message where the plugin cannot be used.
    fn init(host: HostObject) -> Result<PluginObject, String>;
}

struct Module<E>(E);

impl<E: Exported> Module<E> {
    // A static in the library, so that loading leaks nothing.
    const VALUE: &'static WithMetadata<PluginModule> =
        &WithMetadata::new(PluginModule { describe: describe::<E>, init: init::<E> });
}

extern "C" fn describe<E: Exported>() -> RString {
    // An author's `JsonSchema` may panic. Hosts show what stands under this key.
    let text = super::fenced(E::describe).unwrap_or_else(|panic| serde_json::json!({ "error": panic }).to_string());
    text.into()
}

extern "C" fn init<E: Exported>(host: HostObject) -> RResult<PluginObject, RString> {
    // Has this copy of `std` make its key for the end of threads here, on a thread of the host's, which looks for it and gives it
    // back when the library is gone. On the plugin's own threads it could not.
    std::hint::black_box(std::thread::current());
    super::fenced(|| E::init(host)).unwrap_or_else(Err).map_err(RString::from).into()
}

extern "C" fn constructor<E: Exported>() -> RootModuleResult {
    // SAFETY: erases the type that `lib_header` declares this constructor to return.
    RResult::ROk(unsafe { Module::<E>::VALUE.static_as_prefix().cast::<ErasedPrefix>() })
}

/// The header static of a plugin.
#[must_use]
pub const fn lib_header<E: Exported>() -> LibHeader {
    // SAFETY: `constructor` returns an erased `PrefixRef<PluginModule_Prefix>`, which is what `PluginModuleRef` wraps.
    unsafe { LibHeader::from_constructor::<PluginModuleRef>(constructor::<E>, CheckTypeLayout::Yes) }
}

/// The error of a library whose root module cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Made with another `abi_stable`, or for a machine that passes values in other ways.
    #[error("its ABI header is not ours ({0})")]
    Header(String),
    /// Made with a `mshost-plugin-api` whose types are others.
    #[error("its plugin-api {theirs} does not fit the host's {ours} ({difference})")]
    Layout {
        /// The host's version of this crate.
        ours: String,
        /// The plugin's.
        theirs: String,
        /// The first difference, in one line.
        difference: String,
    },
    /// Its constructor failed.
    #[error("its root module cannot be made: {0}")]
    Constructor(String),
}

/// Checks a library's header and layouts, and gets its module.
///
/// # Errors
/// [`OpenError`], with nothing of the library's code or memory in it.
///
/// # Safety
/// `header` is the address of the symbol [`HEADER_SYMBOL`] in a library that stays open for as long as the module, or
/// anything got from it, is used.
pub unsafe fn open(header: *const ()) -> Result<PluginModuleRef, OpenError> {
    // SAFETY: `AbiHeaderRef` is a transparent reference to the `AbiHeader` that every version of abi_stable has at the
    // start of the symbol; `upgrade` checks its magic before anything behind it is read.
    let header: AbiHeaderRef = unsafe { std::mem::transmute(header) };
    let header = header.upgrade().map_err(|error| OpenError::Header(header_error(error)))?;
    let theirs = header.version_strings().version.to_string();
    let ours = PluginModuleRef::VERSION_STRINGS.version.to_string();
    let layout_error = |difference| OpenError::Layout { ours: ours.clone(), theirs: theirs.clone(), difference };
    let layout = header.layout().ok_or_else(|| layout_error("it exports no layout".to_owned()))?;
    check_both_ways(<PluginModuleRef as StableAbi>::LAYOUT, layout).map_err(|mismatch| match mismatch {
        Mismatch::Package(package) => OpenError::Header(format!("it is one of the crate `{package}`")),
        Mismatch::Layout(difference) => layout_error(difference),
    })?;
    // SAFETY: the layouts have just been found compatible.
    unsafe { header.unchecked_layout::<PluginModuleRef>() }
        .map_err(|error| OpenError::Constructor(error.to_string().lines().collect::<Vec<_>>().join(" ")))
}

/// The difference between two root modules.
enum Mismatch {
    /// Theirs is of another crate altogether, this one.
    Package(String),
    /// By this, first of all.
    Layout(String),
}

/// One of the two may be newer: its types then extend the other's. `abi_stable` takes the first for what is expected
/// and lets only the second have more, so ask both ways round. The globals are made afresh each time: abi_stable's own
/// keep pointers into libraries that are unloaded later.
fn check_both_ways(ours: &'static TypeLayout, theirs: &'static TypeLayout) -> Result<(), Mismatch> {
    let check = |expected, found| check_layout_compatibility_with_globals(expected, found, &CheckingGlobals::new());
    let Err(errors) = check(ours, theirs) else { return Ok(()) };
    if check(theirs, ours).is_ok() {
        return Ok(());
    }
    let package = errors.errors.iter().flat_map(|error| &error.errs).find_map(|error| match error {
        AbiInstability::Package(packages) => Some(shorten(&packages.found)),
        _ => None,
    });
    if let Some(package) = package {
        return Err(Mismatch::Package(package));
    }
    // Printed whole, the errors are some 900 lines: every type that holds the one that differs, each in full.
    let first = errors.errors.iter().find_map(|error| {
        let what = difference(error.errs.first()?);
        let place = error.stack_trace.last().map(|place| match place.found {
            TLFieldOrFunction::Field(field) => field.full_type().to_string(),
            TLFieldOrFunction::Function(function) => function.to_string(),
        });
        Some(place.map_or(what.clone(), |place| format!("{what}, in {place}")))
    });
    Err(Mismatch::Layout(shorten(&first.unwrap_or_else(|| "the root modules differ".to_owned()))))
}

fn difference(found: &AbiInstability) -> String {
    fn pair<T: std::fmt::Display>(what: &str, pair: &ExpectedFound<T>) -> String {
        format!("{what}: expected {}, found {}", pair.expected, pair.found)
    }
    match found {
        AbiInstability::Name(names) => pair("type", names),
        AbiInstability::Package(names) => pair("package", names),
        AbiInstability::PackageVersion(versions) => pair("version", versions),
        AbiInstability::Size(sizes) => pair("size in bytes", sizes),
        AbiInstability::Alignment(sizes) => pair("alignment in bytes", sizes),
        AbiInstability::FieldCountMismatch(counts) => pair("number of fields", counts),
        AbiInstability::UnexpectedField(fields) => pair("field", fields),
        AbiInstability::TooManyVariants(counts) => pair("number of variants", counts),
        AbiInstability::UnexpectedVariant(variants) => pair("variant", variants),
        other => format!("{other:?}"),
    }
}

fn header_error(error: LibraryError) -> String {
    match error {
        LibraryError::InvalidAbiHeader(found) if found.magic_string == AbiHeader::VALUE.magic_string => {
            let (ours, theirs) = (AbiHeader::VALUE, found);
            let version = |header: AbiHeader| format!("{}.{}", header.abi_major, header.abi_minor);
            format!("it was made with abi_stable {}, this host with {}", version(theirs), version(ours))
        }
        LibraryError::InvalidAbiHeader(_) => "what it exports was not made with abi_stable".to_owned(),
        other => shorten(&other.to_string()),
    }
}

/// One line, of a length that a log can stand.
fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(300).collect()
}
