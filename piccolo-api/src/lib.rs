//! piccolo-api
