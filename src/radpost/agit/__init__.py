"""The @GIT dialects: objects become mails, mails become objects (@GIT 1.1r, and field practice after it)."""
