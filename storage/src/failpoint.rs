//! Named places at which a crash test makes the process die, before and after each write that a promise rests on.
//!
//! Builds without debug assertions have none, unless the feature `failpoints` is on: there [`hit`] is nothing. A process dies
//! at most once, by an abort, so that no code of it runs any more. It must never change what an unarmed process does.
//!
//! | place | before, after |
//! |---|---|
//! | `log.seal` | a block is given its place: header, check sum, encryption |
//! | `log.append` | the write and sync of a group that holds appends; `log.append.shown`: its readers see it |
//! | `log.trim` | the write and sync of a group that holds trims |
//! | `log.delete` | the write and sync of a stream's deletion |
//! | `meta.<family>` | the commit of a change of the family: `shard` is a split or merge, `checkpoint` a delivery's commit, |
//! | | `data-key` a new data key; `stream`, `intent`, `table`, … |

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// Whether this build has failpoints.
pub const ENABLED: bool = cfg!(any(debug_assertions, feature = "failpoints"));

#[derive(Debug)]
struct Armed {
    name: String,
    left: AtomicU32,
}

static ARMED: OnceLock<Armed> = OnceLock::new();

/// Why a failpoint was not armed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The build has none.
    #[error("this build has no failpoints, and cannot die at {0}")]
    Absent(String),
    /// Not `NAME` or `NAME:HITS`.
    #[error("the failpoint {0:?} is not a name, or a name, ':' and a number of hits from 1")]
    Malformed(String),
}

/// Makes the process die when it comes by a place so often: `NAME:HITS`, or `NAME` for the first time. The first call holds.
pub fn arm(at: &str) -> Result<(), Error> {
    if !ENABLED {
        return Err(Error::Absent(at.to_owned()));
    }
    let (name, left) = at.split_once(':').unwrap_or((at, "1"));
    let left = left.parse().ok().filter(|left| *left > 0 && !name.is_empty());
    let left = left.ok_or_else(|| Error::Malformed(at.to_owned()))?;
    ARMED.get_or_init(|| Armed { name: name.to_owned(), left: AtomicU32::new(left) });
    Ok(())
}

/// The process comes by the place `group` at `moment`, such as `before`.
#[inline]
pub fn hit(group: &str, moment: &str) {
    if ENABLED && let Some(armed) = ARMED.get() {
        armed.hit(group, moment);
    }
}

impl Armed {
    fn hit(&self, group: &str, moment: &str) {
        let here = self.name.strip_prefix(group).and_then(|rest| rest.strip_prefix('.')) == Some(moment);
        if here && self.left.fetch_sub(1, SeqCst) == 1 {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_failpoint_is_refused() {
        for at in ["", ":1", "log.append.before:0", "log.append.before:x", "log.append.before:-1"] {
            assert_eq!(arm(at), Err(Error::Malformed(at.to_owned())));
        }
        assert!(ARMED.get().is_none());
    }

    #[test]
    fn an_armed_place_counts_its_own_hits_alone() {
        let armed = Armed { name: "log.append.before".to_owned(), left: AtomicU32::new(3) };
        for (group, moment) in
            [("log.append", "after"), ("log", "before"), ("log.trim", "before"), ("log.append.", "before")]
        {
            armed.hit(group, moment);
        }
        assert_eq!(armed.left.load(SeqCst), 3);
        armed.hit("log.append", "before");
        assert_eq!(armed.left.load(SeqCst), 2);
    }
}
