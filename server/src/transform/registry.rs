//! Transforms of the program that embeds the server: Rust code that a pipeline file names as `{ type = "registered", … }`.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use super::isolate::isolate;
use super::{Input, Outcome, Transform};

/// Transforms by name.
///
/// ```
/// use std::sync::Arc;
///
/// use millrace_server::transform::{Input, Outcome, Registry, Transform};
///
/// /// Leaves out records without data.
/// #[derive(Debug)]
/// struct DropEmpty;
///
/// impl Transform for DropEmpty {
///     fn name(&self) -> &str {
///         "drop_empty"
///     }
///
///     fn apply(&self, inputs: &[Input]) -> Vec<Outcome> {
///         let outcome = |input: &Input| match input.data.is_empty() {
///             true => Outcome::Dropped,
///             false => Outcome::One(input.data.clone().into()),
///         };
///         inputs.iter().map(outcome).collect()
///     }
/// }
///
/// let registry = Registry::new().with(Arc::new(DropEmpty));
/// assert!(registry.get("drop_empty").is_some());
/// // millrace_server::serve::start_with(settings, registry).await, and in the pipeline file:
/// // transforms = [{ type = "registered", name = "drop_empty" }]
/// ```
#[derive(Debug, Clone, Default)]
pub struct Registry {
    transforms: BTreeMap<String, Arc<dyn Transform>>,
}

impl Registry {
    /// With none.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a transform under its name, in place of one of the same name.
    #[must_use]
    pub fn with(mut self, transform: Arc<dyn Transform>) -> Self {
        self.transforms.insert(transform.name().to_owned(), transform);
        self
    }

    /// The transform of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<dyn Transform>> {
        self.transforms.get(name).cloned()
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.transforms.keys().map(String::as_str)
    }
}

/// A registered transform that can panic or miscount without harm to more than the record that it does so on.
pub(super) struct Guarded(pub(super) Arc<dyn Transform>);

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Transform for Guarded {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply(&self, inputs: &[Input]) -> Vec<Outcome> {
        isolate(inputs, 1, |batch| {
            // The contract says that a transform keeps no state that a panic could leave half made.
            panic::catch_unwind(AssertUnwindSafe(|| self.0.apply(batch)))
                .map_err(|_| format!("transform {} panicked", self.0.name()))
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// Panics at "p", forgets "f".
    #[derive(Debug)]
    struct Careless;

    impl Transform for Careless {
        fn name(&self) -> &str {
            "careless"
        }

        fn apply(&self, inputs: &[Input]) -> Vec<Outcome> {
            let outcome = |input: &Input| match input.data.as_ref() {
                b"p" => panic!("as asked"),
                b"f" => None,
                _ => Some(Outcome::One(input.data.clone().into())),
            };
            inputs.iter().filter_map(outcome).collect()
        }
    }

    #[test]
    fn a_panic_and_a_wrong_count_hit_one_record_each() {
        let registry = Registry::new().with(Arc::new(Careless));
        assert_eq!(registry.names().collect::<Vec<_>>(), ["careless"]);
        let guarded = Guarded(registry.get("careless").unwrap());
        let inputs: Vec<Input> =
            ["a", "p", "b", "f", "c"].map(|data| Input { data: Bytes::from(data), ..Input::default() }).to_vec();
        let outcomes = guarded.apply(&inputs);
        let failed = |index: usize, words: &str| {
            let Outcome::Failed(failure) = &outcomes[index] else { panic!("{outcomes:?}") };
            assert!(failure.message.contains(words), "{failure:?}");
        };
        failed(1, "careless panicked");
        failed(3, "0 outcomes");
        for (index, data) in [(0, "a"), (2, "b"), (4, "c")] {
            assert_eq!(outcomes[index], Outcome::One(Bytes::from(data).into()));
        }
    }
}
