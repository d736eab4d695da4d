//! The flags that name the server and prove the caller, for every command that is a client.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use millrace_client::{Client, ConnectionSettings, DEFAULT_ENDPOINT};

use super::{Failure, Result};

#[derive(Debug, clap::Args)]
pub(super) struct Endpoint {
    /// The server's gRPC endpoint.
    #[arg(long, global = true, value_name = "URL", env = "MILLRACE_ENDPOINT", default_value = DEFAULT_ENDPOINT)]
    endpoint: String,
    /// The principal's token, ACCESS_KEY_ID.SECRET. Better given in the environment: arguments are seen by other users.
    #[arg(long, global = true, value_name = "TOKEN", env = "MILLRACE_TOKEN", hide_env_values = true)]
    token: Option<Token>,
    /// A file of certificates in PEM that an https:// server's must be signed by; those of the system when left out.
    #[arg(long, global = true, value_name = "FILE", env = "MILLRACE_CA_FILE")]
    ca_file: Option<PathBuf>,
}

/// A token that is not shown.
#[derive(Clone)]
struct Token(String);

impl FromStr for Token {
    type Err = std::convert::Infallible;

    fn from_str(token: &str) -> Result<Self, Self::Err> {
        Ok(Self(token.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

impl Endpoint {
    /// As the user named it.
    pub(super) fn url(&self) -> &str {
        &self.endpoint
    }

    /// A client of the server; connects on first use.
    pub(super) fn client(&self) -> Result<Client> {
        // A variable that is set to nothing is not set.
        let token = self.token.as_ref().map(|token| token.0.clone()).filter(|token| !token.is_empty());
        let ca_file = self.ca_file.clone().filter(|path| !path.as_os_str().is_empty());
        let ca_file = ca_file.filter(|_| self.endpoint.trim().starts_with("https://"));
        Client::connect_with(&self.endpoint, &ConnectionSettings { token, ca_file }).map_err(Failure::usage)
    }
}
