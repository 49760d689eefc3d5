"""Methods that decide what stays in the KV cache, in which form."""
