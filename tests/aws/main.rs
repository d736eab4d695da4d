//! The AWS protocols as their own clients speak them: boto3, the AWS CLI, the JavaScript SDK, and bytes that no client sends.

mod site;
mod operations;
mod wire;
mod auth;
mod cli;
mod javascript;
mod mutate;
mod restart;
mod firehose;
