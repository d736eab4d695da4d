//! What a declaration asks of its caller: who delivers a stream into a table reads the one and writes the other,
//! and who imports into a stream puts into it.

use crate::auth::{Action as Needed, Resource};
use crate::delivery::{Action, Asked};

/// The actions that one object of a declaration needs, each with the resource that it is about.
pub(super) fn needs(asked: &Asked<'_>) -> Vec<(Needed, Resource)> {
    let which = |action: Action, [unchanged, created, updated]: [Needed; 3]| match action {
        Action::Unchanged => unchanged,
        Action::Created => created,
        Action::Updated => updated,
    };
    match *asked {
        Asked::Stream { name, action } => {
            let needed = which(action, [Needed::DescribeStream, Needed::CreateStream, Needed::UpdateStream]);
            vec![(needed, Resource::stream(name))]
        }
        Asked::Table { namespace, name, action } => {
            let needed = which(action, [Needed::DescribeTable, Needed::CreateTable, Needed::UpdateTable]);
            vec![(needed, Resource::table(namespace, name))]
        }
        Asked::Delivery { name, action: Action::Unchanged, .. } => {
            vec![(Needed::DescribeDelivery, Resource::delivery(name))]
        }
        Asked::Import { name, action: Action::Unchanged, .. } => vec![(Needed::DescribeImport, Resource::import(name))],
        Asked::Import { name, stream, .. } => {
            vec![(Needed::CreateImport, Resource::import(name)), (Needed::Put, Resource::stream(stream))]
        }
        Asked::Delivery { name, stream, table, .. } => {
            let mut needs =
                vec![(Needed::CreateDelivery, Resource::delivery(name)), (Needed::Subscribe, Resource::stream(stream))];
            needs.extend(table.map(|(namespace, table)| (Needed::UpdateTable, Resource::table(namespace, table))));
            needs
        }
    }
}
