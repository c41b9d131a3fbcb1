//! The state of a bus.

/// Whether a bus can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusState {
    /// Yes.
    Connected,
    /// Not yet, or not now; it is being tried.
    Away {
        /// The last error.
        error: String,
    },
    /// Never again.
    Closed,
}
