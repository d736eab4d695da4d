//! The AWS protocols as their own clients speak them: boto3, the AWS CLI, the SDKs for JavaScript, Java and Rust, and bytes that no client sends.

mod site;
mod transit;
mod coverage;
mod operations;
mod states;
mod wire;
mod auth;
mod cli;
mod javascript;
mod java;
mod rust;
mod mutate;
mod restart;
mod firehose;
