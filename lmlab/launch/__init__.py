"""Plans: what a run takes on devices that are not there."""
