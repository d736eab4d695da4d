//! What `deploy/` ships: the example configuration is taken, the compose file is well, the scripts say what is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use millrace_tests::cli;
use millrace_tests::site::{Site, text};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_path_buf()
}

#[test]
fn the_example_configuration_starts_a_server() {
    let config = root().join("deploy/millrace.example.toml");
    let site = Site::start_with(|settings| settings.env("MILLRACE_CONFIG", text(&config)));
    assert_eq!(site.server.http_get("/readyz").0, 200);
}

#[test]
fn the_demo_pipeline_is_taken() {
    let site = Site::start();
    let pipeline = root().join("deploy/demo/pipeline.toml");
    let said = site.run(&["apply", "-f", text(&pipeline)]).ok();
    assert!(said.stdout.contains("flights"), "{}", said.stdout);
}

#[test]
fn the_compose_file_is_well_formed() {
    let said = Command::new("docker").args(["compose", "version"]).output();
    if !said.is_ok_and(|output| output.status.success()) {
        // `tests/run.sh` says so at its end.
        let text = std::fs::read_to_string(root().join("compose.yaml")).expect("the compose file ships");
        for service in ["minio:", "bucket:", "millrace:", "producer:"] {
            assert!(text.contains(service), "compose.yaml has no service {service}");
        }
        return;
    }
    let output = Command::new("docker").args(["compose", "config", "--quiet"]).current_dir(root()).output();
    let output = output.expect("the client runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Without root, sudo and packages, the scripts print the one command to type and change nothing.
#[test]
fn a_user_without_root_is_told_the_one_command() {
    let script = ". deploy/requirements.sh; id() { echo 1000; }; sudo() { return 1; }; \
                  _missing_packages() { echo g++; echo libclang-dev; }; apt-get() { echo CALLED; }; require build";
    let output = Command::new("bash").args(["-c", script]).current_dir(root()).output().expect("bash runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(output.stdout.is_empty(), "something was installed: {}", String::from_utf8_lossy(&output.stdout));
    let commands: Vec<&str> = said.lines().filter(|line| line.contains("apt-get")).collect();
    assert_eq!(commands.len(), 1, "{said}");
    assert!(commands[0].contains("g++ libclang-dev"), "{said}");
}

#[test]
fn where_rust_is_missing_the_scripts_say_how_to_get_it() {
    let script = ". deploy/requirements.sh; _missing_packages() { :; }; PATH=/usr/bin:/bin; HOME=/nonexistent; \
                  command() { [ \"$2\" = cargo ] && return 1; builtin command \"$@\"; }; require build";
    let output = Command::new("bash").args(["-c", script]).current_dir(root()).output().expect("bash runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("rustup"), "{said}");
}

#[test]
fn the_program_tells_its_version_and_help() {
    assert!(cli::millrace_alone(&["--version"]).ok().stdout.contains(env!("CARGO_PKG_VERSION")));
    let help = cli::millrace_alone(&["--help"]).ok().stdout;
    for command in ["serve", "apply", "put", "tail", "sql", "delivery", "stream", "table", "verify", "shards", "doctor"]
    {
        assert!(help.contains(command), "--help does not name {command}:\n{help}");
    }
}
