//! TLS as an operator meets it: a certificate of one's own, a client that checks it, and its replacement while clients are
//! connected.

use std::time::Duration;

use millrace_client::proto::CreateStreamRequest;
use millrace_client::{Client, ConnectionSettings, Position};
use millrace_tests::server::{ServerSettings, signal};
use millrace_tests::site::{Site, text};
use millrace_tests::{certificate, cli, wait};

const DEADLINE: Duration = Duration::from_secs(30);

fn with_tls(settings: ServerSettings) -> ServerSettings {
    let folder = settings.data_dir.parent().expect("a folder").to_path_buf();
    let [cert, key] = certificate::write(&folder);
    settings.env("MILLRACE_TLS_CERT_PATH", cert.display()).env("MILLRACE_TLS_KEY_PATH", key.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_talks_over_tls_and_stays_connected_over_a_new_certificate() {
    let site = Site::start_with(with_tls);
    assert!(site.server.endpoint().starts_with("https://"), "{}", site.server.endpoint());
    let cert = site.folder().join("cert.pem");
    let ca = [("MILLRACE_CA_FILE", text(&cert))];
    let _said = cli::millrace_with(&site.server, &ca, &["stream", "create", "events"]).ok();
    let said = site.run(&["stream", "list"]).failed();
    assert!(said.stderr.contains("certificate"), "{}", said.stderr);
    let plain = site.server.endpoint().replace("https://", "http://");
    let said = cli::millrace_with(&site.server, &[], &["stream", "list", "--endpoint", &plain]).failed();
    assert!(!said.stderr.is_empty());

    let settings = ConnectionSettings { token: None, ca_file: Some(cert.clone()) };
    let client = Client::connect_with(site.server.endpoint(), &settings).expect("a client");
    let mut subscription = client.consumer().subscribe("events", Position::TrimHorizon).await.expect("a subscription");
    let producer = client.producer("events");
    let put = async || {
        let record = millrace_client::PutRecord::new("k", "x");
        producer.send(record).await.expect("room").await.expect("a record is stored");
    };
    put().await;
    let first = subscription.next().await.expect("it goes on").expect("a record");
    assert_eq!(first.offset, 0);

    let _paths = certificate::write(site.folder());
    signal(site.server.pid(), "HUP");
    wait::until("the new certificate to be taken", DEADLINE, || {
        site.server.log().contains("the TLS certificate was changed").then_some(())
    });
    // What is connected stays connected; who connects anew gets the new one.
    put().await;
    assert_eq!(subscription.next().await.expect("it goes on").expect("a record").offset, 1);
    let _said = cli::millrace_with(&site.server, &ca, &["stream", "list"]).ok();
    let request = CreateStreamRequest { name: "more".to_owned(), ..CreateStreamRequest::default() };
    client.admin().create_stream(request).await.expect("the old connection is as good as ever");
}

#[test]
fn files_that_are_wrong_keep_the_server_from_starting() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = with_tls(ServerSettings::new(&folder.path().join("data")));
    std::fs::write(folder.path().join("key.pem"), "no key").expect("the test's folder can be written");
    let (status, said) = settings.run_refused();
    assert!(!status.success() && said.contains("key.pem") && said.contains("no PRIVATE KEY"), "{said}");
}
