//! What happened to the CPUs and threads of the path between two moments.
