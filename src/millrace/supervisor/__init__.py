"""Keep many processes as a plan says: a pure machine decides, a thin shell acts."""
