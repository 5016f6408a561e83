"""Any function's convolutions and max-poolings as what each platform runs fastest."""
