//! The command line as its users type it.

use clap::{CommandFactory, Parser};

use super::Cli;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_commands_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn what_the_manual_shows_parses() {
    for line in [
        "millrace apply -f pipeline.toml --dry-run",
        "millrace apply -f - --output json",
        "millrace stream create flights --shards 2 --retention 168h --in-bytes-per-second off",
        "millrace stream list -o json",
        "millrace stream update flights --record-size-max 10MiB",
        "millrace stream delete flights --yes",
        "millrace put flights",
        "millrace put flights flights.json.zst --key-field carrier --rate 500",
        "millrace tail flights --from trim-horizon -n 10 --shard 0",
        "millrace transform push enrich enrich.wasm --canary 10",
        "millrace transform rollback enrich --to 3",
        "millrace transform canary enrich 100",
        "millrace transform versions enrich",
        "millrace transform test enrich --module-version 2 --input - --whole",
        "millrace transform test --delivery flights --stream flights --count 5",
        "millrace delivery flush flights",
        "millrace delivery delete flights -y",
        "millrace table describe default.flights",
        "millrace sql - --output arrow",
        "millrace --endpoint http://h:1 verify flights",
        "millrace verify flights --endpoint http://h:1 --output json",
        "millrace shards calc --records-per-second 5000 --record-size 1KiB --consumers 3",
        "millrace doctor --data-dir /tmp/data --store-url file:///tmp/lake -o json",
        "millrace principal create ann --in-bytes-per-second 5MiB --delay",
        "millrace principal grant ann put,get stream/x-*",
        "millrace principal rotate ann --overlap 1h -o json",
        "millrace principal delete ann --yes --token AKMR.x",
        "millrace completions zsh",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn bad_flags_are_refused_with_what_would_be_good() {
    let check = |line: &str, says: &str| {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.to_string().contains(says), "{line}: {error}");
    };
    check("millrace put flights f.json --rate 0", "--rate");
    check("millrace put flights f.json --rate fast", "--rate");
    check("millrace put", "<STREAM>");
    check("millrace stream create flights --shards 0", "--shards");
    check("millrace stream create flights --retention 168", "time unit");
    check("millrace stream create flights --in-records-per-second some", "off");
    check("millrace stream update flights --record-size-max big", "--record-size-max");
    check("millrace transform push enrich enrich.wasm --canary 100", "1..100");
    check("millrace transform test enrich", "--input");
    check("millrace transform test --input records.jsonl", "NAME");
    check("millrace transform test enrich --delivery flights --stream s", "cannot be used with");
    check("millrace tail flights --from yesterday", "trim-horizon");
    check("millrace verify flights --output csv", "json");
    check("millrace sql", "<STATEMENT>");
    check("millrace frobnicate", "unrecognized");
}

#[test]
fn every_command_teaches() {
    fn visit(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        assert!(command.get_about().is_some(), "{path} has no help");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{path} {} has no help", argument.get_id());
        }
        command.get_subcommands().for_each(|sub| visit(sub, &path));
    }
    let mut cli = Cli::command();
    cli.build();
    cli.get_subcommands().filter(|command| command.get_name() != "help").for_each(|command| visit(command, "millrace"));
}
