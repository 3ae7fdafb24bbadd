"""A package, unlike the other rings, so that pytest ends what these tests share with the last of them."""
