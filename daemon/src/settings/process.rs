//! The settings that both programs have in common, defined once.

/// Defines `Process`: where a program's log goes, and where its settings come from. The names of its
/// environment variables begin with `$prefix`.
#[macro_export]
macro_rules! process_settings {
    ($prefix:literal) => {
        /// Where the log goes and where settings come from.
        #[derive(Debug, Clone, ::clap::Args)]
        pub struct Process {
            /// A TOML file of `flag-name = value` lines; flags and environment win over it.
            #[arg(long, env = concat!($prefix, "_CONFIG"), value_name = "FILE")]
            pub config: Option<::std::path::PathBuf>,
            /// What is logged: a level, or `target=level` pairs.
            #[arg(long, env = concat!($prefix, "_LOG"), value_name = "FILTER")]
            #[arg(default_value = "info")]
            pub log: $crate::log_filter::LogFilter,
            /// How log lines are written.
            #[arg(long, env = concat!($prefix, "_LOG_FORMAT"), value_name = "FORMAT")]
            #[arg(value_enum, default_value = "text")]
            pub log_format: $crate::telemetry::LogFormat,
        }
    };
}
