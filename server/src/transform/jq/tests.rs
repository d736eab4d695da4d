//! jq filters: what they give, and that none runs for ever, eats the memory or ends the process.

use bytes::Bytes;

use super::*;

const LIMITS: JqLimits = JqLimits { steps_max: 200_000, outputs_max: 100, output_bytes_max: 1 << 20 };

fn input(data: &str) -> Input {
    Input { data: Bytes::copy_from_slice(data.as_bytes()), ..Input::default() }
}

fn run(query: &str, data: &str) -> Outcome {
    Jq::new(query, JqTarget::Data, LIMITS).unwrap().apply(&[input(data)]).remove(0)
}

#[track_caller]
fn gives(query: &str, data: &str, expected: &[&str]) {
    let outputs: Vec<String> = match run(query, data) {
        Outcome::One(output) => vec![output],
        Outcome::Many(outputs) => outputs,
        Outcome::Dropped => Vec::new(),
        Outcome::Failed(failure) => panic!("{query}: {failure:?}"),
    }
    .into_iter()
    .map(|output| String::from_utf8(output.data.to_vec()).unwrap())
    .collect();
    assert_eq!(outputs, expected, "{query}");
}

#[track_caller]
fn fails(query: &str, data: &str, words: &str) {
    match run(query, data) {
        Outcome::Failed(failure) => assert!(failure.message.contains(words), "{query}: {failure:?}"),
        other => panic!("{query} gave {other:?}"),
    }
}

#[test]
fn filters_give_what_jq_gives() {
    gives(".", r#"{"b":1,"a":[1.10,"ü\n"]}"#, &[r#"{"b":1,"a":[1.10,"ü\n"]}"#]);
    gives(".a, .b", r#"{"a":1,"b":"x"}"#, &["1", "\"x\""]);
    gives("select(.a > 1)", r#"{"a":1}"#, &[]);
    gives(
        ".items[] | {id, n: (.n + 1)}",
        r#"{"items":[{"id":"a","n":1},{"id":"b","n":2}]}"#,
        &[r#"{"id":"a","n":2}"#, r#"{"id":"b","n":3}"#],
    );
    gives("12345678901234567890123, .", "9007199254740993", &["12345678901234567890123", "9007199254740993"]);
    gives("def f: if . > 1000 then . else . + 1 | f end; f", "0", &["1001"]);
    gives("[limit(3; repeat(1))], [range(0; 6; 2)], ([1, 2] | map(. * 2) | add)", "null", &["[1,1,1]", "[0,2,4]", "6"]);
    gives("reduce .[] as $x (0; . + $x)", "[1,2,3]", &["6"]);
    gives(".a |= . * 2 | .b *= 3 | .c = .a", r#"{"a":2,"b":3}"#, &[r#"{"a":4,"b":9,"c":4}"#]);
    gives("\"ab\" * 2, (. as {a: $x} | $x), \"x\\(.a)y\"", r#"{"a":7}"#, &["\"abab\"", "7", "\"x7y\""]);
    gives("path(..) | select(length > 1)", r#"{"a":{"b":1}}"#, &[r#"["a","b"]"#]);
    gives("to_entries | map(select(.value)) | from_entries", r#"{"a":1,"b":null}"#, &[r#"{"a":1}"#]);
    gives("gsub(\"(?<d>[0-9])\"; \"<\\(.d)>\"), (. | test(\"a+\"))", "\"a1b2\"", &["\"a<1>b<2>\"", "true"]);
    gives(
        "try error(\"x\") catch ., (.a? // \"none\"), (try (.[] | 1) catch \"caught\")",
        "1",
        &["\"x\"", "\"none\"", "\"caught\""],
    );
    gives("label $out | foreach .[] as $x (0; . + $x; if . > 2 then ., break $out else empty end)", "[1,2,3]", &["3"]);
    gives(
        "paths, del(.a), (.b[1:] = [9]), walk(if type == \"number\" then . + 1 else . end)",
        r#"{"a":1,"b":[2,3]}"#,
        &[
            r#"["a"]"#,
            r#"["b"]"#,
            r#"["b",0]"#,
            r#"["b",1]"#,
            r#"{"b":[2,3]}"#,
            r#"{"a":1,"b":[2,9]}"#,
            r#"{"a":2,"b":[3,4]}"#,
        ],
    );
    gives("@base64, @json, fromjson", "\"{}\"", &["\"e30=\"", "\"\\\"{}\\\"\"", "{}"]);
}

#[test]
fn what_fails_says_why() {
    fails(".a.b", r#"{"a":1}"#, "cannot index 1");
    fails(".", "plain", "not json");
    fails(".", "{}{}", "not json");
    fails("nan", "1", "no word for");
    fails("error(\"no such customer\")", "1", "no such customer");
    fails("range(101)", "1", "more than 100 outputs");
    for denied in ["now", "env", "halt", "\"x\" | stderr", "0 | localtime"] {
        fails(denied, "1", "deterministic");
    }
    fails(".", &"[".repeat(200), "128 levels");
    fails(".", &"9".repeat(5_000), "4096 digits");
}

#[test]
fn a_query_that_cannot_run_is_refused_as_it_is_declared() {
    let refused = |query: &str, words: &str| {
        let reason = check(query).unwrap_err();
        assert!(reason.contains(words), "{query}: {reason}");
    };
    refused(".a |", "no jq");
    refused("\"", "no jq");
    refused("nothing_of_the_kind", "nothing_of_the_kind is not known");
    refused("$ENV", "$ENV is not known");
    refused("input", "input is not known");
    refused("import \"a\" as a; 1", "");
    assert!(check(&format!(".{}", " ".repeat(QUERY_BYTES_MAX - 1))).is_ok());
    refused(&format!(".{}", " ".repeat(QUERY_BYTES_MAX)), "8193 bytes");
    // Nesting as deep as the length allows needs the large stack.
    let deep = QUERY_BYTES_MAX / 2 - 1;
    gives(&format!("{}1{}", "[".repeat(60), "]".repeat(60)), "1", &[&format!("{}1{}", "[".repeat(60), "]".repeat(60))]);
    assert!(check(&format!("{}1{}", "(".repeat(deep), ")".repeat(deep))).is_ok());
    assert!(check(&format!("1{}", "|.".repeat(deep))).is_ok());
}

#[test]
fn endless_filters_fail_their_record_and_nobody_elses() {
    for query in [
        "def f: f; f",
        "def f: try f catch f; f",
        "[repeat(1)]",
        "last(repeat(1))",
        "first(repeat(1) | select(. == 2))",
        "[range(0; 1e18)] | length",
        "reduce range(0; 1e18) as $i (0; . + 1)",
        "[range(1e9; 0; -1)]",
        "until(false; .)",
        "while(true; .)",
        "recurse(.)",
        "[limit(1000000000; repeat(0))]",
        "isempty(repeat(empty))",
        "[.] | combinations(1000000)",
        "label $x | repeat(try error catch .)",
        "def f(g): f(g | g); f(.)",
    ] {
        let jq = Jq::new(&format!("if . == 0 then {query} else . end"), JqTarget::Data, LIMITS).unwrap();
        let outcomes = jq.apply(&[input("1"), input("0"), input("2")]);
        assert!(matches!(&outcomes[1], Outcome::Failed(_) | Outcome::Dropped), "{query} gave {:?}", outcomes[1]);
        assert!(matches!(&outcomes[0], Outcome::One(output) if output.data == "1"), "{query}");
        assert!(matches!(&outcomes[2], Outcome::One(output) if output.data == "2"), "{query}");
    }
}

#[test]
fn exploding_filters_fail_their_record() {
    fails("def f: 1 + f; f", "1", "");
    fails("def f: [f]; f", "1", "");
    fails("def f: {a: f}; f", "1", "");
    fails("[limit(60; \"x\" | recurse(. + .))] | length", "1", "bytes");
    fails("\"xxxxxxxxxx\" * 1000000000", "1", "bytes");
    fails("1000000000 * \"xxxxxxxxxx\"", "1", "bytes");
    fails(".a *= 1000000000", r#"{"a":"xxxxxxxxxx"}"#, "bytes");
    fails("reduce range(64) as $i (1; [., .])", "1", "");
    fails("reduce range(64) as $i (1; {a: ., b: .}) | tojson", "1", "");
    fails("[.,.] | [.,.] | [.,.] | reduce range(40) as $i (.; . + .)", "1", "");
    fails("reduce range(1000) as $i (.; [.])", "1", "deeper than 128");
    fails("reduce range(40) as $i (3; . * .)", "1", "bits");
    fails("\"\\(.)\" | until(false; \"\\(.)\\(.)\")", "\"x\"", "bytes");
    fails("[range(100000)] | map([range(100000)])", "1", "steps");
    fails(".[1000000000] = 1", "[]", "");
    fails("\"[\" * 100000 | fromjson", "1", "levels");
}

#[test]
fn limits_hold_at_the_limit_and_not_past_it() {
    let limits = JqLimits { steps_max: 1_000_000, outputs_max: 3, output_bytes_max: 100 };
    let run = |query: &str| Jq::new(query, JqTarget::Data, limits).unwrap().apply(&[input("1")]).remove(0);
    assert!(matches!(run("range(3)"), Outcome::Many(outputs) if outputs.len() == 3));
    assert!(matches!(run("range(4)"), Outcome::Failed(_)));
    assert!(matches!(run("\"x\" * 98"), Outcome::One(output) if output.data.len() == 100));
    assert!(matches!(run("\"x\" * 99"), Outcome::Failed(_)));
    assert!(matches!(run("\"x\" * 101"), Outcome::Failed(_)));
    let mut jq = Jq::new("def f: if . < 100 then . + 1 | f else . end; f", JqTarget::Data, LIMITS).unwrap();
    let mut steps = |steps_max| {
        jq.limits.steps_max = steps_max;
        jq.apply(&[input("1")]).remove(0)
    };
    let least =
        (1..2_000).find(|most| matches!(steps(*most), Outcome::One(_))).expect("a hundred rounds take some steps");
    assert!(least > 100, "{least} steps");
    assert!(matches!(steps(least - 1), Outcome::Failed(failure) if failure.message.contains("more steps")));
}

#[test]
fn partition_keys_are_taken_from_an_object() {
    let run = |query: &str, data: &str| {
        Jq::new(query, JqTarget::PartitionKeys, LIMITS).unwrap().apply(&[input(data)]).remove(0)
    };
    let Outcome::One(output) = run("{customer: .id, vip, n: 1.5}", r#"{"id":"c-1","vip":true}"#) else {
        panic!("one output");
    };
    assert_eq!(output.data, r#"{"id":"c-1","vip":true}"#);
    let pairs: Vec<_> = output.partition_keys.iter().collect();
    assert_eq!(pairs, [("customer", "c-1"), ("n", "1.5"), ("vip", "true")]);
    let fails = |query: &str, words: &str| match run(query, "{}") {
        Outcome::Failed(failure) => assert!(failure.message.contains(words), "{failure:?}"),
        other => panic!("{query} gave {other:?}"),
    };
    fails("{customer: .id}", "\"customer\" is neither");
    fails(".a", "one object");
    fails("{a: 1}, {b: 2}", "one object");
    fails("{a: (\"x\" * 1025)}", "1025 bytes");
}
