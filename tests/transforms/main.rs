//! Transforms through the real program: the templates, versions and canaries, bad modules, and the built-in steps.

mod site;
mod templates;
mod lifecycle;
mod failures;
mod builtin;
