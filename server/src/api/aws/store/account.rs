//! The account's settings, and the key of tokens.

use millrace_storage::meta::keys;
use millrace_storage::meta::keys::account::{AccountKey, AccountValue, TokenKeyKey, TokenKeyValue};
use ring::rand::{SecureRandom, SystemRandom};

use super::{Store, TRIES_MAX, contended};
use crate::api::aws::protocol::AwsError;

/// The bytes of a key for HMAC-SHA-256.
const KEY_BYTES: usize = 32;

impl Store {
    /// The account's settings.
    ///
    /// # Errors
    /// Where the meta store cannot be read.
    pub(in crate::api::aws) async fn account(&self) -> Result<AccountValue, AwsError> {
        Ok(keys::get(&*self.meta, &AccountKey).await?.map(|stored| stored.value).unwrap_or_default())
    }

    /// Changes the account's settings. `change` may be called several times.
    ///
    /// # Errors
    /// Where the meta store fails.
    pub(in crate::api::aws) async fn change_account(
        &self,
        mut change: impl FnMut(&mut AccountValue) + Send,
    ) -> Result<AccountValue, AwsError> {
        for _ in 0..TRIES_MAX {
            let stored = keys::get(&*self.meta, &AccountKey).await?;
            let mut value = stored.as_ref().map(|stored| stored.value).unwrap_or_default();
            change(&mut value);
            let conditions = vec![keys::as_found(&AccountKey, stored.as_ref())];
            if self.commit(conditions, vec![keys::put(&AccountKey, &value)]).await? {
                return Ok(value);
            }
        }
        Err(contended("the account"))
    }

    /// The key that tokens are signed by; made where there is none yet.
    ///
    /// # Errors
    /// Where the meta store fails, or the system gives no random bytes.
    pub(in crate::api::aws) async fn token_key(&self) -> Result<Vec<u8>, AwsError> {
        for _ in 0..TRIES_MAX {
            if let Some(stored) = keys::get(&*self.meta, &TokenKeyKey).await? {
                return Ok(stored.value.key);
            }
            let mut key = vec![0; KEY_BYTES];
            let filled = SystemRandom::new().fill(&mut key);
            filled.map_err(|_| AwsError::internal("the system gives no random bytes"))?;
            let value = TokenKeyValue { key };
            self.commit(vec![keys::absent(&TokenKeyKey)], vec![keys::put(&TokenKeyKey, &value)]).await?;
        }
        Err(contended("the key of tokens"))
    }
}
