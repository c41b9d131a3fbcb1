//! Good libraries, made bad at one place.

/// A library as bytes.
pub struct Patched(pub Vec<u8>);

impl Patched {
    pub fn of_class(self, class: u8) -> Self {
        self.with(4, &[class])
    }

    pub fn of_order(self, order: u8) -> Self {
        self.with(5, &[order])
    }

    pub fn of_type(self, kind: u16) -> Self {
        self.with(16, &kind.to_le_bytes())
    }

    pub fn for_machine(self, machine: [u8; 2]) -> Self {
        self.with(18, &machine)
    }

    /// Everything behind the table of segments is zero, as a file system may leave a file after a power failure.
    pub fn with_zeros_after_the_headers(mut self) -> Self {
        let segments = usize::from(u16::from_le_bytes([self.0[56], self.0[57]]));
        self.0[64 + 56 * segments..].fill(0);
        self
    }

    /// One text instead of another of its length, wherever it stands.
    pub fn with_text(mut self, old: &[u8], new: &[u8]) -> Self {
        assert_eq!(old.len(), new.len());
        let places: Vec<_> = (0..self.0.len() - old.len()).filter(|&at| self.0[at..].starts_with(old)).collect();
        assert!(!places.is_empty(), "the library has no {:?}", String::from_utf8_lossy(old));
        for at in places {
            self.0[at..at + old.len()].copy_from_slice(new);
        }
        self
    }

    fn with(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }
}
