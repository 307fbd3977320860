//! What does the operator write? TOML with labelled errors, compiled into what the other rooms take.
