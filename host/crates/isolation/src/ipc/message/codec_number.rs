//! The number of a codec in messages.

use mshost_plugin_api::Codec;

use crate::ipc::ipc_error::IpcError;

/// The codec of a number.
///
/// # Errors
/// Where no codec has it.
pub(crate) fn codec_of(number: u8) -> Result<Codec, IpcError> {
    let known = Codec::ALL.into_iter().find(|codec| *codec as u8 == number);
    known.ok_or_else(|| IpcError::Malformed(format!("codec {number}")))
}
