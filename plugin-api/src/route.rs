//! Route of a job: its pipeline of addresses, and the position in it.

use std::sync::Arc;

use crate::ids::{Address, NameError};

/// The most workers that one job's pipeline may name.
pub const MAX_ROUTE_LEN: usize = 64;

/// The error of an invalid route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No address at all.
    #[error("a job needs at least one address, as in `[\"WB:*\"]`")]
    Empty,
    /// More than [`MAX_ROUTE_LEN`] addresses.
    #[error("a job's pipeline has at most {MAX_ROUTE_LEN} addresses, this one has {0}")]
    TooLong(usize),
    /// `workers_list_id` points outside of `workers_list`.
    #[error("position {position} is outside of a pipeline of {len}")]
    Position {
        /// `workers_list_id`.
        position: usize,
        /// The length of `workers_list`.
        len: usize,
    },
    /// One of the addresses is invalid.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// A pipeline (`workers_list`) and the position in it of the worker that is to act now (`workers_list_id`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    addresses: Arc<[Address]>,
    position: usize,
}

impl Route {
    /// A route at a given position.
    ///
    /// # Errors
    /// Where the pipeline is empty or too long, or the position is outside of it.
    pub fn new(addresses: impl Into<Arc<[Address]>>, position: usize) -> Result<Self, RouteError> {
        let addresses = addresses.into();
        match addresses.len() {
            0 => Err(RouteError::Empty),
            len if len > MAX_ROUTE_LEN => Err(RouteError::TooLong(len)),
            len if position >= len => Err(RouteError::Position { position, len }),
            _ => Ok(Self { addresses, position }),
        }
    }

    /// A route at its start, from addresses as text.
    ///
    /// # Errors
    /// As [`Route::new`], and where a text is not an address.
    pub fn parse<S: AsRef<str>>(addresses: impl IntoIterator<Item = S>) -> Result<Self, RouteError> {
        let addresses =
            addresses.into_iter().map(|text| Address::new(text.as_ref())).collect::<Result<Arc<[_]>, _>>()?;
        Self::new(addresses, 0)
    }

    /// A pipeline of one.
    #[must_use]
    pub fn only(address: Address) -> Self {
        Self { addresses: Arc::new([address]), position: 0 }
    }

    /// The whole pipeline.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The index of the worker that is to act now.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// The worker that is to act now.
    #[must_use]
    pub fn target(&self) -> &Address {
        // The constructors keep `position` inside of `addresses`, which never changes.
        &self.addresses[self.position]
    }

    /// The same pipeline one step on, or `None` at its last worker.
    #[must_use]
    pub fn next(&self) -> Option<Self> {
        let position = self.position + 1;
        (position < self.addresses.len()).then(|| Self { addresses: Arc::clone(&self.addresses), position })
    }
}
