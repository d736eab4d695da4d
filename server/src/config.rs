//! The settings of the process, composed from the modules' settings. The only reader of the environment.
