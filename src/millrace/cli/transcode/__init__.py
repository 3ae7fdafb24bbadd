"""What stands behind `millrace transcode`: one job on an embedded farm, drawn while it runs, told at its end."""
