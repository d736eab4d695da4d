//! `millrace principal`: who may call, and what they may do.

use std::time::Duration;

use bytesize::ByteSize;
use clap::Subcommand;
use millrace_client::proto::{
    AccessKey, CreatePrincipalRequest, Grant, NewAccessKey, Principal, PrincipalQuota, UpdatePrincipalRequest,
};
use serde::Serialize;

use super::confirm::{ConfirmArgs, confirm};
use super::limit::Limit;
use super::output::{OutputArgs, bytes_per_second, duration, facts, records_per_second, remark, table, time};
use super::{Endpoint, Failure, Result};

/// Make, show and change principals: who may call, with which keys, and what they may do.
///
/// With auth = "on" nobody may do anything without a grant. The first principal is an administrator; while there is none, it
/// can be made on the server's own machine and nothing else can be done. Secrets are shown once, when they are made.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace principal create admin                                   the first one may do everything
  export MILLRACE_TOKEN=…                                           as the answer says
  millrace principal create billing --grant \"put,get on stream/billing-*\"
  millrace principal grant billing query 'table/default.*'
  millrace principal revoke billing put,get 'stream/billing-*'
  millrace principal quota billing --in-bytes-per-second 5MiB
  millrace principal rotate billing --overlap 1h
  millrace principal disable billing

Actions are put, get, subscribe, create_stream, describe_stream, update_stream, delete_stream, join_group,
describe_group, reset_group, delete_group, create_delivery, describe_delivery, update_delivery, delete_delivery,
create_import, describe_import, update_import, delete_import, create_table, describe_table, update_table,
query, maintain, manage_transforms, metrics, admin, and * for all. Resources are stream/NAME, group/STREAM/NAME,
delivery/NAME, import/NAME, table/NAMESPACE.NAME, server, and * for all; in a NAME, * stands for any characters.")]
pub(super) struct PrincipalArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a principal, and show its key's secret this once.
    Create {
        /// Its name.
        name: String,
        /// What it may do, as "ACTION,… on RESOURCE"; repeatable.
        #[arg(long = "grant", value_name = "GRANT", value_parser = parse_grant)]
        grants: Vec<Grant>,
        #[command(flatten)]
        quota: QuotaArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// List principals.
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show a principal with its keys and grants.
    Describe {
        /// Its name.
        name: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Allow a principal more.
    Grant {
        #[command(flatten)]
        what: GrantArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Take a grant away, as it was given. What the principal has open ends.
    Revoke {
        #[command(flatten)]
        what: GrantArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Limit what a principal may put, over all streams.
    Quota {
        /// Its name.
        name: String,
        #[command(flatten)]
        quota: QuotaArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Refuse a principal from now on, and keep it.
    Disable {
        /// Its name.
        name: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Let a disabled principal in again.
    Enable {
        /// Its name.
        name: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Give a principal a new key, and show its secret this once.
    Rotate {
        /// Its name.
        name: String,
        /// How long the old key stays in force: to 7d. Left out, it ends at once.
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "0s")]
        overlap: Duration,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Delete a principal.
    Delete {
        /// Its name.
        name: String,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
}

#[derive(Debug, clap::Args)]
struct GrantArgs {
    /// The principal's name.
    name: String,
    /// Actions, apart by commas, or "*".
    #[arg(value_name = "ACTIONS")]
    actions: String,
    /// Such as "stream/flights-*", "server" or "*".
    #[arg(value_name = "RESOURCE")]
    resource: String,
}

impl GrantArgs {
    fn grant(&self) -> Grant {
        grant(&self.actions, &self.resource)
    }
}

#[derive(Debug, clap::Args)]
struct QuotaArgs {
    /// What it may put a second; "off" for no limit.
    #[arg(long, value_name = "SIZE")]
    in_bytes_per_second: Option<Limit<ByteSize>>,
    /// Records that it may put a second; "off" for no limit.
    #[arg(long, value_name = "COUNT")]
    in_records_per_second: Option<Limit<u64>>,
    /// How much of its quota is saved up, as time at its rate: to 1m.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    burst: Option<Duration>,
    /// Whether puts over the quota wait their turn, rather than being refused.
    #[arg(long)]
    delay: bool,
}

impl QuotaArgs {
    /// What is given; `None` where nothing is.
    fn on_wire(&self) -> Option<PrincipalQuota> {
        let is_given = self.in_bytes_per_second.is_some() || self.in_records_per_second.is_some();
        is_given.then(|| PrincipalQuota {
            in_bytes_per_second: self.in_bytes_per_second.map(Limit::on_wire).unwrap_or_default(),
            in_records_per_second: self.in_records_per_second.map(Limit::on_wire).unwrap_or_default(),
            burst_ms: self.burst.map_or(0, |burst| u64::try_from(burst.as_millis()).unwrap_or(u64::MAX)),
            delay: self.delay,
        })
    }
}

fn parse_grant(text: &str) -> Result<Grant, String> {
    let (actions, resource) =
        text.split_once(" on ").ok_or("want \"ACTION,… on RESOURCE\", such as \"put on stream/flights-*\"")?;
    Ok(grant(actions, resource.trim()))
}

fn grant(actions: &str, resource: &str) -> Grant {
    let actions = actions.split(',').map(|action| action.trim().to_owned()).filter(|action| !action.is_empty());
    Grant { actions: actions.collect(), resource: resource.to_owned() }
}

pub(super) async fn run(args: PrincipalArgs, endpoint: &Endpoint) -> Result<()> {
    let admin = endpoint.client()?.admin();
    let update = async |request: UpdatePrincipalRequest, output: OutputArgs| -> Result<()> {
        output.write(&PrincipalView::of(admin.update_principal(request).await?, None), described)
    };
    let named = |name: String| UpdatePrincipalRequest { name, ..UpdatePrincipalRequest::default() };
    match args.command {
        Command::Create { name, grants, quota, output } => {
            let request = CreatePrincipalRequest { name, grants, quota: quota.on_wire() };
            let (principal, key) = admin.create_principal(request).await?;
            shown_once(principal, key, output)
        }
        Command::Rotate { name, overlap, output } => {
            let (principal, key) = admin.rotate_principal(&name, overlap).await?;
            shown_once(principal, key, output)
        }
        Command::List { output } => {
            let found = admin.list_principals().await?.into_iter().map(|found| PrincipalView::of(found, None));
            output.write(&found.collect::<Vec<_>>(), |found| listed(found))
        }
        Command::Describe { name, output } => {
            output.write(&PrincipalView::of(admin.describe_principal(&name).await?, None), described)
        }
        Command::Grant { what, output } => {
            update(UpdatePrincipalRequest { grant: vec![what.grant()], ..named(what.name) }, output).await
        }
        Command::Revoke { what, output } => {
            update(UpdatePrincipalRequest { revoke: vec![what.grant()], ..named(what.name) }, output).await
        }
        Command::Quota { name, quota, output } => {
            let quota = quota.on_wire().ok_or_else(|| {
                Failure::usage("give --in-bytes-per-second or --in-records-per-second; \"off\" is no limit")
            })?;
            update(UpdatePrincipalRequest { quota: Some(quota), ..named(name) }, output).await
        }
        Command::Disable { name, output } => {
            update(UpdatePrincipalRequest { disabled: Some(true), ..named(name) }, output).await
        }
        Command::Enable { name, output } => {
            update(UpdatePrincipalRequest { disabled: Some(false), ..named(name) }, output).await
        }
        Command::Delete { name, confirm: flags } => {
            confirm(flags, &format!("delete principal {name}"))?;
            Ok(admin.delete_principal(&name).await?)
        }
    }
}

fn shown_once(principal: Principal, key: NewAccessKey, output: OutputArgs) -> Result<()> {
    output.write(&PrincipalView::of(principal, Some(key)), described)?;
    remark("the secret is shown this once and cannot be read again; `millrace principal rotate` makes another");
    Ok(())
}

#[derive(Serialize)]
struct PrincipalView {
    name: String,
    created_at: String,
    disabled: bool,
    grants: Vec<GrantView>,
    quota: QuotaView,
    keys: Vec<KeyView>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    new_key: Option<NewKeyView>,
}

#[derive(Serialize)]
struct GrantView {
    actions: Vec<String>,
    resource: String,
}

#[derive(Serialize)]
struct QuotaView {
    in_bytes_per_second: u64,
    in_records_per_second: u64,
    burst_ms: u64,
    delay: bool,
}

#[derive(Serialize)]
struct KeyView {
    id: String,
    created_at: String,
    expires_at: String,
    master_key_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    unusable: String,
}

#[derive(Serialize)]
struct NewKeyView {
    access_key_id: String,
    secret_access_key: String,
    token: String,
}

impl PrincipalView {
    fn of(principal: Principal, key: Option<NewAccessKey>) -> Self {
        let quota = principal.quota.unwrap_or_default();
        Self {
            name: principal.name,
            created_at: time(principal.created_at_ms),
            disabled: principal.disabled,
            grants: principal
                .grants
                .into_iter()
                .map(|Grant { actions, resource }| GrantView { actions, resource })
                .collect(),
            quota: QuotaView {
                in_bytes_per_second: quota.in_bytes_per_second,
                in_records_per_second: quota.in_records_per_second,
                burst_ms: quota.burst_ms,
                delay: quota.delay,
            },
            keys: principal.keys.into_iter().map(KeyView::of).collect(),
            new_key: key.map(|NewAccessKey { access_key_id, secret_access_key, token }| NewKeyView {
                access_key_id,
                secret_access_key,
                token,
            }),
        }
    }
}

impl KeyView {
    fn of(key: AccessKey) -> Self {
        let AccessKey { id, created_at_ms, expires_at_ms, master_key_id, unusable } = key;
        let (created_at, expires_at) = (time(created_at_ms), time(expires_at_ms));
        Self { id, created_at, expires_at, master_key_id, unusable }
    }
}

fn grants(principal: &PrincipalView) -> Vec<String> {
    principal.grants.iter().map(|grant| format!("{} on {}", grant.actions.join(","), grant.resource)).collect()
}

fn listed(principals: &[PrincipalView]) -> String {
    let row = |principal: &PrincipalView| {
        let state = if principal.disabled { "disabled" } else { "enabled" };
        [principal.name.clone(), state.to_owned(), principal.created_at.clone(), grants(principal).join("; ")]
    };
    table(["PRINCIPAL", "STATE", "CREATED", "GRANTS"], principals.iter().map(row))
}

fn described(principal: &PrincipalView) -> String {
    let quota = &principal.quota;
    let mut told = vec![
        ("principal", principal.name.clone()),
        ("state", if principal.disabled { "disabled" } else { "enabled" }.to_owned()),
        ("created", principal.created_at.clone()),
        ("may put", bytes_per_second(quota.in_bytes_per_second)),
        ("records", records_per_second(quota.in_records_per_second)),
        ("saved up", duration(quota.burst_ms)),
        ("over quota", if quota.delay { "delay" } else { "reject" }.to_owned()),
    ];
    told.extend(grants(principal).into_iter().map(|grant| ("grant", grant)));
    if let Some(key) = &principal.new_key {
        told.push(("access key id", key.access_key_id.clone()));
        told.push(("secret access key", key.secret_access_key.clone()));
        told.push(("token", key.token.clone()));
    }
    let keys = table(
        ["ACCESS KEY", "CREATED", "ENDS", "MASTER KEY", "UNUSABLE"],
        principal.keys.iter().map(|key| {
            let KeyView { id, created_at, expires_at, master_key_id, unusable } = key;
            [id.clone(), created_at.clone(), expires_at.clone(), master_key_id.clone(), unusable.clone()]
        }),
    );
    format!("{}\n{keys}", facts(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_read_as_it_is_shown() {
        let read = parse_grant("put, get on stream/flights-*").unwrap();
        assert_eq!(read, Grant { actions: vec!["put".into(), "get".into()], resource: "stream/flights-*".into() });
        assert!(parse_grant("put stream/x").unwrap_err().contains(" on "));
        let principal = Principal { name: "ann".to_owned(), grants: vec![read], ..Principal::default() };
        let view = PrincipalView::of(principal, None);
        assert!(described(&view).contains("put,get on stream/flights-*"));
        assert!(listed(&[view]).contains("ann"));
    }
}
