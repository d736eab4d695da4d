//! Compiles the wire's `.proto` files with protox, so that no `protoc` is needed.

use std::{env, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = ["stream", "record", "transform", "delivery", "import", "table", "group", "maintenance", "principal"]
        .map(|name| format!("millrace/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=millrace");
    let descriptors = protox::compile(&protos, ["."])?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("millrace.v1.bin"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
