//! Each template is built, pushed, tried out and run by a delivery.

use millrace_tests::site::{Site, text};
use millrace_tests::templates::Template;

use crate::site::{apply, set_aside, transform};

/// Pushes a newline fix, shows that it is one, and has a delivery run it over a few thousand records.
fn is_a_newline_fix(template: Template) {
    let site = Site::start();
    let module = template.build();
    let pushed = transform(&site, &["push", "newline", text(&module)]);
    assert_eq!(pushed["current_version"], 1, "{pushed}");

    let input = site.write("input", "{\"a\":1}\n{\"b\":\"\u{e4}\"}\n");
    let tested = transform(&site, &["test", "newline", "--input", text(&input)]);
    let tested = tested.as_array().expect("records");
    assert_eq!(tested.len(), 2);
    for record in tested {
        let before = record["before"].as_str().expect("text");
        let after: Vec<&str> = record["after"]
            .as_array()
            .expect("outputs")
            .iter()
            .map(|output| output["data"].as_str().expect("text"))
            .collect();
        assert_eq!(after, [format!("{before}\n")], "{record}");
    }
    let ended = site.write("ended", "{\"a\":1}\n");
    let tested = transform(&site, &["test", "newline", "--input", text(&ended), "--whole"]);
    assert_eq!(tested[0]["after"][0]["data"], "{\"a\":1}\n", "one line feed is enough");

    let _said = apply(&site, "events", r#"[{ type = "wasm", module = "newline" }]"#).ok();
    let _said = site.put_lines("events", (0..3_000).map(|id| format!("{{\"id\":{id},\"name\":\"n{id}\"}}")));
    site.flush("events");
    assert_eq!(site.number("select count(*) from events"), 3_000);
    assert_eq!(site.number("select sum(id) from events"), 2_999 * 3_000 / 2);
    let _proof = site.run(&["verify", "events"]).ok();
    assert!(set_aside(&site).is_empty(), "{:?}", set_aside(&site));
}

#[test]
fn c_ends_records() {
    is_a_newline_fix(Template::C("newline"));
}

#[test]
fn python_ends_records_as_the_lambda_does() {
    is_a_newline_fix(Template::Python("newline"));
}

#[test]
fn python_ends_records_plainly() {
    is_a_newline_fix(Template::Python("plain"));
}

#[test]
fn javascript_ends_records() {
    is_a_newline_fix(Template::JavaScript("newline"));
}

#[test]
fn rust_ends_records() {
    is_a_newline_fix(Template::Rust);
}

/// What a Lambda may answer beside Ok, and what Python says where it fails.
#[test]
fn python_handlers_drop_fail_and_give_partition_keys() {
    let site = Site::start();
    let _pushed = transform(&site, &["push", "handler", text(&Template::Python("handler").build())]);
    let input = site.write("input", "{\"kind\":\"keep\",\"customer\":\"c-1\"}\n{\"kind\":\"drop\"}\n{\"kind\":\"fail\"}\n{\"kind\":\"raise\"}\nno json\n");
    let tested = transform(&site, &["test", "handler", "--input", text(&input)]);
    assert_eq!(tested[0]["after"][0]["partition_keys"]["customer"], "c-1", "{tested}");
    assert_eq!(tested[1]["dropped"], true, "{tested}");
    let failure = |index: usize| tested[index]["failure"].as_str().unwrap_or_default().to_owned();
    assert!(failure(2).contains("ProcessingFailed"), "{tested}");
    assert!(failure(3).contains("ValueError: as asked"), "Python's last words are told: {tested}");
    assert!(failure(4).contains("JSONDecodeError"), "{tested}");
}
