"""Calls the C library through a compiled extension module."""

import _cffi_backend
import cffi

ffi = cffi.FFI()
ffi.cdef("int abs(int);")
print("compiled" if _cffi_backend.__file__.endswith(".so") else "pure", ffi.dlopen(None).abs(-42))
