//! The states of the bus, the manager, plugins and workers, each with its name in JSON and in metric labels.

use std::fmt;

use serde::{Serialize, Serializer};

/// A state machine's states with the name that each has in JSON and in metric labels.
macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$state_doc:meta])* $state:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$state_doc])* $state,)+ }

        impl $name {
            /// Every state there is.
            pub const ALL: &[Self] = &[$(Self::$state,)+];

            /// Its name in JSON and in metric labels.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$state => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

states! {
    /// Whether the bus can be used.
    BusHealth {
        /// Yes.
        Connected = "connected",
        /// Not yet or not now; it is being tried.
        Away = "away",
        /// Never again.
        Closed = "closed",
    }
}

states! {
    /// What the manager of a host does for all the hosts on the bus.
    ManagerState {
        /// It probes which workers there are, and deletes the queues of dead ones.
        Active = "active",
        /// It listens, and takes over when the active one is gone.
        StandingBy = "standing_by",
        /// There is none (`[manager] enabled = false`).
        Off = "off",
    }
}

states! {
    /// What is being done with a plugin.
    PluginState {
        /// The topology names it, and its file is not there.
        Pending = "pending",
        /// The file is being copied, probed and loaded; an older generation may be serving meanwhile.
        Loading = "loading",
        /// It serves.
        Loaded = "loaded",
        /// The latest file cannot be used; an older generation may be serving still.
        Failed = "failed",
        /// Its workers keep running, but the file is gone: a restart of the host would miss it.
        FileGone = "file_gone",
        /// Nothing needs it.
        Unused = "unused",
    }
}

states! {
    /// What an instance of a worker does, through all of its restarts.
    InstanceState {
        /// It waits for its plugin.
        Pending = "pending",
        /// Its `start` runs.
        Starting = "starting",
        /// It takes jobs.
        Running = "running",
        /// It finishes its jobs and takes no more.
        Draining = "draining",
        /// It failed and will be started again after a while.
        Backoff = "backoff",
        /// It failed too often and will not be started again until its plugin or its topology changes, or an operator asks.
        Parked = "parked",
        /// It has ended.
        Stopped = "stopped",
    }
}
