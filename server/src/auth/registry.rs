//! The principals in the meta store: made, changed, deleted. One change at a time; each is durable before it counts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use millrace_storage::encryption::MasterKeys;
use millrace_storage::meta::keys::principal::{AccessKeyValue, GrantValue, PrincipalKey, PrincipalValue, QuotaValue};
use millrace_storage::meta::keys::{self, Stored};
use millrace_storage::meta::{MetaStore, Write};
use millrace_storage::time::Timestamp;
use tokio::sync::Mutex;

use super::action::{Action, Resource};
use super::caller::Caller;
use super::directory::Directory;
use super::grant::Grant;
use super::name::PrincipalName;
use super::payer::{Payer, PayerQuota};
use super::principal::{KeyView, Principal, PrincipalView};
use super::secret::{AccessKeyId, Secret};
use super::settings::PrincipalSettings;
use super::unauthenticated;
use crate::error::{Error, Kind, Result};
use crate::streams::OverQuota;

/// Access keys of one principal: the one in force, and the one that a rotation lets run out.
const KEYS_MAX: usize = 2;
/// The longest that a rotated key may stay in force.
const OVERLAP_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Secrets that are unwrapped at a time: a master key may be far away.
const UNWRAPS_MAX: usize = 16;

/// Changes of principals.
#[derive(Debug)]
pub(crate) struct Registry {
    meta: Arc<dyn MetaStore>,
    masters: MasterKeys,
    directory: Arc<Directory>,
    settings: PrincipalSettings,
    /// What a principal's account holds at least, so that its largest record fits.
    record_bytes_max: u64,
    turn: Mutex<()>,
}

/// A new access key, with the only copy of its secret that is ever shown.
#[derive(Debug)]
pub struct Created {
    /// Its principal, as it is now.
    pub principal: PrincipalView,
    /// The key's id.
    pub id: AccessKeyId,
    /// The key's secret.
    pub secret: Secret,
}

/// What of a principal changes; `None` stays.
#[derive(Debug, Default)]
pub struct Changes {
    /// Whether it is refused.
    pub disabled: Option<bool>,
    /// Added.
    pub grant: Vec<Grant>,
    /// Taken away; each must be there.
    pub revoke: Vec<Grant>,
    /// Its new quota.
    pub quota: Option<PayerQuota>,
}

impl Registry {
    pub(super) fn new(
        meta: Arc<dyn MetaStore>,
        masters: MasterKeys,
        directory: Arc<Directory>,
        settings: PrincipalSettings,
        record_bytes_max: u64,
    ) -> Self {
        Self { meta, masters, directory, settings, record_bytes_max, turn: Mutex::default() }
    }

    /// Reads all principals and unwraps their secrets. One that does not unwrap is told in the process's log; its key is
    /// refused, others are not.
    pub(super) async fn load(&self) -> Result<()> {
        let mut wrapped = Vec::new();
        for (key, Stored { value, .. }) in keys::scan::<PrincipalKey>(&*self.meta).await? {
            let name: PrincipalName = key.name.parse()?;
            let payer = self.payer(&name, quota_of(&value)?);
            let principal = Principal::new(name, grants_of(&value)?, payer, value.disabled);
            let principal = Arc::new(principal);
            self.directory.add(Arc::clone(&principal));
            wrapped.extend(value.keys.into_iter().map(|key| (Arc::clone(&principal), key)));
        }
        let unwrapped = stream::iter(wrapped).map(|(principal, key)| async move {
            let (id, expires_at) = (AccessKeyId::of_stored(key.id.clone()), expires_at(&key));
            let secret = self.unwrap(&principal, &key).await;
            let secret = secret.inspect_err(|error| {
                tracing::error!(principal = %principal.name(), access_key_id = %id, %error, "a secret cannot be used");
            });
            self.directory.add_key(id, &principal, secret.ok(), expires_at);
        });
        unwrapped.buffer_unordered(UNWRAPS_MAX).collect::<()>().await;
        if let Err(error) = self.rewrap().await {
            // They open as they are; the next start tries again.
            tracing::warn!(%error, "secrets of principals are not all wrapped by the current master key");
        }
        Ok(())
    }

    async fn unwrap(&self, principal: &Principal, key: &AccessKeyValue) -> Result<Secret> {
        let master = self.masters.by_id(&key.master_key_id)?;
        let id = AccessKeyId::of_stored(key.id.clone());
        Secret::unwrap(&**master, &key.wrapped, &id, principal.name().as_str()).await
    }

    /// Tries the secrets again whose master key was away; gives how many still are.
    pub(super) async fn unlock(&self) -> Result<usize> {
        let locked = self.directory.locked();
        if locked.is_empty() {
            return Ok(0);
        }
        let mut left = 0;
        for (key, Stored { value, .. }) in keys::scan::<PrincipalKey>(&*self.meta).await? {
            let Some(principal) = self.directory.principal(&key.name.parse()?) else { continue };
            for key in value.keys {
                let id = AccessKeyId::of_stored(key.id.clone());
                if !locked.contains(&id) {
                    continue;
                }
                match self.unwrap(&principal, &key).await {
                    Ok(secret) => self.directory.add_key(id, &principal, Some(secret), expires_at(&key)),
                    Err(_) => left += 1,
                }
            }
        }
        Ok(left)
    }

    /// Wraps secrets that an older master key wrapped by the current one, so that the older becomes needless.
    ///
    /// # Errors
    /// Where the meta store fails. A secret that does not unwrap stays as it is.
    pub(super) async fn rewrap(&self) -> Result<()> {
        let Ok(master) = self.masters.current() else { return Ok(()) };
        let _turn = self.turn.lock().await;
        let mut count = 0;
        for (key, stored) in keys::scan::<PrincipalKey>(&*self.meta).await? {
            let mut value = stored.value.clone();
            let older = value.keys.iter_mut().filter(|own| own.master_key_id != master.id());
            let mut rewrapped = 0;
            for own in older {
                let id = AccessKeyId::of_stored(own.id.clone());
                let secret = self.directory.key(id.as_str()).and_then(|key| key.secret);
                let Some(secret) = secret else { continue };
                own.wrapped = secret.wrap(&**master, &id, &key.name).await?;
                master.id().clone_into(&mut own.master_key_id);
                rewrapped += 1;
            }
            if rewrapped > 0 {
                self.meta.commit(vec![keys::unchanged(&key, &stored)], vec![keys::put(&key, &value)]).await?;
                count += rewrapped;
            }
        }
        if count > 0 {
            tracing::info!(
                count,
                master = master.id(),
                "secrets of principals are wrapped by the current master key now"
            );
            self.meta.purge().await?;
        }
        Ok(())
    }

    /// Makes a principal with its first access key. The first principal of all is an administrator, whatever it is granted.
    ///
    /// # Errors
    /// Where the name is taken, a limit is met, or no master key can wrap the secret.
    pub(crate) async fn create(
        &self,
        by: &Caller,
        name: PrincipalName,
        mut grants: Vec<Grant>,
        quota: PayerQuota,
    ) -> Result<Created> {
        let _turn = self.turn.lock().await;
        let is_first = self.directory.is_empty();
        if by.is_bootstrap() && !is_first {
            return Err(unauthenticated("a principal exists by now: give its token"));
        }
        if self.directory.len() >= self.settings.count_max as usize {
            let message =
                format!("there are {} principals, which is the limit (principals.count_max)", self.directory.len());
            return Err(Error::new(Kind::FailedPrecondition, message));
        }
        if is_first && !grants.iter().any(Grant::is_administrator) {
            grants.insert(0, Grant::administrator());
        }
        self.check_grants(&grants)?;
        check_quota(quota)?;
        let key = PrincipalKey { name: name.as_str().to_owned() };
        let (id, secret, own) = self.make_key(&name).await?;
        let value = PrincipalValue {
            created_at_ms: self.now().as_millis(),
            disabled: false,
            keys: vec![own],
            grants: grants.iter().map(stored_grant).collect(),
            quota: Some(stored_quota(quota)),
        };
        if self.directory.principal(&name).is_some() {
            let message = format!("principal {name} exists already");
            return Err(Error::new(Kind::AlreadyExists, message).about("principal", &name));
        }
        self.meta.commit(vec![keys::absent(&key)], vec![keys::put(&key, &value)]).await?;
        let principal = Arc::new(Principal::new(name.clone(), grants, self.payer(&name, quota), false));
        self.directory.add(Arc::clone(&principal));
        self.directory.add_key(id.clone(), &principal, Some(secret.clone()), None);
        Ok(Created { principal: self.view(&name, &value)?, id, secret })
    }

    /// A principal as it is.
    pub(crate) async fn describe(&self, name: &PrincipalName) -> Result<PrincipalView> {
        let (_, stored) = self.stored(name).await?;
        self.view(name, &stored.value)
    }

    /// All principals, by name.
    pub(crate) async fn list(&self) -> Result<Vec<PrincipalView>> {
        let found = keys::scan::<PrincipalKey>(&*self.meta).await?;
        found.into_iter().map(|(key, stored)| self.view(&key.name.parse()?, &stored.value)).collect()
    }

    /// Changes a principal. What is taken away ends its open calls.
    ///
    /// # Errors
    /// Where it does not exist, a revoked grant is not there, or nobody would be left who may manage principals.
    pub(crate) async fn update(&self, name: &PrincipalName, changes: Changes) -> Result<PrincipalView> {
        let _turn = self.turn.lock().await;
        let (key, stored) = self.stored(name).await?;
        let mut value = stored.value.clone();
        let mut grants = grants_of(&value)?;
        for revoked in &changes.revoke {
            let at = grants.iter().position(|grant| grant == revoked).ok_or_else(|| {
                let message =
                    format!("principal {name} has no grant \"{revoked}\"; grants are revoked as they were given");
                Error::not_found(message).about("principal", name)
            })?;
            grants.remove(at);
        }
        for grant in changes.grant {
            if !grants.contains(&grant) {
                grants.push(grant);
            }
        }
        self.check_grants(&grants)?;
        value.disabled = changes.disabled.unwrap_or(value.disabled);
        value.grants = grants.iter().map(stored_grant).collect();
        if value.disabled || !administers(&grants) {
            self.check_others_administer(name).await?;
        }
        if let Some(quota) = changes.quota {
            check_quota(quota)?;
            value.quota = Some(stored_quota(quota));
        }
        self.meta.commit(vec![keys::unchanged(&key, &stored)], vec![keys::put(&key, &value)]).await?;
        if let Some(principal) = self.directory.principal(name) {
            principal.set_grants(grants);
            principal.set_disabled(value.disabled);
            if let Some(quota) = changes.quota {
                principal.set_payer(self.payer(name, quota));
            }
        }
        self.view(name, &value)
    }

    /// Gives a principal a new access key. The old one stays in force for `overlap`, and is refused at once where that is 0.
    pub(crate) async fn rotate(&self, name: &PrincipalName, overlap: Duration) -> Result<Created> {
        if overlap > OVERLAP_MAX {
            let (asked, max) = (humantime::format_duration(overlap), humantime::format_duration(OVERLAP_MAX));
            return Err(
                Error::invalid(format_args!("an overlap of {asked} is past the limit of {max}")).in_field("overlap_ms")
            );
        }
        let _turn = self.turn.lock().await;
        let (key, stored) = self.stored(name).await?;
        let mut value = stored.value.clone();
        let (id, secret, own) = self.make_key(name).await?;
        let end = self.now().as_millis().saturating_add(i64::try_from(overlap.as_millis()).unwrap_or(i64::MAX));
        // The newest stays for the overlap, older ones end now.
        let kept = if overlap.is_zero() { 0 } else { KEYS_MAX - 1 };
        value.keys.drain(..value.keys.len().saturating_sub(kept));
        for old in &mut value.keys {
            old.expires_at_ms = if old.expires_at_ms == 0 { end } else { old.expires_at_ms.min(end) };
        }
        let old: HashMap<_, _> =
            value.keys.iter().map(|key| (AccessKeyId::of_stored(key.id.clone()), expires_at(key))).collect();
        value.keys.push(own);
        self.meta.commit(vec![keys::unchanged(&key, &stored)], vec![keys::put(&key, &value)]).await?;
        if let Some(principal) = self.directory.principal(name) {
            self.directory.keep_keys(&principal, &old);
            self.directory.add_key(id.clone(), &principal, Some(secret.clone()), None);
            if overlap.is_zero() {
                principal.end_calls();
            }
        }
        Ok(Created { principal: self.view(name, &value)?, id, secret })
    }

    /// Deletes a principal; its calls are refused from now on.
    pub(crate) async fn delete(&self, name: &PrincipalName) -> Result<()> {
        let _turn = self.turn.lock().await;
        let (key, stored) = self.stored(name).await?;
        self.check_others_administer(name).await?;
        self.meta
            .commit(vec![keys::unchanged(&key, &stored)], vec![Write::Delete { key: keys::Key::encode(&key) }])
            .await?;
        self.directory.remove(name);
        Ok(())
    }

    async fn stored(&self, name: &PrincipalName) -> Result<(PrincipalKey, Stored<PrincipalValue>)> {
        let key = PrincipalKey { name: name.as_str().to_owned() };
        let not_found = || Error::not_found(format_args!("principal {name} does not exist")).about("principal", name);
        let stored = keys::get(&*self.meta, &key).await?.ok_or_else(not_found)?;
        Ok((key, stored))
    }

    /// Whoever manages principals must not lock everybody out.
    async fn check_others_administer(&self, name: &PrincipalName) -> Result<()> {
        for (key, Stored { value, .. }) in keys::scan::<PrincipalKey>(&*self.meta).await? {
            if key.name != name.as_str() && !value.disabled && administers(&grants_of(&value)?) {
                return Ok(());
            }
        }
        let message = format!("principal {name} is the last that may manage principals; make another such first");
        Err(Error::new(Kind::FailedPrecondition, message).about("principal", name))
    }

    fn check_grants(&self, grants: &[Grant]) -> Result<()> {
        let max = self.settings.grants_max as usize;
        if grants.len() > max {
            let message = format!("{} grants are past the limit of {max} (principals.grants_max)", grants.len());
            return Err(Error::invalid(message).in_field("grants"));
        }
        Ok(())
    }

    async fn make_key(&self, name: &PrincipalName) -> Result<(AccessKeyId, Secret, AccessKeyValue)> {
        let master = self.masters.current().map_err(|_| {
            let message = "secrets of principals are stored wrapped by a master key, and there is none: set \
                           encryption.master_key_file (MILLRACE_ENCRYPTION_MASTER_KEY_FILE), or encryption.vault_url";
            Error::new(Kind::FailedPrecondition, message)
        })?;
        let (id, secret) = (AccessKeyId::random()?, Secret::random()?);
        let wrapped = secret.wrap(&**master, &id, name.as_str()).await?;
        let own = AccessKeyValue {
            id: id.as_str().to_owned(),
            wrapped,
            master_key_id: master.id().to_owned(),
            created_at_ms: self.now().as_millis(),
            expires_at_ms: 0,
        };
        Ok((id, secret, own))
    }

    fn payer(&self, name: &PrincipalName, quota: PayerQuota) -> Arc<Payer> {
        Payer::new(name.as_str(), quota, self.record_bytes_max, self.directory.metrics())
    }

    fn now(&self) -> Timestamp {
        self.directory.clock().now()
    }

    fn view(&self, name: &PrincipalName, value: &PrincipalValue) -> Result<PrincipalView> {
        let now = self.now();
        let locked = self.directory.locked();
        let keys = value.keys.iter().map(|key| {
            let id = AccessKeyId::of_stored(key.id.clone());
            let unusable = locked.contains(&id).then(|| "its master key is away".to_owned());
            let (created_at, master_key_id) = (Timestamp(key.created_at_ms), key.master_key_id.clone());
            KeyView { id, created_at, expires_at: expires_at(key), master_key_id, unusable }
        });
        Ok(PrincipalView {
            name: name.clone(),
            created_at: Timestamp(value.created_at_ms),
            disabled: value.disabled,
            keys: keys.filter(|key| key.expires_at.is_none_or(|end| end > now)).collect(),
            grants: grants_of(value)?,
            quota: quota_of(value)?,
        })
    }
}

fn administers(grants: &[Grant]) -> bool {
    grants.iter().any(|grant| grant.allows(Action::Admin, &Resource::server()))
}

fn expires_at(key: &AccessKeyValue) -> Option<Timestamp> {
    (key.expires_at_ms > 0).then_some(Timestamp(key.expires_at_ms))
}

fn stored_grant(grant: &Grant) -> GrantValue {
    GrantValue { actions: grant.actions(), resource: grant.resource() }
}

/// A grant that this version does not know was made by a later one: it must not be dropped, or widened, in silence.
fn grants_of(value: &PrincipalValue) -> Result<Vec<Grant>> {
    let read = |grant: &GrantValue| Grant::parse(grant.actions.iter().map(String::as_str), &grant.resource);
    value.grants.iter().map(read).collect()
}

fn stored_quota(quota: PayerQuota) -> QuotaValue {
    QuotaValue {
        in_bytes_per_second: quota.in_bytes_per_second,
        in_records_per_second: quota.in_records_per_second,
        burst_ms: u64::try_from(quota.burst.as_millis()).unwrap_or(u64::MAX),
        over_quota: quota.over_quota as u32,
    }
}

fn quota_of(value: &PrincipalValue) -> Result<PayerQuota> {
    let Some(quota) = &value.quota else { return Ok(PayerQuota::default()) };
    let over_quota = OverQuota::from_stored(quota.over_quota).ok_or_else(|| {
        Error::new(
            Kind::DataLoss,
            format_args!("a principal's over_quota is {}, and this build knows 0 and 1", quota.over_quota),
        )
    })?;
    Ok(PayerQuota {
        in_bytes_per_second: quota.in_bytes_per_second,
        in_records_per_second: quota.in_records_per_second,
        burst: Duration::from_millis(quota.burst_ms),
        over_quota,
    })
}

fn check_quota(quota: PayerQuota) -> Result<()> {
    const BURST_MAX: Duration = Duration::from_secs(60);
    if quota.burst > BURST_MAX {
        let (burst, max) = (humantime::format_duration(quota.burst), humantime::format_duration(BURST_MAX));
        return Err(Error::invalid(format_args!("a burst of {burst} is past the limit of {max}")).in_field("quota"));
    }
    Ok(())
}
