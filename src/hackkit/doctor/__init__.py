"""Find what is wrong with this machine and this project, and repair what is safe."""
