//! Delivery: the driver against scripted receivers on a paused clock, and the sinks without HTTP against the real things.

mod support;

mod answers;
mod any_script;
mod doubt;
mod files;
mod flow;
mod redacted;
mod relp;
mod stdout;
mod syslog;
mod syslog_formats;
