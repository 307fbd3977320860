//! Which thread? The control loop, the workers, the control socket.

pub mod protocol;
