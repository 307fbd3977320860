//! What does this flow really speak? Connection tracking; deep inspection has its place here.
