//! How settings come together: each layer overlays the one before, and an error names the layer and the key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Settings, StoreOptions};

/// What is not a setting but belongs to the client or to this file's own flag.
const OTHER_NAMES: [&str; 4] = ["MILLRACE_ENDPOINT", "MILLRACE_TOKEN", "MILLRACE_CA_FILE", "MILLRACE_CONFIG"];

/// Names that AWS tools use too; `MILLRACE_STORE_*` goes before them.
const AWS_NAMES: [(&str, &str); 3] = [
    ("AWS_REGION", "store.region"),
    ("AWS_ACCESS_KEY_ID", "store.access_key_id"),
    ("AWS_SECRET_ACCESS_KEY", "store.secret_access_key"),
];

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the settings file {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file's text is wrong.
    #[error("the settings file {path} is wrong: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// Where and why.
        error: Box<toml::de::Error>,
    },
    /// A value from the environment or a flag is wrong. The value is not shown: it may be a secret.
    #[error("{source_name} is wrong: {reason}")]
    Value {
        /// The environment name or flag.
        source_name: String,
        /// Why.
        reason: String,
    },
    /// A flag names no setting.
    #[error("--set {key}: no setting has this key; `millrace serve --help` lists them")]
    UnknownKey {
        /// The key.
        key: String,
    },
}

/// Where settings come from.
#[derive(Debug, Default)]
pub struct Layers {
    /// `millrace.toml`.
    pub file: Option<PathBuf>,
    /// Names and values; those that do not begin with `MILLRACE_` are passed over.
    pub environment: BTreeMap<String, String>,
    /// Keys such as `streams.count_max`, with the flag they were given by and their values.
    pub flags: Vec<Flag>,
}

/// A setting that a flag gives.
#[derive(Debug)]
pub struct Flag {
    /// As the user typed it, such as `--data-dir`.
    pub name: String,
    /// Such as `data_dir`.
    pub key: String,
    /// As text.
    pub value: String,
}

/// Settings, and what looked like settings and is none.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Names that begin with `MILLRACE_` and mean nothing. A warning, because Kubernetes adds such names for a service
    /// that is called so.
    pub unknown_names: Vec<String>,
}

impl Layers {
    /// The process's environment. The file is what `MILLRACE_CONFIG` names, until a flag names another.
    #[must_use]
    pub fn of_process() -> Self {
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let file = environment.get("MILLRACE_CONFIG").map(PathBuf::from);
        Self { file, environment, flags: Vec::new() }
    }

    /// Adds a flag where it was given.
    #[must_use]
    pub fn flag(mut self, name: &str, key: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.flags.push(Flag { name: name.to_owned(), key: key.to_owned(), value: value.to_string() });
        }
        self
    }

    /// Overlays the layers.
    ///
    /// # Errors
    /// The first wrong value, with the layer that it stands in.
    pub fn load(self) -> Result<Loaded, ConfigError> {
        let mut tree = tree_of_defaults();
        if let Some(path) = &self.file {
            overlay(&mut tree, read_file(path)?);
        }
        fill_named_stores(&mut tree);
        let keys = leaves(&tree);
        for (name, key) in AWS_NAMES {
            if let Some(value) = self.environment.get(name) {
                set(&mut tree, key, value, name)?;
            }
        }
        let by_name: BTreeMap<String, &String> = keys.iter().map(|key| (environment_name(key), key)).collect();
        let mut unknown_names = Vec::new();
        for (name, value) in self.environment.iter().filter(|(name, _)| name.starts_with("MILLRACE_")) {
            match by_name.get(name) {
                Some(key) => set(&mut tree, key, value, name)?,
                None if OTHER_NAMES.contains(&name.as_str()) => {}
                None => unknown_names.push(name.clone()),
            }
        }
        for Flag { name, key, value } in &self.flags {
            if !keys.contains(key) {
                return Err(ConfigError::UnknownKey { key: key.clone() });
            }
            set(&mut tree, key, value, name)?;
        }
        let settings = serde_json::from_value(tree).expect("each layer was checked as it was laid");
        Ok(Loaded { settings, unknown_names })
    }
}

/// The environment name of a setting.
pub(super) fn environment_name(key: &str) -> String {
    format!("MILLRACE_{}", key.replace(['.', '-'], "_").to_uppercase())
}

pub(super) fn tree_of_defaults() -> Value {
    serde_json::to_value(Settings::default()).expect("the default settings have text keys and no special values")
}

/// The keys of all settings, sections joined by dots, in the order of declaration where the map keeps it.
pub(super) fn leaves(tree: &Value) -> Vec<String> {
    let Value::Object(fields) = tree else { return Vec::new() };
    let mut keys = Vec::new();
    for (name, value) in fields {
        match value {
            Value::Object(_) => keys.extend(leaves(value).into_iter().map(|leaf| format!("{name}.{leaf}"))),
            _ => keys.push(name.clone()),
        }
    }
    keys
}

/// Writes out the defaults of each store that the file names, so that its keys can be set from elsewhere too.
fn fill_named_stores(tree: &mut Value) {
    let Some(Value::Object(stores)) = tree.get_mut("stores") else { return };
    for store in stores.values_mut() {
        let mut filled =
            serde_json::to_value(StoreOptions::default()).expect("the default settings have no special values");
        overlay(&mut filled, store.take());
        *store = filled;
    }
}

fn read_file(path: &Path) -> Result<Value, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
    let wrong = |error: toml::de::Error| ConfigError::File { path: path.to_owned(), error: Box::new(error) };
    // Read as settings first: only that tells line and column of what is wrong.
    toml::from_str::<Settings>(&text).map_err(wrong)?;
    toml::from_str::<Value>(&text).map_err(wrong)
}

fn overlay(tree: &mut Value, above: Value) {
    match (tree, above) {
        (Value::Object(fields), Value::Object(above)) => {
            for (name, value) in above {
                overlay(fields.entry(name).or_insert(Value::Null), value);
            }
        }
        (tree, above) => *tree = above,
    }
}

/// Sets one key from text, as the type that the setting takes.
fn set(tree: &mut Value, key: &str, text: &str, source_name: &str) -> Result<(), ConfigError> {
    let as_text = Value::String(text.to_owned());
    let as_literal = serde_json::from_str::<Value>(text).ok().filter(|value| value.is_number() || value.is_boolean());
    let mut reason = String::new();
    for value in as_literal.into_iter().chain([as_text]) {
        let mut changed = tree.clone();
        *at(&mut changed, key) = value;
        match serde_json::from_value::<Settings>(changed.clone()) {
            Ok(_) => {
                *tree = changed;
                return Ok(());
            }
            Err(error) => reason = error.to_string(),
        }
    }
    // Serde quotes the text that it did not understand.
    let is_secret = ["secret", "token", "customer_key", "master_key"].iter().any(|word| key.contains(word));
    let reason = if is_secret { "it cannot be read".to_owned() } else { reason };
    Err(ConfigError::Value { source_name: source_name.to_owned(), reason })
}

fn at<'a>(tree: &'a mut Value, key: &str) -> &'a mut Value {
    key.split('.').fold(tree, |value, name| &mut value[name])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn environment(pairs: &[(&str, &str)]) -> Layers {
        let environment = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Layers { environment, ..Layers::default() }
    }

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("millrace.toml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn no_layers_are_the_defaults() {
        let loaded = Layers::default().load().unwrap();
        assert_eq!(loaded.settings, Settings::default());
        assert!(loaded.unknown_names.is_empty());
    }

    #[test]
    fn flags_go_before_the_environment_and_that_before_the_file() {
        let (_folder, path) = file(
            "data_dir = '/file'\ngrpc_listen = '127.0.0.1:1'\nhttp_listen = '127.0.0.1:1'\n[streams]\ncount_max = 7",
        );
        let mut layers =
            environment(&[("MILLRACE_GRPC_LISTEN", "127.0.0.1:2"), ("MILLRACE_HTTP_LISTEN", "127.0.0.1:2")]);
        layers.file = Some(path);
        let layers = layers.flag("--http-listen", "http_listen", Some("127.0.0.1:3"));
        let settings = layers.load().unwrap().settings;
        assert_eq!(settings.data_dir, PathBuf::from("/file"));
        assert_eq!(settings.grpc_listen.port(), 2);
        assert_eq!(settings.http_listen.port(), 3);
        assert_eq!(settings.streams.count_max, 7);
        assert_eq!(settings.streams.shard_count_max, Settings::default().streams.shard_count_max);
    }

    #[test]
    fn every_setting_has_its_environment_name() {
        let keys = leaves(&tree_of_defaults());
        let mut names: Vec<String> = keys.iter().map(|key| environment_name(key)).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), keys.len(), "two settings share an environment name");
        let settings = environment(&[
            ("MILLRACE_STREAMS_RETENTION_DEFAULT", "168h"),
            ("MILLRACE_STREAMS_RECORD_BYTES_MAX", "5 MiB"),
            ("MILLRACE_STREAMS_IN_BYTES_PER_SECOND", "0"),
            ("MILLRACE_STORE_ALLOW_HTTP", "true"),
            ("MILLRACE_STORE_ACCESS_KEY_ID", "12345"),
            ("MILLRACE_LOGGING_FORMAT", "json"),
        ]);
        let settings = settings.load().unwrap().settings;
        assert_eq!(settings.streams.retention_default, Duration::from_secs(168 * 3600));
        assert_eq!(settings.streams.record_bytes_max.as_u64(), 5 << 20);
        assert_eq!(settings.streams.in_bytes_per_second.as_u64(), 0);
        assert!(settings.store.allow_http);
        assert_eq!(settings.store.access_key_id.as_deref(), Some("12345"));
        assert_eq!(settings.logging.format, super::super::LoggingFormat::Json);
    }

    #[test]
    fn a_wrong_value_is_named_with_its_layer() {
        let error = environment(&[("MILLRACE_GRPC_LISTEN", "here")]).load().unwrap_err().to_string();
        assert!(error.starts_with("MILLRACE_GRPC_LISTEN is wrong"), "{error}");
        let (_folder, path) = file("[streams]\ncount_maxx = 7");
        let error = Layers { file: Some(path), ..Layers::default() }.load().unwrap_err().to_string();
        assert!(error.contains("count_maxx") && error.contains("line 2"), "{error}");
        let flags = Layers::default().flag("--set", "streams.nothing", Some("1"));
        assert!(matches!(flags.load(), Err(ConfigError::UnknownKey { .. })));
        let missing = Layers { file: Some("/nowhere/millrace.toml".into()), ..Layers::default() };
        assert!(missing.load().unwrap_err().to_string().contains("/nowhere/millrace.toml"));
    }

    #[test]
    fn unknown_names_are_told_and_others_are_passed_over() {
        let names = [("MILLRACE_PORT", "tcp://10.0.0.1:7070"), ("MILLRACE_ENDPOINT", "http://x"), ("PATH", "/bin")];
        assert_eq!(environment(&names).load().unwrap().unknown_names, ["MILLRACE_PORT"]);
    }

    #[test]
    fn a_store_that_the_file_names_may_have_its_secret_from_the_environment() {
        let (_folder, path) =
            file("[stores.partner-a]\nurl = 's3://in'\naccess_key_id = 'A'\n[stores.b]\nurl = 's3://b'");
        let pairs =
            [("MILLRACE_STORES_PARTNER_A_SECRET_ACCESS_KEY", "hunter2"), ("MILLRACE_STORES_OTHER_URL", "s3://x")];
        let mut layers = environment(&pairs).flag("--set", "stores.b.allow_http", Some("true"));
        layers.file = Some(path.clone());
        let Loaded { settings, unknown_names } = layers.load().unwrap();
        let partner = &settings.stores["partner-a"];
        assert_eq!(partner.secret_access_key.as_ref().unwrap().reveal(), "hunter2");
        assert_eq!((partner.url.as_deref(), settings.stores["b"].allow_http), (Some("s3://in"), true));
        assert_eq!(unknown_names, ["MILLRACE_STORES_OTHER_URL"]);
        let shown = format!("{settings:?}{}", serde_json::to_string(&settings).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        let flags = Layers { file: Some(path), ..Layers::default() }.flag("--set", "stores.c.url", Some("s3://c"));
        assert!(matches!(flags.load(), Err(ConfigError::UnknownKey { .. })));
        for (name, url, wrong) in [("A_b", Some("s3://x"), "lower-case"), ("a", None, "stores.a.url is not set")] {
            let store = StoreOptions { url: url.map(str::to_owned), ..StoreOptions::default() };
            assert!(store.named_settings(name).unwrap_err().contains(wrong), "{name}");
        }
    }

    #[test]
    fn secrets_are_never_shown() {
        let layers =
            environment(&[("AWS_SECRET_ACCESS_KEY", "from-aws"), ("MILLRACE_STORE_SECRET_ACCESS_KEY", "hunter2")]);
        let settings = layers.load().unwrap().settings;
        assert_eq!(settings.store.secret_access_key.as_ref().unwrap().reveal(), "hunter2");
        let shown = format!("{settings:?}{}", serde_json::to_string(&settings).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
