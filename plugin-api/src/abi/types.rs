//! Plain values of the ABI. None of them ever changes (see the rules in [`super`]).

use std::os::fd::{FromRawFd, OwnedFd};
use std::slice;

use abi_stable::StableAbi;
use abi_stable::std_types::{ROption, RResult, RSlice, RStr, RString, Tuple2};
use async_ffi::FfiFuture;
use bytes::Bytes;

/// The error of a call into a plugin.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct AbiError {
    /// The message.
    pub message: RString,
    /// One of [`error_kind`]; an unknown one counts as [`error_kind::LATER`].
    pub kind: u8,
}

/// The values of [`AbiError::kind`].
pub mod error_kind {
    /// It may pass.
    pub const LATER: u8 = 0;
    /// It would fail again.
    pub const NEVER: u8 = 1;
    /// The plugin's code panicked.
    pub const PANICKED: u8 = 2;
}

/// `Ok` without a value (`()` has no stable layout as an `RResult`'s payload on all compilers).
#[repr(C)]
#[derive(StableAbi, Debug, Clone, Copy, Default)]
pub struct AbiUnit {
    _reserved: u8,
}

/// Shared bytes that stay where they are: the receiver reads them in place and the maker's `release` frees them.
#[repr(C)]
#[derive(StableAbi)]
pub struct AbiBytes {
    start: *const u8,
    len: usize,
    owner: *mut (),
    release: unsafe extern "C" fn(*mut ()),
}

// SAFETY: the bytes are immutable and `owner` is a `Box<Bytes>`, which is Send and Sync; only this module makes one.
unsafe impl Send for AbiBytes {}
// SAFETY: as above; a shared `AbiBytes` gives out nothing but `&[u8]`.
unsafe impl Sync for AbiBytes {}

impl AbiBytes {
    /// Hands over a reference to `bytes`.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        let owner = Box::new(bytes);
        Self { start: owner.as_ptr(), len: owner.len(), owner: Box::into_raw(owner).cast(), release: release_bytes }
    }

    /// The bytes as this side's own shared bytes, without copying them.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        if self.len == 0 { Bytes::new() } else { Bytes::from_owner(self) }
    }
}

impl AsRef<[u8]> for AbiBytes {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `start` and `len` come from a `Bytes` that `owner` keeps alive until `release`, which only our Drop
        // calls; a `Bytes` never moves or changes its contents.
        unsafe { slice::from_raw_parts(self.start, self.len) }
    }
}

impl Drop for AbiBytes {
    fn drop(&mut self) {
        // SAFETY: `owner` came from the same `new` as `release`, and is released only here, once.
        unsafe { (self.release)(self.owner) }
    }
}

/// Dropping a `Bytes` runs no code but its own vtable's, which does not panic.
///
/// # Safety
/// `owner` is the `Box<Bytes>` that [`AbiBytes::new`] leaked, and this is its only release.
unsafe extern "C" fn release_bytes(owner: *mut ()) {
    // SAFETY: by this function's contract.
    drop(unsafe { Box::from_raw(owner.cast::<Bytes>()) });
}

/// A pipeline, and the position in it of the worker that is to act.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiRoute<'a> {
    /// `workers_list`, one address a line: no address can hold a newline.
    pub addresses: RStr<'a>,
    /// `workers_list_id`.
    pub position: usize,
}

/// A job without its data, as its handler gets it.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiHeader<'a> {
    /// The job's id.
    pub id: RStr<'a>,
    /// The first job of the pipeline.
    pub correlation: RStr<'a>,
    /// The id of the worker that sent the job.
    pub sender: RStr<'a>,
    /// The id of the worker that sent the first job of the pipeline.
    pub origin: RStr<'a>,
    /// The pipeline.
    pub route: AbiRoute<'a>,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
}

/// A job to be sent. Everything is borrowed: the host copies what it keeps before it returns.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiSend<'a> {
    /// The pipeline, at the address of the receiver.
    pub route: AbiRoute<'a>,
    /// The data, in the bus's codec.
    pub payload: RSlice<'a, u8>,
}

/// The result of a send, now or later.
#[repr(C, u8)]
#[derive(StableAbi)]
pub enum AbiSent {
    /// The job's id, or the error.
    Done(RResult<RString, AbiSendError>),
    /// The host works on it. The future may be polled on any thread of the plugin; it is woken on a thread of the generation.
    Waiting(FfiFuture<RResult<RString, AbiSendError>>),
}

/// A refused send.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct AbiSendError {
    /// One of [`send_error_kind`]; an unknown one counts as [`send_error_kind::UNAVAILABLE`].
    pub kind: u8,
    /// An address or a message, by `kind`.
    pub text: RString,
    /// A size in bytes, by `kind`.
    pub size: u64,
    /// A limit in bytes, by `kind`.
    pub limit: u64,
}

/// The values of [`AbiSendError::kind`].
pub mod send_error_kind {
    /// `text` is the reason.
    pub const UNAVAILABLE: u8 = 0;
    /// `text` is the address.
    pub const NO_WORKER: u8 = 1;
    /// `size` and `limit` are set.
    pub const TOO_LARGE: u8 = 2;
    /// `text` is the last worker's address.
    pub const END_OF_ROUTE: u8 = 3;
    /// `text` is the codec's reason.
    pub const ENCODE: u8 = 4;
}

/// A job of this worker that has failed for good.
#[repr(C)]
#[derive(StableAbi)]
pub struct AbiFailure<'a> {
    /// The message.
    pub error: RStr<'a>,
    /// The job.
    pub id: RStr<'a>,
    /// The first job of its pipeline.
    pub correlation: RStr<'a>,
    /// The id of the worker that found out, where known.
    pub reporter: ROption<RStr<'a>>,
    /// The job's data, where known.
    pub payload: ROption<AbiBytes>,
}

/// One event of the plugin's log.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiRecord<'a> {
    /// 1 is error, 5 is trace; anything above is trace.
    pub level: u8,
    /// Usually the module that logs.
    pub target: RStr<'a>,
    /// The message.
    pub message: RStr<'a>,
    /// Everything else, as text. The spans that the event is in come as one field, `span`.
    pub fields: RSlice<'a, Tuple2<RStr<'a>, RStr<'a>>>,
}

/// Takes over a file descriptor that the host has given to the plugin.
pub(crate) fn adopt_fd(fd: i32) -> OwnedFd {
    // SAFETY: `Services::listener` gives its receiver a fresh duplicate that has no other owner.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
