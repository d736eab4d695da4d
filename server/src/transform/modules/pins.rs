//! Which version of each module a batch is made by. An intent has it, so that a batch that is done again after a crash comes
//! out the same although another version was pushed meanwhile.

use std::fmt;

use millrace_storage::meta::keys::intent::IntentModule;

use super::name::ModuleName;
use crate::error::{Error, Kind, Result};
use crate::transform::WasmSpec;

/// The version of a module that a step uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin {
    /// The module.
    pub module: ModuleName,
    /// The version that the step declares.
    pub declared: Option<u32>,
    /// The version that it uses.
    pub version: u32,
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.module, self.version)
    }
}

/// The versions that a chain uses. Empty where it calls no module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins(Vec<Pin>);

impl Pins {
    /// Of these, in any order.
    pub(super) fn new(mut pins: Vec<Pin>) -> Self {
        pins.sort_unstable();
        pins.dedup();
        Self(pins)
    }

    /// The version that a step uses.
    pub(super) fn of(&self, spec: &WasmSpec) -> Option<&Pin> {
        self.0.iter().find(|pin| pin.module == spec.module && pin.declared == spec.version)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Pin> {
        self.0.iter()
    }

    /// As an intent keeps them.
    #[must_use]
    pub fn store(&self) -> Vec<IntentModule> {
        let stored = |pin: &Pin| IntentModule {
            name: pin.module.to_string(),
            declared: pin.declared.unwrap_or(0),
            version: pin.version,
        };
        self.0.iter().map(stored).collect()
    }

    /// From an intent.
    ///
    /// # Errors
    /// [`Kind::DataLoss`] where a name is none.
    pub fn load(stored: &[IntentModule]) -> Result<Self> {
        let pin = |stored: &IntentModule| {
            let module = stored.name.parse().map_err(|error: Error| Error::new(Kind::DataLoss, error))?;
            let declared = (stored.declared > 0).then_some(stored.declared);
            Ok(Pin { module, declared, version: stored.version })
        };
        stored.iter().map(pin).collect::<Result<_>>().map(Self::new)
    }
}

/// Whether a batch runs the canary: so many of 100, evenly spread, by its number alone.
pub(super) const fn is_canary(batch: u64, percent: u32) -> bool {
    let place = batch % 100;
    let percent = percent as u64;
    (place + 1) * percent / 100 > place * percent / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_gets_its_share_evenly() {
        for percent in [0, 1, 10, 33, 50, 99, 100] {
            let canaries = (0..1_000).filter(|batch| is_canary(*batch, percent)).count();
            assert_eq!(canaries, percent as usize * 10, "{percent}");
        }
        let tenths: Vec<u64> = (0..30).filter(|batch| is_canary(*batch, 10)).collect();
        assert_eq!(tenths, [9, 19, 29]);
    }

    #[test]
    fn pins_come_back_from_an_intent() {
        let pin = |module: &str, declared, version| Pin { module: module.parse().unwrap(), declared, version };
        let pins = Pins::new(vec![pin("b", None, 2), pin("a", Some(3), 3), pin("b", None, 2), pin("b", Some(1), 1)]);
        assert_eq!(pins.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a@3", "b@2", "b@1"]);
        assert_eq!(Pins::load(&pins.store()).unwrap(), pins);
        let broken = IntentModule { name: "a/b".to_owned(), declared: 0, version: 1 };
        assert_eq!(*Pins::load(&[broken]).unwrap_err().kind(), Kind::DataLoss);
    }
}
