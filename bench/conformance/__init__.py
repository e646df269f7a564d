"""flipbench: conformance."""
