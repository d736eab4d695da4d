//! Where reading starts.

use std::time::SystemTime;

use millrace_proto::v1;

use crate::record::unix_ms;

/// Where reading starts in a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The oldest record that is kept.
    TrimHorizon,
    /// Just after the newest record.
    Latest,
    /// The record with this offset; one that was trimmed means the trim horizon.
    Offset(u64),
    /// The record after this offset.
    After(u64),
    /// The first record that arrived at or after this time, to the millisecond.
    Time(SystemTime),
}

impl From<Position> for v1::Position {
    fn from(position: Position) -> Self {
        use v1::position::{Latest, Position as Wire, TrimHorizon};
        let position = match position {
            Position::TrimHorizon => Wire::TrimHorizon(TrimHorizon {}),
            Position::Latest => Wire::Latest(Latest {}),
            Position::Offset(offset) => Wire::Offset(offset),
            Position::After(offset) => Wire::AfterOffset(offset),
            Position::Time(time) => Wire::TimeMs(unix_ms(time)),
        };
        Self { position: Some(position) }
    }
}
