//! A core module that exports the canonical ABI of `transform` or `transform-packed` becomes a component, so that a C compiler is
//! all that a module needs; a component stays as it is.

use millrace_proto::TRANSFORM_WIT;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The eight bytes that a core module begins with.
const CORE_MAGIC: &[u8] = b"\0asm\x01\0\0\0";
const WORLD: &str = "transformer";
const PACKED_WORLD: &str = "packed-transformer";

/// The component of what was pushed. The same bytes give the same component.
pub(in crate::transform) fn componentize(module: Vec<u8>) -> Result<Vec<u8>, String> {
    if !module.starts_with(CORE_MAGIC) {
        return Ok(module);
    }
    if let Ok(component) = wrapped(module.clone(), PACKED_WORLD) {
        return Ok(component);
    }
    wrapped(module, WORLD)
        .map_err(|reason| format!("the core module does not fit the world {WORLD} of millrace:transform: {reason}"))
}

fn wrapped(mut module: Vec<u8>, world: &str) -> Result<Vec<u8>, String> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("transform.wit", TRANSFORM_WIT).map_err(|error| format!("{error:#}"))?;
    let world = resolve.select_world(&[package], Some(world)).map_err(|error| format!("{error:#}"))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| format!("{error:#}"))?;
    let encoder = ComponentEncoder::default().validate(true).module(&module);
    encoder.and_then(|mut encoder| encoder.encode()).map_err(|error| format!("{error:#}"))
}
