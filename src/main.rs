//! The shipped program: see [`tickpath::Program`].

fn main() -> std::process::ExitCode {
    tickpath::Program::shipped().main()
}
