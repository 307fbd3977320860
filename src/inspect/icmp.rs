//! ICMP: errors pass if they quote a live flow, echo if a rule allows it, nothing else ever.
