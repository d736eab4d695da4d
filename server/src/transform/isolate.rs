//! How one bad record is kept from its neighbours, where a call takes many records and fails as a whole: the batch is halved
//! until the record stands alone, tried again, and fails.

use super::{Failure, Input, Outcome};

/// Calls with all inputs, and with fewer where that fails. One outcome for each, in order.
///
/// Where a call fails with some records and not with fewer, the outcome of each record is what it has alone: it depends on
/// nothing but the record, as long as what a call may use is the same however many records it takes.
pub(super) fn isolate(
    inputs: &[Input],
    attempts_max: u32,
    mut call: impl FnMut(&[Input]) -> Result<Vec<Outcome>, String>,
) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(inputs.len());
    // From the last to the first, so that the next one is on top.
    let mut waiting = vec![inputs];
    while let Some(batch) = waiting.pop() {
        let failed = match attempt(batch, &mut call) {
            Ok(made) => {
                outcomes.extend(made);
                continue;
            }
            Err(reason) => reason,
        };
        if batch.len() > 1 {
            let (first, second) = batch.split_at(batch.len() / 2);
            waiting.extend([second, first]);
            continue;
        }
        outcomes.extend(alone(batch, attempts_max, failed, &mut call));
    }
    outcomes
}

fn attempt(
    batch: &[Input],
    call: &mut impl FnMut(&[Input]) -> Result<Vec<Outcome>, String>,
) -> Result<Vec<Outcome>, String> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let outcomes = call(batch)?;
    if outcomes.len() != batch.len() {
        return Err(format!("it gave {} outcomes for {} records", outcomes.len(), batch.len()));
    }
    Ok(outcomes)
}

/// Tries a record again that failed alone.
fn alone(
    record: &[Input],
    attempts_max: u32,
    mut reason: String,
    call: &mut impl FnMut(&[Input]) -> Result<Vec<Outcome>, String>,
) -> Vec<Outcome> {
    for _ in 1..attempts_max {
        match attempt(record, call) {
            Ok(made) => return made,
            Err(again) => reason = again,
        }
    }
    vec![Outcome::Failed(Failure { message: reason, attempts: attempts_max.max(1) })]
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn inputs(data: &str) -> Vec<Input> {
        let input =
            |(record, byte): (usize, u8)| Input { record, data: Bytes::copy_from_slice(&[byte]), ..Input::default() };
        data.bytes().enumerate().map(input).collect()
    }

    fn echo(batch: &[Input]) -> Vec<Outcome> {
        batch.iter().map(|input| Outcome::One(input.data.clone().into())).collect()
    }

    #[test]
    fn a_record_that_fails_once_is_tried_again() {
        let mut calls = 0;
        let outcomes = isolate(&inputs("a"), 2, |batch| {
            calls += 1;
            if calls == 1 { Err("busy".to_owned()) } else { Ok(echo(batch)) }
        });
        assert_eq!((outcomes, calls), (echo(&inputs("a")), 2));
        let outcomes = isolate(&inputs("a"), 3, |_| Err("gone".to_owned()));
        assert_eq!(outcomes, [Outcome::Failed(Failure { message: "gone".to_owned(), attempts: 3 })]);
        assert_eq!(isolate(&[], 2, |_| Err("never called".to_owned())), []);
    }

    #[test]
    fn a_wrong_count_is_a_failure_of_the_call() {
        let outcomes = isolate(&inputs("ab"), 1, |batch| Ok(echo(&batch[..batch.len() - 1])));
        for outcome in outcomes {
            let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
            assert_eq!(failure.message, "it gave 0 outcomes for 1 records");
        }
    }

    proptest! {
        #[test]
        fn only_bad_records_fail_and_each_at_its_place(data in "[abx]{0,40}") {
            let given = inputs(&data);
            let mut calls = 0;
            let outcomes = isolate(&given, 1, |batch| {
                calls += 1;
                if batch.iter().any(|input| input.data == "x") { Err("bad".to_owned()) } else { Ok(echo(batch)) }
            });
            let expected: Vec<Outcome> = given.iter().map(|input| match input.data.as_ref() {
                b"x" => Outcome::Failed("bad".to_owned().into()),
                _ => Outcome::One(input.data.clone().into()),
            }).collect();
            prop_assert_eq!(outcomes, expected);
            prop_assert!(calls <= 2 * given.len().max(1));
        }
    }
}
