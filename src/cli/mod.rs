//! What does the operator type? Words in, calls out.
