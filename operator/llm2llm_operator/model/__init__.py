"""What decisions are made from, typed: the run, its status, and the Jobs and pods that were seen."""
