"""An example of an installable plug-in for flipbench: rules, attacks and a data set."""
