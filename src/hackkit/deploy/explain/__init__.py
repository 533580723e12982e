"""Turn logs of builds, installs and apps into a cause and a fix."""
