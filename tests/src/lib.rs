//! What the end-to-end tests need: the pod, base images, registries.
