//! Start, ready, drain, start again; one process a data folder.

use millrace_tests::cli;
use millrace_tests::pipeline::Pipeline;
use millrace_tests::site::Site;

#[test]
fn a_server_answers_health_readiness_and_metrics() {
    let site = Site::start();
    assert_eq!(site.server.http_get("/healthz").0, 200);
    assert_eq!(site.server.http_get("/readyz").0, 200);
    let (code, metrics) = site.server.http_get("/metrics");
    assert_eq!(code, 200);
    assert!(metrics.contains("millrace_"), "the metrics name the product:\n{metrics}");
}

#[test]
fn a_drained_server_finds_everything_when_it_starts_again() {
    let mut site = Site::start();
    site.apply(&Pipeline::new("events"));
    site.put_lines("events", (0..1000).map(|id| format!("{{\"id\":{id}}}")));
    site.flush("events");
    site.put_lines("events", (1000..1500).map(|id| format!("{{\"id\":{id}}}")));
    assert_eq!(site.count("events"), 1500, "the undelivered are queried with the delivered");
    assert!(site.server.stop().success(), "SIGTERM ends in a success");
    site.server.restart();
    assert_eq!(site.count("events"), 1500);
    site.flush("events");
    assert_eq!(site.count("events"), 1500);
    let _proof = site.run(&["verify", "events"]).ok();
}

#[test]
fn a_second_process_on_the_same_folder_is_refused() {
    let site = Site::start();
    let (status, said) = site.settings.run_refused();
    assert!(!status.success());
    assert!(said.contains("in use"), "the refusal names the cause:\n{said}");
    assert_eq!(site.server.http_get("/healthz").0, 200, "the first goes on");
}

#[test]
fn a_wrong_setting_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("millrace.toml");
    std::fs::write(&config, "no_such_setting = 1\n").expect("the file can be written");
    let data = folder.path().join("data");
    let said = cli::millrace_alone(&[
        "serve",
        "--data-dir",
        millrace_tests::site::text(&data),
        "--config",
        millrace_tests::site::text(&config),
    ]);
    assert!(said.clone().failed().stderr.contains("no_such_setting"), "{said:?}");
}

#[test]
fn a_client_says_when_nobody_listens() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
    drop((listener, folder));
    let said = cli::millrace_alone(&["--endpoint", &endpoint, "stream", "list"]).failed();
    assert!(said.stderr.contains(&endpoint), "the failure names the endpoint:\n{}", said.stderr);
}
