"""flipbench: grid."""
