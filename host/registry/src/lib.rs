//! The distribution-spec client: resolve, pull, push.
