//! Whether the ports are as closed as the settings say: without authentication they are for this machine only, unless
//! somebody says otherwise in so many words.

use std::net::SocketAddr;

use crate::auth::AuthMode;
use crate::config::Settings;
use crate::error::{Error, Result};

/// Refuses settings that would open the server to a network that nobody meant to.
///
/// # Errors
/// Where auth is off, an address is not of the loopback interface, and `auth_off_anywhere` is not set.
pub(super) fn check(settings: &Settings) -> Result<()> {
    if settings.auth == AuthMode::On || settings.auth_off_anywhere {
        return Ok(());
    }
    let always = [("grpc_listen", settings.grpc_listen), ("http_listen", settings.http_listen)];
    for (setting, addr) in always.into_iter().chain(settings.kinesis_listen.map(|addr| ("kinesis_listen", addr))) {
        if !is_loopback(addr) {
            return Err(Error::invalid(format_args!(
                "{setting} is {addr}, which other machines reach, and auth is \"off\": set auth = \"on\" (MILLRACE_AUTH=on), \
                 or listen on 127.0.0.1, or say that everybody may do everything by auth_off_anywhere = true \
                 (MILLRACE_AUTH_OFF_ANYWHERE=true)"
            )));
        }
    }
    Ok(())
}

/// Says at the start what the ports are open to.
pub(super) fn tell(settings: &Settings, grpc: SocketAddr, http: SocketAddr) {
    let is_local = is_loopback(grpc) && is_loopback(http) && settings.kinesis_listen.is_none_or(is_loopback);
    let is_tls = settings.tls.cert_path.is_some();
    if settings.auth == AuthMode::On && !settings.encryption.has_master() {
        tracing::warn!("auth is on without a master key: no principal can be made (encryption.master_key_file)");
    }
    match settings.auth {
        AuthMode::Off if is_local => {
            tracing::info!("auth is off: everybody on this machine may do everything");
        }
        AuthMode::Off => {
            tracing::warn!(%grpc, %http, "auth is off: everybody who reaches these addresses may do everything");
        }
        AuthMode::On if !is_local && !is_tls => {
            tracing::warn!(%grpc, %http, "auth is on without TLS: whoever listens on the network sees tokens (tls.cert_path)");
        }
        AuthMode::On => tracing::info!("auth is on"),
    }
}

fn is_loopback(addr: SocketAddr) -> bool {
    addr.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_auth_only_this_machine_is_let_in_unless_forced() {
        let settings = |listen: &str, auth, auth_off_anywhere| Settings {
            http_listen: listen.parse().unwrap(),
            auth,
            auth_off_anywhere,
            ..Settings::default()
        };
        for local in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(check(&settings(local, AuthMode::Off, false)).is_ok(), "{local}");
        }
        for open in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
            let error = check(&settings(open, AuthMode::Off, false)).unwrap_err().to_string();
            assert!(error.contains("http_listen") && error.contains("auth_off_anywhere"), "{error}");
            assert!(check(&settings(open, AuthMode::Off, true)).is_ok());
            assert!(check(&settings(open, AuthMode::On, false)).is_ok());
            let kinesis = Settings { kinesis_listen: open.parse().ok(), ..Settings::default() };
            assert!(check(&kinesis).unwrap_err().to_string().contains("kinesis_listen"));
        }
    }
}
