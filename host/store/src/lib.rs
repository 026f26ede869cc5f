//! The content-addressed store, in OCI image-layout form.
