package mcpauth

// Measurement is one figure of a part's inside, as it is now, for the metrics (see
// Measuring). The figures of several parts with the same Name and Labels are added
// up.
type Measurement struct {
	// Name follows the conventions of Prometheus: "mcpauth_", the part, the
	// thing and its unit, as in "mcpauth_jwt_cache_bytes". That of a counter
	// ends with "_total".
	Name string
	// Help says in a sentence what is measured. It is the same for all
	// measurements of one Name.
	Help string
	// Labels tell measurements of one Name apart. Their names are the same for
	// all of them, and their values are few and fixed: never a user, never
	// anything that a request brings, since every value is kept for ever.
	Labels map[string]string
	// Counter says that Value only ever grows.
	Counter bool
	Value   float64
}
