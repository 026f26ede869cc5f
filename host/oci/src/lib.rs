//! OCI names and documents: digests, descriptors, manifests, configs, references, platforms.
