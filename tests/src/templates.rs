//! The transform templates below `deploy/transforms`, built as their pages say, with the tools that `tests/run.sh` installs.
//!
//! What was built is kept under the digest of its sources, so that a test run builds it once.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of a template, without its ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// `deploy/transforms/c`.
    C(&'static str),
    /// `deploy/transforms/python`.
    Python(&'static str),
    /// `deploy/transforms/javascript`.
    JavaScript(&'static str),
    /// `deploy/transforms/rust`; the whole crate.
    Rust,
}

/// A C source of a test's own, built as the C template is.
///
/// # Panics
/// When the compiler is missing, or fails.
#[must_use]
pub fn build_c(source: &str) -> PathBuf {
    let key = key_of([source.as_bytes(), &read(&folder("c").join("millrace.h"))]);
    kept(&key, |out| {
        let path = out.with_extension("c");
        fs::write(&path, source).expect("the cache can be written");
        compile_c(&path, out);
    })
}

impl Template {
    /// The module that it builds.
    ///
    /// # Panics
    /// When the tools are missing (the message says how to get them), or fail.
    #[must_use]
    pub fn build(self) -> PathBuf {
        let language = self.language();
        let sources = sources(&folder(language)).into_iter().map(|path| read(&path));
        let name = format!("{self:?}");
        let wit = read(&wit());
        let parts: Vec<Vec<u8>> = sources.chain([wit, name.into_bytes()]).collect();
        kept(&key_of(parts.iter().map(Vec::as_slice)), |out| self.build_to(out))
    }

    const fn language(self) -> &'static str {
        match self {
            Self::C(_) => "c",
            Self::Python(_) => "python",
            Self::JavaScript(_) => "javascript",
            Self::Rust => "rust",
        }
    }

    fn build_to(self, out: &Path) {
        let folder = folder(self.language());
        match self {
            Self::C(name) => compile_c(&folder.join(name).with_extension("c"), out),
            Self::Python(name) => run(Command::new(tool("venv/bin/componentize-py"))
                .current_dir(&folder)
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .arg("-d")
                .arg(wit())
                .args(["-w", python_world(name), "componentize", name, "-o"])
                .arg(out)),
            Self::JavaScript(name) => run(Command::new(tool("node_modules/.bin/componentize-qjs"))
                .args(["--sync", "--stub-wasi", "--world", "transformer", "--wit"])
                .arg(wit())
                .arg("--js")
                .arg(folder.join(name).with_extension("js"))
                .arg("-o")
                .arg(out)),
            Self::Rust => {
                let target = out.with_extension("target");
                run(Command::new("cargo")
                    .current_dir(&folder)
                    .args(["build", "--release", "--target", "wasm32-wasip2", "--target-dir"])
                    .arg(&target));
                let built = target.join("wasm32-wasip2/release/newline.wasm");
                fs::copy(built, out).expect("cargo built it");
            }
        }
    }
}

/// The world of a Python template, as its page says.
fn python_world(name: &str) -> &'static str {
    if name == "plain" { "transformer" } else { "lambda" }
}

fn compile_c(source: &Path, out: &Path) {
    run(Command::new(tool("venv/bin/python"))
        .args(["-m", "ziglang", "cc", "-target", "wasm32-freestanding", "-I"])
        .arg(folder("c"))
        .args([
            "-O2",
            "-mbulk-memory",
            "-nostdlib",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wl,--no-entry",
            "-Wl,--strip-all",
            "-o",
        ])
        .arg(out)
        .arg(source));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn folder(language: &str) -> PathBuf {
    root().join("deploy/transforms").join(language)
}

fn wit() -> PathBuf {
    root().join("proto/wit/transform.wit")
}

fn cache() -> PathBuf {
    let named = std::env::var_os("MILLRACE_CACHE").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("a home folder")).join(".cache/millrace");
    named.unwrap_or_else(home)
}

fn tool(path: &str) -> PathBuf {
    let tool = cache().join("transforms").join(path);
    assert!(
        tool.exists(),
        "{} is missing: ./tests/run.sh installs the tools of the transform templates",
        tool.display()
    );
    tool
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the template is there") {
        let path = entry.expect("the template can be listed").path();
        if path.is_dir() && path.ends_with("src") {
            found.extend(sources(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn key_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = DefaultHasher::new();
    parts.into_iter().for_each(|part| part.hash(&mut hasher));
    format!("{:016x}", hasher.finish())
}

/// The module of a key, built where it is not kept.
fn kept(key: &str, build: impl FnOnce(&Path)) -> PathBuf {
    let folder = cache().join("transforms/modules");
    fs::create_dir_all(&folder).expect("the cache can be written");
    let module = folder.join(format!("{key}.wasm"));
    if !module.exists() {
        // Tests of one run may build the same at a time.
        let own = folder.join(format!("{key}-{}-{:?}.wasm", std::process::id(), std::thread::current().id()));
        build(&own);
        fs::rename(&own, &module).expect("the cache can be written");
    }
    module
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} does not run: {error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{said}\n{complained}");
}
