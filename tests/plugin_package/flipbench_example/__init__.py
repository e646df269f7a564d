"""An example of an installable plug-in for flipbench: rules, an attack and a data set."""
