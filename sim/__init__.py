"""The farm in one process under virtual time: the product's own code between simulated machines, networks and disks."""
