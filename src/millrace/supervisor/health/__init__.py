"""How a process shows that it is well: asked again and again, heard from, or seen in what it prints."""
