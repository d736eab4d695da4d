//! Which deliveries use a transform module, so that nothing is removed that a batch is made by.

use millrace_storage::meta::keys;
use millrace_storage::meta::keys::intent::IntentKey;

use super::Deliveries;
use crate::error::{Error, Kind, Result};
use crate::transform::{ModuleName, Pins, wasm_specs};

impl Deliveries {
    /// The deliveries whose chains call a module, by name.
    #[must_use]
    pub fn users_of(&self, module: &ModuleName) -> Vec<String> {
        let entries = self.inner.entries.read();
        let uses = |spec: &super::DeliverySpec| wasm_specs(&spec.transforms).any(|step| step.module == *module);
        entries.values().filter(|entry| uses(&entry.declared().spec)).map(|entry| entry.name.clone()).collect()
    }

    /// The versions of modules that must stay: those that chains name, and those that batches under way are made by.
    pub async fn versions_in_use(&self) -> Result<Vec<(ModuleName, u32)>> {
        let mut used = Vec::new();
        for entry in self.inner.entries.read().values() {
            let declared = entry.declared();
            let named = wasm_specs(&declared.spec.transforms);
            used.extend(named.filter_map(|step| Some((step.module.clone(), step.version?))));
        }
        for (_, intent) in keys::scan::<IntentKey>(&*self.parts().meta).await? {
            let pins = Pins::load(&intent.value.modules)?;
            used.extend(pins.iter().map(|pin| (pin.module.clone(), pin.version)));
        }
        Ok(used)
    }

    /// Removes a module with all its versions.
    ///
    /// # Errors
    /// [`Kind::FailedPrecondition`] while a delivery uses it; [`Kind::NotFound`].
    pub async fn delete_module(&self, module: &ModuleName) -> Result<()> {
        // No chain that calls it is declared meanwhile.
        let _turn = self.inner.changes.lock().await;
        let users = self.users_of(module);
        if !users.is_empty() {
            let words = format_args!("module {module} is used by the deliveries {}", users.join(", "));
            return Err(Error::new(Kind::FailedPrecondition, words).about("module", module));
        }
        if self.versions_in_use().await?.iter().any(|(used, _)| used == module) {
            let words = format_args!("module {module} is used by a batch that is not finished");
            return Err(Error::new(Kind::FailedPrecondition, words).about("module", module));
        }
        self.parts().transforms.delete(module).await
    }

    /// The steps that a delivery declares.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn transforms_of(&self, delivery: &str) -> Result<Vec<crate::transform::TransformSpec>> {
        Ok(self.entry(delivery)?.declared().spec.transforms.clone())
    }
}
