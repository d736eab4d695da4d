//! The flag that names the server, for every command that is a client.

use millrace_client::{Client, DEFAULT_ENDPOINT};

use super::{Failure, Result};

#[derive(Debug, clap::Args)]
pub(super) struct Endpoint {
    /// The server's gRPC endpoint.
    #[arg(long, global = true, value_name = "URL", env = "MILLRACE_ENDPOINT", default_value = DEFAULT_ENDPOINT)]
    endpoint: String,
}

impl Endpoint {
    /// As the user named it.
    pub(super) fn url(&self) -> &str {
        &self.endpoint
    }

    /// A client of the server; connects on first use.
    pub(super) fn client(&self) -> Result<Client> {
        Client::connect(&self.endpoint).map_err(Failure::usage)
    }
}
