//! Connections for reading shards. Each shard's pushes take one of the calls that a connection may have, so many shards take
//! several connections.

use std::collections::BTreeSet;

use crate::connection::Channel;
use millrace_proto::v1::record_service_client::RecordServiceClient;

use crate::connection::Connector;

/// Shards that are read over one connection; a server takes 256 calls on it.
const SHARDS_MAX: usize = 200;

/// Opens connections as shards come.
#[derive(Debug)]
pub(super) struct Connections {
    connector: Connector,
    open: Vec<RecordServiceClient<Channel>>,
    /// Places that were given back, each of a connection.
    free: BTreeSet<usize>,
    places: usize,
}

impl Connections {
    pub(super) fn new(connector: Connector) -> Self {
        Self { connector, open: Vec::new(), free: BTreeSet::new(), places: 0 }
    }

    /// A place for one shard, and the connection that it is on.
    pub(super) fn take(&mut self) -> (usize, RecordServiceClient<Channel>) {
        let place = self.free.pop_first().unwrap_or_else(|| {
            self.places += 1;
            self.places - 1
        });
        let connection = place / SHARDS_MAX;
        while self.open.len() <= connection {
            self.open.push(self.connector.records());
        }
        (place, self.open[connection].clone())
    }

    pub(super) fn give_back(&mut self, place: usize) {
        self.free.insert(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Client;

    #[tokio::test]
    async fn a_connection_has_so_many_shards_and_the_next_another() {
        let mut connections =
            Connections::new(Client::connect("127.0.0.1:1").unwrap().group_consumer("s", "g").connector);
        let places: Vec<usize> = (0..SHARDS_MAX).map(|_| connections.take().0).collect();
        assert_eq!((places, connections.open.len()), ((0..SHARDS_MAX).collect(), 1));
        connections.take();
        assert_eq!(connections.open.len(), 2);
        connections.give_back(7);
        assert_eq!(connections.take().0, 7);
        assert_eq!(connections.take().0, SHARDS_MAX + 1);
    }
}
