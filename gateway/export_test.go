package gateway

// WithDefaults returns c as New takes it.
func WithDefaults(c Config) Config { return c.withDefaults() }
